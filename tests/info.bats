#!/usr/bin/env bats
# dbisl-info: what it shows, and cutting a stream.

load helper

setup() {
    need_python json
    cd "$BATS_TEST_TMPDIR" || return
}

# record FILE PYTHON-EXPRESSION OF METADATA: one plain record with a float tensor of [1, NaN, -3.5, inf] and a label of [2,3].
record() {
    "$PYTHON" - "$1" "$2" <<'END'
import json, struct, sys
header = {"__metadata__": eval(sys.argv[2]), "image": {"dtype": "F32", "shape": [1, 4], "data_offsets": [0, 16]}, "label": {"dtype": "U8", "shape": [2, 3], "data_offsets": [16, 22]}}
text = json.dumps(header).encode()
open(sys.argv[1], "wb").write(struct.pack("<Q", len(text)) + text + struct.pack("<4f6B", 1, float("nan"), -3.5, float("inf"), 0, 1, 2, 0, 1, 2))
END
}

# The value of a Python expression of the JSON document `d` on standard input.
json() {
    "$PYTHON" -c "import json, sys; d = json.loads(sys.stdin.read()); print($1)"
}

@test "the listing names kind, tensors, types, shapes, ranges and metadata" {
    record case.st '{"kind": "case", "id": "patient 7", "step": "12", "affine": "[[1,0]]"}'
    expect 0 dbisl-info case.st
    [ "${lines[0]}" = 'case.st: record 0: case patient 7 step 12' ]
    [[ ${lines[1]} =~ image\ +F32\ +\[1,4\]\ +16\ bytes\ +min\ -3.5\ +max\ 1\ +mean\ -1.25\ +2\ not\ finite ]]
    [[ ${lines[2]} =~ label\ +U8\ +\[2,3\]\ +6\ bytes\ +min\ 0\ +max\ 2\ +mean\ 1$ ]]
    [[ $output =~ affine\ +\[\[1,0\]\] ]]
    dbisl-info - <case.st | grep -q '^standard input: record 0: case patient 7'
}

@test "several files and several records are listed in order" {
    record a.st '{"id": "a"}'
    record b.st '{"id": "b"}'
    cat a.st b.st >ab.st
    expect 0 dbisl-info ab.st a.st
    [ "$(printf '%s\n' "$output" | grep record)" = $'ab.st: record 0: a\nab.st: record 1: b\na.st: record 0: a' ]
}

@test "--json is a document per record" {
    record case.st '{"kind": "case", "note": "a \"b\"\n"}'
    cat case.st case.st >two.st
    expect 0 dbisl-info --json two.st
    [ "${#lines[@]}" -eq 2 ]
    [ "$(json 'd["record"]' <<<"${lines[1]}")" = 1 ]
    [ "$(json 'd["metadata"] == {"kind": "case", "note": "a \"b\"\n"}' <<<"${lines[0]}")" = True ]
    [ "$(json '[t["name"] for t in d["tensors"]]' <<<"${lines[0]}")" = "['image', 'label']" ]
    [ "$(json 'd["tensors"][0]["nonfinite"], d["tensors"][0]["mean"]' <<<"${lines[0]}")" = '2 -1.25' ]
    [ "$(json 'len(d["checksum"])' <<<"${lines[0]}")" = 32 ]
}

@test "the checksum is that of the contents, not of the compression" {
    need zstd
    record a.st '{"id": "a"}'
    record b.st '{"id": "b"}'
    zstd -q -19 a.st -o a.st.zst
    sum() {
        dbisl-info --json "$1" | json 'd["checksum"]'
    }
    [ "$(sum a.st)" = "$(sum a.st.zst)" ]
    [ "$(sum a.st)" != "$(sum b.st)" ]
}

@test "--history tells programs, settings and inputs" {
    record case.st '{"kind": "case", "history": json.dumps([{"tool": "dbisl-preprocess", "version": "0.1.0", "settings": {"spacing": [1, 1, 2], "crop": "none"}, "inputs": {"scan": "00ff"}}, {"tool": "dbisl-sdf", "version": "0.1.0", "settings": {}, "inputs": {}}])}'
    expect 0 dbisl-info --history case.st
    [[ $output == *'1. dbisl-preprocess 0.1.0'*'settings.spacing [1,1,2]'*'settings.crop none'*'inputs.scan 00ff'*'2. dbisl-sdf 0.1.0'* ]]
    record bare.st '{}'
    expect 0 dbisl-info --history bare.st
    [[ $output == *'no history'* ]]
    record broken.st '{"history": "[1"}'
    expect_fault 'broken.st: record 0: .*history' dbisl-info --history broken.st
    record odd.st '{"history": "{}"}'
    expect_fault 'odd.st: record 0: .*history' dbisl-info --history odd.st
    record odd.st '{"history": "[1]"}'
    expect_fault 'odd.st: record 0: .*history' dbisl-info --history odd.st
}

@test "no control character of a file reaches the terminal" {
    record evil.st '{"id": "\x1b]0;owned\x07", "history": json.dumps([{"tool": "\x1b[2J"}])}'
    for way in "" --history --json; do
        expect 0 dbisl-info $way evil.st
        [ "$(printf '%s' "$output" | tr -d '\n[:print:]' | wc -c)" -eq 0 ] || fail "$way"
    done
    record "$(printf 'name\x1b[1m.st')" '{"id": "x"}'
    head -c 20 "$(printf 'name\x1b[1m.st')" >"$(printf 'cut\x1b[1m.st')"
    expect_fault 'cut\?' dbisl-info "$(printf 'cut\x1b[1m.st')"
}

@test "--split numbers the records through all files and writes each whole" {
    record a.st '{"id": "a"}'
    record b.st '{"id": "b"}'
    cat a.st b.st >ab.st
    dbisl-info --split out. ab.st a.st
    [ "$(printf '%s ' out.*)" = 'out.0000.st.zst out.0001.st.zst out.0002.st.zst ' ]
    [ "$(dbisl-info out.0001.st.zst | head -1)" = 'out.0001.st.zst: record 0: b' ]
    same out.0000.st.zst out.0002.st.zst
    dbisl-info --split again. out.0000.st.zst
    same again.0000.st.zst out.0000.st.zst
    dbisl-info --compress=zstd:19 --split small. ab.st
    dbisl-info --compress=none --split plain. ab.st
    [ -e small.0001.st.zst ] && [ -e plain.0001.safetensors ]
}

@test "the reader in Python of dbisl-format(5) works" {
    need zstd
    need_python numpy
    record a.st '{"id": "a"}'
    record b.st '{"id": "b"}'
    dbisl-info --split out. a.st b.st
    cat out.* >ab.st.zst
    sed -n '/^Reading in Python/,/^\.Ed/p' "$ROOT/man/dbisl-format.5" | sed '1,2d; $d' >reader.py
    echo 'print([(m["id"], t["label"].tolist(), float(t["image"][0, 2])) for t, m in records("ab.st.zst")])' >>reader.py
    expect 0 "$PYTHON" reader.py
    [ "$output" = "[('a', [[0, 1, 2], [0, 1, 2]], -3.5), ('b', [[0, 1, 2], [0, 1, 2]], -3.5)]" ]
}

@test "--split of a stream that breaks off leaves nothing" {
    record a.st '{"id": "a"}'
    cat a.st a.st >torn.st
    truncate -s -1 torn.st
    expect_fault 'torn.st: record 1: ' dbisl-info --split out. torn.st
    [ "$(find . -name '*out*' | wc -l)" -eq 0 ]
    expect_fault 'nowhere/out.0000.st.zst: No such file or directory' dbisl-info --split nowhere/out. a.st
}

@test "-o appears whole or not at all" {
    record a.st '{"id": "a"}'
    dbisl-info -o listing a.st
    dbisl-info a.st | cmp - listing
    cp a.st torn.st
    truncate -s -1 torn.st
    expect_fault 'torn.st: record 0: ' dbisl-info -o listing torn.st
    dbisl-info a.st | cmp - listing
    expect_fault 'torn.st: record 0: ' dbisl-info -o other a.st torn.st
    absent other .other.part .listing.part
}

@test "wrong usage is told" {
    expect_usage dbisl-info --no-such-option
    expect_usage dbisl-info --json --history
    expect_usage dbisl-info --json --split x
    expect_usage dbisl-info --split x -o y
    expect_usage dbisl-info --compress=gzip
    expect_usage dbisl-info --compress=zstd:99
    expect_usage dbisl-info --split
    expect 0 dbisl-info --version
    [[ $output =~ ^dbisl-info\ [0-9.]+$ ]]
    expect 0 dbisl-info --help
}
