# usage: awk -f join.awk TSV...
# Tables of dbisl-transforms in one, with one header: maps of one kind, blur and background together, in the order in which they come first.
BEGIN { FS = "\t" }

FNR == 1 {
    if (NR == 1)
        print
    next
}

{
    key = $1 FS $2 FS $3
    if (!(key in lines))
        keys[++count] = key
    lines[key] = lines[key] $0 "\n"
}

END {
    for (i = 1; i <= count; i++)
        printf "%s", lines[keys[i]]
}
