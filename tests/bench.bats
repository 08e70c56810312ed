load helper

# What is timed here is too small to mean anything: these tests keep the parts of the benchmarks running.
setup() {
    PATH=${BIN%/bin}/tests:$PATH
    export PATCH=32x16x16 FILTERS=2 SCAN=40x36x32 STRIDE=16x16x16 CEILING=8x8x8 CEILING_SECONDS=0.01 REPEATS=1 LONG_REPEATS=1
    export SMALL_PATCH=32x16x16 SMALL_FILTERS=2 SMALL_SCAN=32 SMALL_STEPS=3 BUILD=${BIN%/bin} TMPDIR=$BATS_TEST_TMPDIR
    export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:detect_leaks=0} # they end without giving anything back
    unset TORCH_PYTHON LA_SCAN CHECKPOINT
}

# column N TEXT: of the table's row that begins with TEXT.
column() {
    awk -F ' *[|] *' -v n="$1" -v text="$2" 'index($2, text) == 1 { print $(n + 1); exit }' <<<"$output"
}

@test "bench without any baseline: the table has ours alone, and says so" {
    PYTHON=/nonexistent expect 0 "$ROOT/tests/bench/run"
    [[ $output == *"PYTHON: /nonexistent: not there"* ]] || fail "$output"
    [[ $(column 2 "training step, batch 2") =~ ^[0-9.]+\ m?s\ \( ]] || fail "$output" # seconds on a slow machine
    [[ $(column 3 "training step, batch 2") == "not there"* && $(column 6 "training step, batch 2") == "not compared" ]] || fail "$output"
    [ "$(grep -c "not compared" <<<"$output")" -ge 8 ] || fail "$output"
    [[ $(column 6 "dbisl, batch 1 + 1") == met || $(column 6 "dbisl, batch 1 + 1") == missed ]] || fail "$output"
}

# The set-up installs scipy and h5py but not PyTorch, which is large: where it is there, its rows must be compared, elsewhere they must say that they are not.
@test "bench beside scipy and h5py, and PyTorch where it is there: every row of the table, Dice with a checkpoint" {
    need_python scipy h5py
    local torch=("not compared" "not compared")
    ! "$PYTHON" -c 'import torch' 2>/dev/null || torch=(met missed)
    dbisl-init --norm batch --filters 2 --seed 1 -o "$BATS_TEST_TMPDIR/c.st.zst"
    CHECKPOINT=$BATS_TEST_TMPDIR/c.st.zst expect 0 "$ROOT/tests/bench/run"
    local row
    for row in "exact signed distance" "Dice, HD95, ASD" "reading a case"; do
        [[ $(column 6 "$row") == met || $(column 6 "$row") == missed ]] || fail "$row: $output"
    done
    for row in "training step, batch 2" "inference of one patch" "a whole scan in one pass" "levelset distance" "peak memory"; do
        [[ $(column 6 "$row") == "${torch[0]}" || $(column 6 "$row") == "${torch[1]}" ]] || fail "$row: $output"
    done
    [[ $(column 6 "Dice with the reference") == met || $(column 6 "Dice with the reference") == missed ]] || fail "$output"
    [[ $(column 4 "sample → train-step pipe") == *" %" ]] || fail "$output"
    [ -z "$(find "$BATS_TEST_TMPDIR" -name 'dbisl-bench.*')" ] || fail "files are left"
}

@test "bench_net: every layer, and the passes" {
    expect 0 bench_net layers 32x16x16 2 1 2
    [ "$(grep -c '^| [0-9] × ' <<<"$output")" -eq 14 ] || fail "$output"
    expect 0 bench_net step 32x16x16 2 1 2
    [[ $output == *'"what": "step 32x16x16 batch 2 filters 2 decoders 1", "median_s": '* ]]
    expect 1 bench_net step 16 2 1
}

@test "bench-quick fails when a kernel takes twice what is recorded, whatever the vectors" {
    bench_quick --record 1 >"$BATS_TEST_TMPDIR/here"
    awk '{ print $1, $2, $3, 100 * $4 }' "$BATS_TEST_TMPDIR/here" >"$BATS_TEST_TMPDIR/slow"
    expect 0 bench_quick "$BATS_TEST_TMPDIR/slow" 1
    [ "${lines[-1]}" = "8 passed, 0 failed" ] || fail "$output"
    awk '{ print $1, $2, $3, $1 == "scores" ? $4 / 100 : 100 * $4 }' "$BATS_TEST_TMPDIR/here" >"$BATS_TEST_TMPDIR/fast"
    expect 1 bench_quick "$BATS_TEST_TMPDIR/fast" 1
    [ "${lines[-1]}" = "7 passed, 1 failed" ] || fail "$output"
    [[ $output == *"scores "*SLOWER* ]] || fail "$output"
    # Every kernel is recorded for both kinds of vectors.
    local kernel
    for kernel in $(cut -d' ' -f1 "$BATS_TEST_TMPDIR/here"); do
        [ "$(grep -cE "^$kernel +(AVX-512|AVX2) " "$ROOT/tests/bench/quick.tsv")" -eq 2 ] || fail "$kernel"
    done
}
