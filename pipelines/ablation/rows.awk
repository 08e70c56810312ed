# usage: awk -f rows.awk method=M variant=V labels=N seed=S settings=HASH METRICS.tsv METRICS_OF_LARGEST.tsv
# The scores of one cell as rows of the table of results: per case and class, raw and of the largest component.
BEGIN {
    FS = OFS = "\t"
    count = split("case class dice jaccard hd95 asd empty", names, " ")
    print "method", "variant", "labels", "seed", "case", "class", "largest", "dice", "jaccard", "hd95", "asd", "empty", "settings"
}

FNR == 1 {
    files++
    delete column
    for (i = 1; i <= NF; i++)
        column[$i] = i
    for (i = 1; i <= count; i++)
        if (!(names[i] in column)) {
            printf "rows.awk: %s: no column %s\n", FILENAME, names[i] >"/dev/stderr"
            exit 1
        }
    next
}

{
    key = $column["case"] OFS $column["class"]
    if (files == 1)
        order[++rows] = key
    scores[files, key] = $column["dice"] OFS $column["jaccard"] OFS $column["hd95"] OFS $column["asd"] OFS $column["empty"]
}

END {
    for (largest = 0; largest < files; largest++)
        for (r = 1; r <= rows; r++)
            print method, variant, labels, seed, order[r], largest, scores[largest + 1, order[r]], settings
}
