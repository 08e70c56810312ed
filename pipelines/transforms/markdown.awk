# usage: awk -f markdown.awk TSV
# The table of dbisl-transforms for reading: a line for each map and transform, the bands side by side as "mean (95th percentile), shifted mean".
BEGIN { FS = "\t" }

NR == 1 {
    for (i = 1; i <= NF; i++)
        column[$i] = i
    split("map blur background transform band voxels mean p95 shifted_mean nonfinite nonfinite_gradient gradient", needed, " ")
    for (i in needed)
        if (!(needed[i] in column)) {
            printf "markdown.awk: %s: no column %s\n", FILENAME, needed[i] >"/dev/stderr"
            exit failed = 1
        }
    next
}

{
    key = $column["map"] FS $column["blur"] FS $column["background"] FS $column["transform"]
    if (!(key in cells)) {
        keys[++count] = key
        rest[key] = " | " percent($column["nonfinite"]) " | " percent($column["nonfinite_gradient"]) " | " percent($column["gradient"]) \
            ("seconds" in column ? " | " $column["seconds"] : "")
    }
    cells[key] = cells[key] " | " ($column["voxels"] > 0 ? sprintf("%.2f (%.2f), %.2f", $column["mean"], $column["p95"], $column["shifted_mean"]) : "-")
    if (!($column["band"] in known)) {
        known[$column["band"]] = 1
        bands = bands " | " $column["band"]
        lines = lines " | ---"
    }
}

function percent(share) { return sprintf("%.3g %%", 100 * share) }

END {
    if (failed)
        exit 1
    print "| map | blur | background | transform" bands " | not finite | gradient not finite | voxels with a gradient" \
        ("seconds" in column ? " | seconds" : "") " |"
    print "| --- | --- | --- | ---" lines " | --- | --- | ---" ("seconds" in column ? " | ---" : "") " |"
    for (i = 1; i <= count; i++) {
        line = keys[i]
        gsub(FS, " | ", line)
        print "| " line cells[keys[i]] rest[keys[i]] " |"
    }
}
