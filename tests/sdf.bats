#!/usr/bin/env bats
# dbisl-sdf: labels and probabilities to signed distance maps.
load helper

labels() {
    "$PYTHON" "$ROOT/tests/labels.py" "$@"
}

setup() {
    need "$PYTHON"
    cd "$BATS_TEST_TMPDIR" || return
}

@test "sdf: all normalizations agree with scipy, class by class" {
    need_python numpy scipy
    labels make two.st balls=2
    labels make absent.st balls=2 classes=3
    for record in two absent; do
        for normalize in clip:10 clip:2.5 none max; do
            dbisl-sdf --normalize "$normalize" --compress=none $record.st -o out.st
            labels sdf out.st "$normalize"
        done
    done
}

@test "sdf: nothing but the map, its metadata and the history is touched, and a map that was there is replaced" {
    labels make a.st balls=2
    dbisl-sdf --compress=none a.st -o b.st
    labels same-but a.st b.st sdf sdf history
    dbisl-sdf --normalize max --compress=none b.st -o c.st
    dbisl-sdf --normalize max --compress=none a.st -o d.st
    labels same-but c.st d.st none history
    [[ $(dbisl-info --json b.st) == *'clip:10'* && $(dbisl-info --json c.st) != *'"sdf": "{\"normalize\":\"clip:10'* ]]
}

@test "sdf: equal input gives equal bytes, whatever the threads, from a file or a pipe" {
    labels make a.st prob= balls=2
    for how in "--from=label" "--from=prob --transform=levelset" "--from=prob --transform=conv:0.5,3" "--transform=levelset --normalize=none"; do
        # shellcheck disable=SC2086 # several options
        dbisl-sdf $how --threads 1 a.st -o 1.st.zst
        # shellcheck disable=SC2086
        dbisl-sdf $how --threads 3 <a.st >2.st.zst
        same 1.st.zst 2.st.zst
    done
}

@test "sdf: a stream of records goes through record by record" {
    labels make a.st id=a
    labels make b.st id=b shift=2 shape=18,19,20
    cat a.st b.st | dbisl-sdf --compress=none - -o ab.st
    dbisl-sdf --compress=none a.st >each.st
    dbisl-sdf --compress=none b.st >>each.st
    same ab.st each.st
}

@test "sdf: a probability by the exact transform is its label's distance; the level set agrees on the sides" {
    need_python numpy
    labels make a.st prob= radius=4.2
    dbisl-sdf --from=prob --compress=none a.st -o exact.st
    dbisl-sdf --from=label --compress=none a.st -o label.st
    dbisl-sdf --from=prob --transform=levelset --compress=none a.st -o level.st
    "$PYTHON" - exact.st label.st level.st <<'END'
import json, struct, sys, numpy
def sdf(path):
    blob = open(path, "rb").read()
    length, = struct.unpack("<Q", blob[:8])
    entry = json.loads(blob[8:8 + length])["sdf"]
    return numpy.frombuffer(blob[8 + length:][slice(*entry["data_offsets"])], "<f4").reshape(entry["shape"])
exact, label, level = map(sdf, sys.argv[1:])
assert (exact == label).all() and ((exact > 0) == (level > 0)).all()
assert abs(exact - level).mean() < 0.04, abs(exact - level).mean()
END
}

@test "sdf: an empty label is an error; where it is allowed it is outside everywhere, with a warning" {
    need_python numpy scipy
    labels make empty.st kind=empty
    expect_fault 'empty.st: record 0: tensor "label" has no foreground' dbisl-sdf empty.st -o out.st
    absent out.st
    expect 0 dbisl-sdf --allow-empty --compress=none empty.st -o out.st
    [[ $stderr == *"empty.st: record 0: no foreground"* ]] || fail "$stderr"
    labels sdf out.st clip:10
    expect 0 dbisl-sdf -q --allow-empty empty.st -o out.st
    [ -z "$stderr" ]
}

@test "sdf: what is wrong with an input is said in one line, and nothing is left behind" {
    labels make high.st balls=3 classes=2
    expect_fault "high.st: record 0: .*value of 3.* 2 " dbisl-sdf high.st -o out.st
    labels make noclasses.st classes=none
    expect_fault "record 0: .*classes" dbisl-sdf noclasses.st -o out.st
    labels make many.st classes=300
    expect_fault "record 0: 300 classes" dbisl-sdf many.st -o out.st
    labels make unlabelled.st name=other
    expect_fault 'record 0: no tensor "label"' dbisl-sdf unlabelled.st -o out.st
    labels make float.st dtype=F32
    expect_fault 'record 0: tensor "label" is F32' dbisl-sdf float.st -o out.st
    expect_fault 'record 0: no tensor "prob"' dbisl-sdf --from prob high.st -o out.st
    for value in nan inf -0.01 1.5; do
        labels make bad.st prob=$value
        expect_fault "bad.st: record 0: .*no probability" dbisl-sdf --from prob bad.st -o out.st
    done
    labels make good.st
    cat good.st high.st >second.st
    expect_fault "second.st: record 1: .*value of 3" dbisl-sdf second.st -o out.st
    head -c 3000 good.st >short.st
    expect_fault "short.st: record 0" dbisl-sdf short.st -o out.st
    expect_fault "missing.st" dbisl-sdf missing.st -o out.st
    : >nothing.st
    expect_fault "nothing.st" dbisl-sdf nothing.st -o out.st
    absent out.st .out.st.part
    echo before >there.st
    expect_fault "high.st" dbisl-sdf high.st -o there.st
    [ "$(cat there.st)" = before ]
}

@test "sdf: a full disk is an error" {
    labels make big.st shape=60,60,60
    tmpfs small 64k
    expect_fault "" dbisl-sdf --compress=none big.st -o small/out.st
    absent small/out.st small/.out.st.part
}

@test "sdf: wrong usage" {
    labels make a.st
    expect_usage dbisl-sdf --from=image a.st
    expect_usage dbisl-sdf --transform=conv a.st
    expect_usage dbisl-sdf --transform=conv:0,3 a.st
    expect_usage dbisl-sdf --normalize=clip:0 a.st
    expect_usage dbisl-sdf --normalize=clip:x a.st
    expect_usage dbisl-sdf --threads=0 a.st
    expect_usage dbisl-sdf --unknown a.st
    expect_usage dbisl-sdf a.st b.st
}
