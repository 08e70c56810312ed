# usage: awk -f table.awk METHOD/metrics.tsv...
# The scores of several methods side by side, a row for each case and class, and their mean and standard deviation. A score that is no number, as a
# distance to an empty mask, is shown as it is and left out of the mean; a star says so.
BEGIN {
    FS = "\t"
    count = split("dice jaccard hd95 asd", names, " ")
    split("Dice Jaccard HD95 ASD", titles, " ")
    width = 9
}

FNR == 1 {
    methods++
    parts = split(FILENAME, path, "/")
    title[methods] = parts > 1 ? path[parts - 1] : FILENAME
    delete column
    for (i = 1; i <= NF; i++)
        column[$i] = i
    for (i = 1; i <= count; i++)
        if (!(names[i] in column)) {
            printf "table.awk: %s: no column %s\n", FILENAME, names[i] >"/dev/stderr"
            failed = 1
            exit 1
        }
    next
}

{
    row = $column["case"] "\t" $column["class"]
    if (!(row in rank)) {
        rank[row] = ++rows
        label[rows] = $column["case"]
        class[rows] = $column["class"]
        if (class[rows] + 0 > 1)
            classes = 1
    }
    for (i = 1; i <= count; i++) {
        value = $column[names[i]]
        cell[rank[row], methods, i] = value
        if (value ~ /^-?[0-9.]+([eE][-+]?[0-9]+)?$/) {
            n[methods, i]++
            sum[methods, i] += value
            squares[methods, i] += value * value
        } else
            missing[methods, i] = starred = 1
    }
}

function pad(text, size) { return sprintf("%-" size "s", text) }

function number(value) { return value ~ /^-?[0-9.]+([eE][-+]?[0-9]+)?$/ ? sprintf("%.4f", value) : value == "" ? "-" : value }

function line(first, kind, r,    m, i, text) {
    text = pad(first, first_width)
    for (m = 1; m <= methods; m++) {
        text = text "  "
        for (i = 1; i <= count; i++) {
            if (kind == "title")
                value = titles[i]
            else if (kind == "row")
                value = number(cell[r, m, i])
            else if (!n[m, i])
                value = "-"
            else if (kind == "mean")
                value = sprintf("%.4f", sum[m, i] / n[m, i]) (missing[m, i] ? "*" : "")
            else {
                variance = n[m, i] > 1 ? (squares[m, i] - sum[m, i] ^ 2 / n[m, i]) / (n[m, i] - 1) : 0
                value = n[m, i] > 1 ? sprintf("%.4f", variance > 0 ? sqrt(variance) : 0) : "-"
            }
            text = text sprintf("%" width "s", value)
        }
    }
    print text
}

END {
    if (failed)
        exit 1
    first_width = 6
    for (r = 1; r <= rows; r++) {
        if (classes)
            label[r] = label[r] " " class[r]
        if (length(label[r]) > first_width)
            first_width = length(label[r])
    }
    text = pad("", first_width)
    for (m = 1; m <= methods; m++)
        text = text "  " pad("   " title[m], count * width)
    sub(/ +$/, "", text)
    print text
    line(classes ? "case class" : "case", "title")
    for (r = 1; r <= rows; r++)
        line(label[r], "row", r)
    line("mean", "mean")
    line("sd", "sd")
    if (starred)
        print "* without the cases that have no such number"
}
