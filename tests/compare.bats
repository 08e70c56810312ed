load helper

setup() {
    cd "$BATS_TEST_TMPDIR" || return
}

header=$'method\tvariant\tlabels\tseed\tcase\tclass\tlargest\tdice\tjaccard\thd95\tasd\tempty\tsettings'

# cohort: 3 methods, 3 seeds, 16 cases, raw and largest; numbers from a rule, so that they are the same everywhere.
cohort() {
    awk -v header="$header" 'BEGIN {
        OFS = "\t"
        print header
        split("supervised dbisl dtc", methods, " ")
        for (m = 1; m <= 3; m++) for (seed = 1; seed <= 3; seed++) for (largest = 0; largest <= 1; largest++) for (i = 1; i <= 16; i++) {
            x = (i * 37 + seed * 11 + m * 5 + largest * 3) % 23 / 100 + (m == 2) * (i % 5) / 50 + i * i * m / 7000
            print methods[m], "-", 8, seed, "c" i, 1, largest, 0.6 + x, 0.5 + x, 9 - 10 * x, 3 - x, (m == 1 && i == 4 ? "prediction" : "none"), "h" m seed
        }
    }'
}

@test "means, deviations, differences and p are scipy's" {
    need_python scipy numpy
    cohort >results.tsv
    dbisl-compare --baseline=supervised --tsv results.tsv -o ours.tsv
    "$PYTHON" - <<'END'
import csv, collections, numpy, scipy.stats
rows = list(csv.DictReader(open("results.tsv"), delimiter="\t"))
def scores(method, largest, score):
    found = collections.defaultdict(dict)
    for r in rows:
        if (r["method"], r["largest"]) == (method, largest):
            found[r["seed"]][r["case"]] = float(r[score])
    return numpy.array([[found[s][c] for c in sorted(found["1"])] for s in sorted(found)])
seen = 0
for line in csv.DictReader(open("ours.tsv"), delimiter="\t"):
    v = scores(line["method"], line["largest"], line["score"])
    assert numpy.isclose(float(line["mean"]), v.mean(), rtol=1e-8)
    assert numpy.isclose(float(line["sd"]), v.mean(axis=1).std(ddof=1), rtol=1e-6)
    assert (int(line["seeds"]), int(line["cases"])) == v.shape
    boot = scipy.stats.bootstrap((v.mean(axis=0),), numpy.mean, method="percentile", n_resamples=20000).confidence_interval
    width = boot.high - boot.low
    assert abs(float(line["low"]) - boot.low) < 0.06 * width and abs(float(line["high"]) - boot.high) < 0.06 * width
    assert int(line["empty"]) == (3 if line["method"] == "supervised" else 0)
    if line["method"] == "supervised":
        assert line["p"] == line["difference"] == "-"
        continue
    d = (v - scores("supervised", line["largest"], line["score"])).mean(axis=0)
    assert numpy.isclose(float(line["difference"]), d.mean(), rtol=1e-6)
    assert float(line["difference_low"]) <= d.mean() <= float(line["difference_high"])
    size = numpy.round(numpy.abs(d), 9)
    if len(set(size)) == len(size) and size.min() > 0:
        assert numpy.isclose(float(line["p"]), scipy.stats.wilcoxon(d, mode="exact").pvalue, rtol=1e-8)
        seen += 1
assert seen >= 4, seen
END
}

@test "text and Markdown: a block for each clean-up, what is missing and what was empty is said" {
    cohort | awk -F '\t' 'BEGIN { OFS = FS } $1 == "dtc" && $4 == 2 && $5 == "c3" { $10 = "nan" } { print }' >results.tsv
    expect 0 dbisl-compare --baseline=supervised results.tsv
    grep -q '^8 labels, as predicted$' <<<"$output" && grep -q '^8 labels, largest component$' <<<"$output"
    [ "$(grep -c '^dtc .*\]\*' <<<"$output")" -eq 2 ]
    grep -q '^\*: .*2 in all' <<<"$output" && grep -q '^empty: ' <<<"$output"
    [ "$(grep -c '^dbisl .* p 0\.' <<<"$output")" -eq 2 ]
    text=$output
    expect 0 dbisl-compare --baseline=supervised - <results.tsv
    [ "$output" = "$text" ]
    expect 0 dbisl-compare --baseline=supervised --threads=2 results.tsv results.tsv
    [ "$output" = "$text" ]
    expect 0 dbisl-compare --markdown results.tsv
    [ "$(grep -c '^| --- ' <<<"$output")" -eq 2 ]
    [ "$(awk -F '|' '/^\|/ { print NF }' <<<"$output" | sort -u)" = 10 ]
    # The order of the rows matters to nothing but the order of the methods.
    { echo "$header"; sed 1d results.tsv | sort -t $'\t' -k1,1r -k4,4r -k5,5; } >shuffled.tsv
    dbisl-compare --baseline=dbisl --tsv results.tsv | sort | cut -f 1-9,15,16,20 >a
    dbisl-compare --baseline=dbisl --tsv shuffled.tsv | sort | cut -f 1-9,15,16,20 >b
    same a b
}

@test "wrong tables are one line of error; nothing is left behind" {
    cohort >results.tsv
    expect_fault 'no results of the baseline nobody' dbisl-compare --baseline=nobody results.tsv -o out
    expect_fault 'nowhere.tsv' dbisl-compare nowhere.tsv
    head -c 3000 results.tsv >cut.tsv
    expect_fault 'cut.tsv: line [0-9]+: no ' dbisl-compare cut.tsv -o out
    sed '5s/\t0\.[0-9]*/\t0.5bad/' results.tsv >bad.tsv
    expect_fault 'bad.tsv: line 5: dice: "0.5bad" is not a number' dbisl-compare bad.tsv -o out
    sed '5s/\t0\.[0-9]*/\t0.5/' results.tsv >scores.tsv
    expect_fault 'other scores .* line 5' dbisl-compare results.tsv scores.tsv -o out
    sed '5s/h[0-9]*$/g/' results.tsv >settings.tsv
    expect_fault 'other settings' dbisl-compare results.tsv settings.tsv -o out
    sed '1s/dice/Dice/' results.tsv >column.tsv
    expect_fault 'no column "dice"' dbisl-compare column.tsv -o out
    head -n 1 results.tsv >header.tsv
    expect_fault 'no results' dbisl-compare header.tsv -o out
    expect_fault 'empty' dbisl-compare /dev/null -o out
    head -c 100 /dev/zero >zeros
    expect_fault 'not a text file' dbisl-compare zeros -o out
    awk -v header="$header" 'BEGIN { print header; for (i = 0; i < 5000; i++) printf "m%d\t-\t8\t1\tc\t1\t0\t1\t1\t1\t1\tnone\th\n", i }' >many.tsv
    expect_fault 'more than 4096' dbisl-compare many.tsv -o out
    absent out
    expect_usage dbisl-compare --markdown --tsv results.tsv
    expect_usage dbisl-compare --baseline
}
