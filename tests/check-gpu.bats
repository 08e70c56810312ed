# `make check-gpu SANITIZER=TOOL` and `make gpu-bundle` where there is no GPU: their scripts, with stand-ins for the GPU and for NVIDIA's compute-sanitizer.
bats_require_minimum_version 1.5.0
load helper

# script FILE LINE...: an executable.
script() {
    local file=$1
    shift
    printf '%s\n' '#!/bin/bash' "$@" >"$file"
    chmod +x "$file"
}

setup() {
    T=$BATS_TEST_TMPDIR
    mkdir "$T/bin" "$T/tools"
    # A GPU is there when dbisl-sdf gets as far as its input.
    script "$T/bin/dbisl-sdf" 'case "$*" in *cuda*) echo "dbisl-sdf: standard input: nothing there" >&2 ;; esac' 'exit 1'
    script "$T/bin/dbisl-predict" 'echo "predicted by $*"'
    script "$T/bin/dbisl-train-step" 'exit 3'
    script "$T/bin/dbisl-info" 'echo "not watched"'
    script "$T/test_good" 'echo 1..2; echo "ok 1 - a"; echo "ok 2 - b"'
    script "$T/test_worse" 'echo 1..1; echo "ok 1 - c"'
    # Finds an error in programs whose name ends in "worse"; otherwise the exit status is the program's. The report goes to the log alone.
    # shellcheck disable=SC2016 # expanded when it runs
    script "$T/tools/compute-sanitizer" 'echo "$*" >>"'"$T"'/calls"' 'while [[ $1 == --* ]]; do declare "o_$(tr - _ <<<"${1#--}")=$2"; shift 2; done' \
        '"$@"; status=$?' 'case $1 in *worse) echo "========= Invalid read of $o_tool, arena $DBISL_ARENA" >"$o_log_file"; exit "$o_error_exitcode" ;; esac' \
        'exit $status'
    export LOGS=$T/logs CUDA_HOME=$T/no-cuda
    cd "$ROOT" || return
}

check_gpu() {
    run --separate-stderr env PATH="$T/tools:$PATH" BIN="$T/bin" "$@"
}

@test "SANITIZER: cmocka programs and the programs of bats files run under it" {
    sed 's/^TEST/@test/' >"$T/some.bats" <<'FILE'
TEST "watched where the device is cuda, and only there" {
    [ "$("$BIN/dbisl-predict" --device cuda net case)" = "predicted by --device cuda net case" ]
    [ "$("$BIN/dbisl-predict" --device cpu net case)" = "predicted by --device cpu net case" ]
    [ "$("$BIN/dbisl-info" cuda)" = "not watched" ]
    status=0
    "$BIN/dbisl-train-step" --device=cuda,bf16 || status=$?
    [ "$status" -eq 3 ]
}
FILE
    for tool in memcheck racecheck synccheck initcheck; do
        rm -f "$T/calls"
        check_gpu SANITIZER=$tool scripts/check-gpu "$T/test_good" "$T/some.bats"
        [ "$status" -eq 0 ] || fail "$output"
        [ "${lines[-1]}" = "3 passed, 0 failed" ]
        [ "$(wc -l <"$T/calls")" -eq 3 ] || fail "$(cat "$T/calls")"
        [ "$(grep -c -- "--tool $tool --error-exitcode" "$T/calls")" -eq 3 ]
        grep -q -- "$T/bin/dbisl-predict --device cuda net case" "$T/calls"
        grep -q -- "$T/bin/dbisl-train-step --device=cuda,bf16" "$T/calls"
    done
}

@test "SANITIZER: what it finds fails a test that passed, and is shown" {
    check_gpu SANITIZER=memcheck scripts/check-gpu "$T/test_good" "$T/test_worse"
    [ "$status" -eq 1 ]
    [ "${lines[-1]}" = "3 passed, 1 failed" ]
    [[ $output == *"Invalid read of memcheck, arena apart"* ]] || fail "$output"
}

@test "SANITIZER: in the toolkit's folders, or a line that says that it is missing" {
    mkdir -p "$T/cuda/compute-sanitizer"
    mv "$T/tools/compute-sanitizer" "$T/cuda/compute-sanitizer/"
    check_gpu CUDA_HOME="$T/cuda" SANITIZER=racecheck scripts/check-gpu "$T/test_good"
    [ "$status" -eq 0 ] || fail "$output"
    [ "$(wc -l <"$T/calls")" -eq 1 ]
    if ! command -v compute-sanitizer >/dev/null; then
        check_gpu SANITIZER=racecheck scripts/check-gpu "$T/test_good" "$T/test_worse"
        [ "$status" -eq 1 ]
        [[ $output == *"no compute-sanitizer on PATH or in $T/no-cuda"* ]]
        [ "${lines[-1]}" = "0 passed, 0 failed, 2 skipped" ]
    fi
    check_gpu SANITIZER=leakcheck scripts/check-gpu "$T/test_good"
    [ "$status" -eq 2 ]
    [[ $stderr == *"leakcheck: choose memcheck"* ]]
}

@test "without a GPU: skipped with the reason, a failure where REQUIRE_GPU is set" {
    script "$T/bin/dbisl-sdf" 'echo "dbisl-sdf: --device cuda: there is no GPU" >&2; exit 1'
    for sanitizer in "" memcheck; do
        check_gpu SANITIZER=$sanitizer scripts/check-gpu "$T/test_good" "$T/test_worse"
        [ "$status" -eq 0 ]
        [ "${lines[-2]}" = "skipped: there is no GPU" ]
        [ "${lines[-1]}" = "0 passed, 0 failed, 2 skipped" ]
    done
    check_gpu REQUIRE_GPU=1 scripts/check-gpu "$T/test_good"
    [ "$status" -eq 1 ]
    [ ! -e "$T/calls" ]
}

@test "gpu-bundle: libraries beside the programs, cases in parts, checks that say why they are skipped" {
    mkdir "$T/cases"
    for i in 1 2 3 4 5; do
        head -c 400000 /dev/urandom >"$T/cases/c$i.st.zst"
    done
    CASES=$T/cases PART_MB=1 CUDNN=0 scripts/gpu-bundle "$T/bundle" "" "$BIN/dbisl-sdf" "$T/test_good" >"$T/said"
    grep -q "5 cases in 3 parts" "$T/said" || fail "$(cat "$T/said")"
    cat "$T/cases"/*.st.zst | cmp - <(cat "$T/bundle/cases"/part-0[0-2].st.zst)
    [ "$(find "$T/bundle/cases" -size +1000000c | wc -l)" -eq 0 ]
    compgen -G "$T/bundle/lib/libzstd.so*" >/dev/null
    [ -z "$(find "$T/bundle/lib" -name 'libc.so*' -o -name 'libcuda.so*')" ]
    script "$T/bundle/bin/bench_gpu" 'exit 1'
    mkdir "$T/bats-less"
    for program in /bin/* /usr/bin/*; do
        [ "${program##*/}" = bats ] || ln -sf "$program" "$T/bats-less/"
    done
    for program in check bench-gpu; do
        run --separate-stderr env CUDA_VISIBLE_DEVICES= PATH="$T/bats-less" "$T/bundle/$program"
        [ "$status" -eq 0 ] || fail "$output"
        [[ ${lines[-2]} == "skipped: "* && ${lines[-1]} =~ ^0\ (passed|timed),\ 0\ failed,\ [15]\ skipped$ ]] || fail "$output"
    done
    script "$T/bundle/bin/dbisl-sdf" 'echo "dbisl-sdf: standard input: nothing there" >&2; exit 1'
    run env PATH="$T/bats-less" "$T/bundle/check"
    [ "$status" -eq 0 ]
    [ "${lines[-1]}" = "2 passed, 0 failed" ] || fail "$output"
    run env SANITIZER=memcheck CUDA_HOME="$T" PATH="$T/bats-less" "$T/bundle/check"
    [ "$status" -eq 1 ]
    [ "${lines[-1]}" = "0 passed, 0 failed, 1 skipped" ] || fail "$output"
}
