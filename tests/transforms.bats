#!/usr/bin/env bats
# dbisl-transforms: how close the transforms from segmentation to distance come to the exact distance.
load helper

labels() {
    "$PYTHON" "$ROOT/tests/labels.py" "$@"
}

setup() {
    need "$PYTHON"
    cd "$BATS_TEST_TMPDIR" || return
}

# value TSV TRANSFORM BAND COLUMN
value() {
    awk -F'\t' -v t="$2" -v b="$3" -v c="$4" 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next } $4 == t && $5 == b { print $at[c] }' "$1"
}

@test "transforms: the exact one is exact on a sharp label; a row for each blur, background, transform and band" {
    labels make a.st radius=9 shape=30,30,30
    dbisl-transforms --blur 0,1 --background 0,0.01 --transform exact --transform levelset --transform conv:0.35,6 a.st -o a.tsv
    [ "$(wc -l <a.tsv)" -eq 37 ]
    [ "$(cut -f1-5 a.tsv | sort -u | wc -l)" -eq 37 ]
    [ "$(value a.tsv exact 0-5 mean | head -1)" = 0.0000 ]
    [ "$(value a.tsv exact 0-5 gradient | head -1)" = 0 ]
    [ "$(value a.tsv levelset 0-5 nonfinite | sort -u)" = 0 ]
    # in front of a background the soft distance saturates, and the level set does not
    [ "$(awk -F'\t' '$3 == 0.01 && $4 == "levelset" && $5 == "5-20" && $7 < 0.5' a.tsv | wc -l)" -eq 2 ]
    [ "$(awk -F'\t' '$3 == 0.01 && $4 == "conv:0.35,6" && $5 == "5-20" && $7 > 2' a.tsv | wc -l)" -eq 2 ]
}

@test "transforms: the numbers are numpy's and scipy's" {
    need_python numpy scipy
    labels make a.st radius=5 shape=24,20,28
    dbisl-transforms --blur 0.7 --background 0.001 --transform levelset --transform exact a.st -o a.tsv
    labels make b.st radius=5 shape=24,20,28 prob=
    dbisl-transforms --from prob --transform exact --transform levelset b.st -o b.tsv
    # the map that was compared, made by scipy, and what dbisl-sdf makes of it
    "$PYTHON" - "$ROOT/tests" <<'END'
import sys, numpy
sys.path.insert(0, sys.argv[1])
import labels
from scipy.ndimage import gaussian_filter
tensors, metadata = labels.load("a.st")
label = labels.array(tensors["label"]).astype("f8")
p = (0.001 + 0.998 * gaussian_filter(label, 0.7, mode="nearest", truncate=4)).astype("<f4")
tensors["prob"] = ("F32", [1, *p.shape], p.tobytes())
labels.save("p.st", tensors, metadata)
END
    dbisl-sdf --from prob --transform levelset --normalize none --compress none p.st -o p-sdf.st
    dbisl-sdf --from prob --transform levelset --normalize none --compress none b.st -o b-sdf.st
    "$PYTHON" - "$ROOT/tests" <<'END'
import csv, sys, numpy
sys.path.insert(0, sys.argv[1])
import labels
from scipy.ndimage import distance_transform_edt as edt
for table, record, of_map in ("a.tsv", "p-sdf.st", False), ("b.tsv", "b-sdf.st", True):
    tensors, _ = labels.load(record)
    s = labels.array(tensors["sdf"])[0].astype("f8")
    mask = labels.array(tensors["prob"])[0] > 0.5 if of_map else labels.array(tensors["label"]) == 1
    exact = edt(mask) - edt(~mask)
    error = numpy.where(exact > 0, s - exact, exact - s)
    for row in csv.DictReader(open(table), delimiter="\t"):
        if row["transform"] != "levelset" or row["voxels"] == "0":
            continue
        low, high = {"0-5": (0, 5), "5-20": (5, 20), "20-": (20, 1e9)}[row["band"]]
        e = error[(abs(exact) > low) & (abs(exact) <= high)]
        assert int(row["voxels"]) == e.size, row
        for name, want in (("mean", abs(e).mean()), ("p95", numpy.percentile(abs(e), 95)), ("offset", -numpy.median(e)),
                           ("shifted_mean", abs(e - numpy.median(e)).mean())):
            assert abs(float(row[name]) - want) < 0.01, (table, name, row, want)
END
}

@test "transforms: equal inputs give equal tables, from files or a pipe, whatever the threads; --time adds a column" {
    labels make a.st
    labels make b.st radius=3 balls=2
    dbisl-transforms --threads 1 --blur 0.7 --patch 12 a.st b.st -o 1.tsv
    cat a.st b.st | dbisl-transforms --threads 3 --blur 0.7 --patch 12,12,12 >2.tsv
    same 1.tsv 2.tsv
    dbisl-transforms --time --blur 0.7 --patch 12 a.st b.st -o 3.tsv
    same 1.tsv <(cut -f1-14 3.tsv)
    [ "$(head -1 3.tsv | cut -f15)" = seconds ]
}

@test "transforms: what cannot be compared is said in a line, and no file is left" {
    labels make empty.st kind=empty
    labels make full.st kind=full
    expect 1 dbisl-transforms empty.st full.st -o out.tsv
    [[ $stderr == *"empty.st: record 0: left out: no patch has both"* && $stderr == *"full.st: record 0: left out: no patch has both"* && $stderr == *"no patch has both foreground and background: choose"* ]] || fail "$stderr"
    labels make good.st
    expect 0 dbisl-transforms empty.st good.st -o some.tsv
    dbisl-transforms good.st -o good.tsv
    same some.tsv good.tsv
    labels make high.st balls=3 classes=2
    expect_fault 'high.st: record 0: .*value of 3' dbisl-transforms good.st high.st -o out.tsv
    labels make bad.st prob=nan
    expect_fault 'bad.st: record 0: .*no probability' dbisl-transforms --from prob bad.st -o out.tsv
    expect_fault 'good.st: record 0: no tensor "prob"' dbisl-transforms --from prob good.st -o out.tsv
    cat good.st high.st >two.st
    expect_fault 'two.st: record 1: ' dbisl-transforms two.st -o out.tsv
    head -c 3000 good.st >short.st
    expect_fault 'short.st: record 0' dbisl-transforms short.st -o out.tsv
    expect_fault 'missing.st' dbisl-transforms missing.st -o out.tsv
    absent out.tsv .out.tsv.part
}

@test "transforms: wrong usage" {
    labels make a.st
    local option many
    many=$(seq -s, 17)
    for option in --from=image --patch=0 --patch=1,2 --blur=x --blur=-1 --blur= --blur=nan "--blur=$many" --background=0.5 --background=-0.1 --transform=cube \
        --transform=conv:0,3 --nothing; do
        expect_usage dbisl-transforms "$option" a.st
    done
    # shellcheck disable=SC2046 # one option each
    expect_usage dbisl-transforms $(seq -f '--transform=conv:1,%.0f' 17) a.st
}
