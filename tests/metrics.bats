#!/usr/bin/env bats
# dbisl-metrics: scores of predictions.
load helper

labels() {
    "$PYTHON" "$ROOT/tests/labels.py" "$@"
}

# column NAME FILE: of a table, without the header.
column() {
    awk -F'\t' -v name="$1" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) c = i; next } { print $c }' "$2"
}

setup() {
    need "$PYTHON"
    cd "$BATS_TEST_TMPDIR" || return
}

@test "metrics: all scores agree with scipy's, in voxels and in mm, class by class" {
    need_python numpy scipy
    labels make r.st balls=2
    for how in shift=1.3 radius=5.1 "shift=-2 radius=3"; do
        # shellcheck disable=SC2086 # several keys
        labels make p.st balls=2 $how
        dbisl-metrics p.st r.st -o voxel.tsv
        labels metrics voxel.tsv voxel 1 p.st r.st
        dbisl-metrics --unit mm --tolerance 1.3 p.st r.st >mm.tsv
        labels metrics mm.tsv mm 1.3 p.st r.st
    done
}

@test "metrics: the scores of six pairs of masks that scipy scored beforehand" {
    labels fixture "$FIXTURES/metrics.safetensors"
    for unit in voxel mm; do
        dbisl-metrics --unit $unit --json p.st r.st -o out.json
        "$PYTHON" - $unit <<'END'
import json, sys
unit = sys.argv[1]
found, expected = json.load(open("out.json"))["cases"], json.load(open("expected.json"))
assert len(found) == len(expected) == 6
for f, e in zip(found, expected):
    for name in "dice", "jaccard", "hd", "hd95", "asd", "assd":
        want = e.get(name, e.get(f"{name}_{unit}"))
        assert abs(f[name] - want) < 1e-4, (f["case"], name, f[name], want)
END
    done
}

@test "metrics: NIfTI files score as the records made of them, in any orientation" {
    for axes in RAS LPI PSR; do
        "$PYTHON" "$ROOT/tests/scans.py" make scan.nii.gz axes=$axes spacing=0.9,1.7,1.1 shape=26,20,24
        "$PYTHON" "$ROOT/tests/scans.py" make label.nii.gz axes=$axes spacing=0.9,1.7,1.1 shape=26,20,24 kind=label classes=2
        "$PYTHON" "$ROOT/tests/scans.py" make one.nii.gz axes=$axes spacing=0.9,1.7,1.1 shape=26,20,24 kind=label classes=1
        dbisl-preprocess --label label.nii.gz --id c scan.nii.gz -o two.st.zst
        dbisl-preprocess --label one.nii.gz --classes 2 --id c scan.nii.gz -o one.st.zst
        dbisl-metrics --unit mm one.nii.gz label.nii.gz | cut -f2- >nifti.tsv
        dbisl-metrics --unit mm one.st.zst two.st.zst | cut -f2- >records.tsv
        dbisl-metrics --unit mm one.nii.gz two.st.zst | cut -f2- >mixed.tsv
        same nifti.tsv records.tsv
        same mixed.tsv records.tsv
        [ "$(column dice nifti.tsv | head -1)" != 1 ]
    done
}

@test "metrics: the summary is that of the cases, per class and over them; seeded, the same from tables and JSON" {
    for i in 1 2 3 4 5; do
        labels make r$i.st balls=2 id=c$i
        labels make p$i.st balls=2 id=c$i shift=0.$i radius=4.$i
    done
    pairs=(p1.st r1.st p2.st r2.st p3.st r3.st p4.st r4.st p5.st r5.st)
    dbisl-metrics "${pairs[@]}" -o cases.tsv
    dbisl-metrics --summary --seed 3 "${pairs[@]}" -o summary.tsv
    dbisl-metrics --summary --seed 3 --threads 3 "${pairs[@]}" -o again.tsv
    same summary.tsv again.tsv
    dbisl-metrics --summary --seed 4 "${pairs[@]}" -o other.tsv
    if cmp -s summary.tsv other.tsv; then fail "the seed does nothing"; fi
    cat p?.st >p.st
    cat r?.st >r.st
    dbisl-metrics p.st r.st -o streams.tsv
    same cases.tsv streams.tsv
    dbisl-metrics --json --seed 3 "${pairs[@]}" -o all.json
    "$PYTHON" - <<'END'
import json, statistics
def table(path):
    names, *rows = [line.rstrip("\n").split("\t") for line in open(path)]
    return [dict(zip(names, row)) for row in rows]
cases, summary, document = table("cases.tsv"), table("summary.tsv"), json.load(open("all.json"))
assert len(cases) == 10 and len(summary) == 36
for row in summary:
    per_case = {}
    for case in cases:
        if row["class"] in (case["class"], "mean"):
            per_case.setdefault(case["case"], []).append(float(case[row["metric"]]))
    values = [statistics.mean(v) for v in per_case.values()]
    for key, want in ("mean", statistics.mean(values)), ("sd", statistics.stdev(values)), ("median", statistics.median(values)):
        assert abs(float(row[key]) - want) <= 1e-6 * max(1, abs(want)), (row, key, want)
    assert min(values) - 1e-9 <= float(row["low"]) <= float(row["mean"]) <= float(row["high"]) <= max(values) + 1e-6 * abs(max(values))
for a, b in zip(cases + summary, document["cases"] + document["summary"]):
    assert a.keys() == b.keys()
    for key, value in a.items():
        assert value == str(b[key]) or abs(float(value) - float(b[key])) <= 1e-6 * max(1, abs(float(value))), (key, value, b[key])
assert document["unit"] == "voxel" and document["tolerance"] == 1
END
}

@test "metrics: empty masks have the values that the manual says, and are counted" {
    labels make empty.st kind=empty shape=12,4,3
    labels make some.st radius=1.5 shape=12,4,3
    dbisl-metrics empty.st empty.st some.st empty.st empty.st some.st some.st some.st -o out.tsv
    [ "$(column dice out.tsv | xargs)" = "1 0 0 1" ]
    [ "$(column hd95 out.tsv | xargs)" = "0 13 13 0" ]
    [ "$(column asd out.tsv | xargs)" = "0 13 13 0" ]
    [ "$(column surface_dice out.tsv | xargs)" = "1 0 0 1" ]
    [ "$(column empty out.tsv | xargs)" = "both reference prediction none" ]
    dbisl-metrics --summary some.st empty.st empty.st some.st empty.st empty.st -o out.tsv
    [ "$(column one_empty out.tsv | sort -u)" = 2 ]
    if grep -q nan out.tsv; then fail "$(cat out.tsv)"; fi
    # a class that only one of the cases has
    labels make two.st balls=2 classes=none
    labels make one.st classes=none
    dbisl-metrics two.st two.st one.st one.st -o out.tsv
    [ "$(column class out.tsv | xargs)" = "1 2 1 2" ]
    [ "$(column empty out.tsv | xargs)" = "none none none both" ]
}

@test "metrics: --largest takes specks away from the prediction" {
    labels make speck.st kind=speck
    labels make ball.st
    dbisl-metrics speck.st ball.st -o with.tsv
    dbisl-metrics --largest speck.st ball.st -o without.tsv
    [ "$(column hd without.tsv)" = 0 ] && [ "$(column dice without.tsv)" = 1 ]
    [ "$(column dice with.tsv)" != 1 ]
}

@test "metrics: what is wrong with an input is said in one line, and nothing is left behind" {
    labels make good.st
    labels make other.st shape=20,17,15
    expect_fault "other.st: record 0: .*\[20,17,15\].*\[20,17,14\]" dbisl-metrics other.st good.st -o out.tsv
    labels make moved.st spacing=0.7,1,1.9
    expect_fault "moved.st: record 0: .*different places" dbisl-metrics moved.st good.st -o out.tsv
    labels make named.st id=box
    expect_fault 'named.st: record 0: .*"box".*"ball"' dbisl-metrics named.st good.st -o out.tsv
    labels make high.st balls=3 classes=2
    expect_fault "high.st: record 0: .*value of 3.* 2 " dbisl-metrics good.st high.st -o out.tsv
    labels make unsaid.st balls=2 classes=none
    expect_fault "unsaid.st: record 0: .*label of 2.* 1 " dbisl-metrics unsaid.st good.st -o out.tsv
    labels make unlabelled.st name=other
    expect_fault 'unlabelled.st: record 0: no tensor "label"' dbisl-metrics unlabelled.st good.st -o out.tsv
    labels make float.st dtype=F32
    expect_fault 'float.st: record 0: tensor "label" is F32' dbisl-metrics good.st float.st -o out.tsv
    labels make nowhere.st spacing=none
    expect_fault "nowhere.st: record 0: no affine" dbisl-metrics --unit mm nowhere.st nowhere.st -o out.tsv
    labels make flat.st spacing=0.7,0,1
    expect_fault "flat.st: record 0" dbisl-metrics flat.st good.st -o out.tsv
    cat good.st good.st >two.st
    expect_fault "two.st: more records than in good.st" dbisl-metrics two.st good.st -o out.tsv
    expect_fault "good.st: fewer records than in two.st" dbisl-metrics good.st two.st -o out.tsv
    head -c 3000 good.st >short.st
    expect_fault "short.st: record 0" dbisl-metrics good.st good.st short.st good.st -o out.tsv
    expect_fault "missing.st" dbisl-metrics missing.st good.st -o out.tsv
    expect_fault "missing.nii.gz" dbisl-metrics missing.nii.gz good.st -o out.tsv
    "$PYTHON" "$ROOT/tests/scans.py" make image.nii.gz shape=20,17,14
    expect_fault "image.nii.gz" dbisl-metrics image.nii.gz good.st -o out.tsv
    absent out.tsv .out.tsv.part
}

@test "metrics: a full disk is an error" {
    labels make a.st
    tmpfs small 4k
    head -c 4096 /dev/zero >small/full || true
    expect_fault "" dbisl-metrics a.st a.st -o small/out.tsv
    absent small/out.tsv small/.out.tsv.part
}

@test "metrics: wrong usage" {
    labels make a.st
    expect_usage dbisl-metrics
    expect_usage dbisl-metrics a.st
    expect_usage dbisl-metrics a.st a.st a.st
    expect_usage dbisl-metrics --unit cm a.st a.st
    expect_usage dbisl-metrics --tolerance -1 a.st a.st
    expect_usage dbisl-metrics --tolerance nan a.st a.st
    expect_usage dbisl-metrics --json --summary a.st a.st
    expect_usage dbisl-metrics --unknown a.st a.st
}

@test "lists of predictions and references are not taken for pairs" {
    local i
    mkdir pred ref
    for i in 0 1 2; do
        "$PYTHON" "$ROOT/tests/scans.py" make "ref/p$i.nii.gz" shape=12,12,10 kind=label classes=1
        cp "ref/p$i.nii.gz" pred
    done
    expect_fault 'pred/p0.nii.gz would be scored against pred/p1.nii.gz' dbisl-metrics pred/p0.nii.gz pred/p1.nii.gz pred/p2.nii.gz ref/p0.nii.gz ref/p1.nii.gz ref/p2.nii.gz
    expect 0 dbisl-metrics pred/p0.nii.gz pred/p1.nii.gz ref/p0.nii.gz ref/p1.nii.gz
    [[ $stderr == *"warning: pred/p0.nii.gz is scored against pred/p1.nii.gz, which has another name"* ]] && [ ${#stderr_lines[@]} -eq 1 ] || fail "$stderr"
    expect 0 dbisl-metrics pred/p0.nii.gz ref/p0.nii.gz pred/p1.nii.gz ref/p1.nii.gz pred/p2.nii.gz ref/p2.nii.gz
    [ -z "$stderr" ] || fail "$stderr"
    expect 0 dbisl-metrics pred/p0.nii.gz ref/p1.nii.gz
    [ -z "$stderr" ] || fail "$stderr"
}
