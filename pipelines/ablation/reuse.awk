# usage: awk -f reuse.awk method=M variant=V labels=N seed=S settings=HASH RESULTS.tsv...
# The rows of a table of results that have these settings, under the names that the cell has here.
BEGIN {
    FS = OFS = "\t"
    print "method", "variant", "labels", "seed", "case", "class", "largest", "dice", "jaccard", "hd95", "asd", "empty", "settings"
}

FNR > 1 && $NF == settings {
    # The same cell may be in several tables, or twice in one under two names.
    if (seen[$5, $6, $7]++)
        next
    $1 = method
    $2 = variant
    $3 = labels
    $4 = seed
    print
}
