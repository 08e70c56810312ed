# usage: awk -f reuse.awk RESULTS.tsv...
#        awk -f reuse.awk method=M variant=V labels=N seed=S settings=HASH RESULTS.tsv...
# The settings that tables of results have rows of; and, with a cell's name and settings, its rows under that name.
BEGIN {
    FS = OFS = "\t"
    header = "method\tvariant\tlabels\tseed\tcase\tclass\tlargest\tdice\tjaccard\thd95\tasd\tempty\tsettings"
}

FNR == 1 {
    if ($0 != header) {
        printf "reuse.awk: %s: not the header of a table of results\n", FILENAME >"/dev/stderr"
        exit 1
    }
    if (settings != "" && !begun++)
        print
    next
}

settings == "" {
    if (!seen[$NF]++)
        print $NF
    next
}

# The same cell may be in several tables, or twice in one under two names.
$NF == settings && !seen[$5, $6, $7]++ {
    $1 = method
    $2 = variant
    $3 = labels
    $4 = seed
    print
}
