# shellcheck shell=bash
# What all bats files share: `load helper` (tests/full: `load ../helper`). It puts the built programs first on PATH and
# defines a few assertions. Tests write their files into $BATS_TEST_TMPDIR. BIN: the folder of the programs under test
# (default build/bin). PYTHON: the interpreter of the interop tests. CI=true: a test that would be skipped fails.

ROOT=$(cd "${BASH_SOURCE[0]%/*}/.." && pwd)
BIN=${BIN:-$ROOT/build/bin}
[[ $BIN == /* ]] || BIN=$ROOT/$BIN
PATH=$BIN:$PATH
PYTHON=${PYTHON:-/usr/bin/python3}
FIXTURES=$ROOT/tests/fixtures
# Several tests run at once, and their data are small: more threads would only slow each other down.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
export ROOT BIN PATH PYTHON FIXTURES

# fail TEXT...: ends the test.
fail() {
    printf '%s\n' "$*" >&2
    return 1
}

# unavailable REASON: skips the test; with CI=true it fails, because there everything must be installed.
unavailable() {
    if [ "${CI:-}" = true ]; then
        fail "$1 (a skip is a failure where CI=true)"
    else
        skip "$1"
    fi
}

# need COMMAND...: skips unless the commands are there.
need() {
    local command
    for command; do
        command -v "$command" >/dev/null || unavailable "no $command" || return
    done
}

# need_python MODULE...: skips unless $PYTHON can import the modules.
need_python() {
    local module
    command -v "$PYTHON" >/dev/null || unavailable "no $PYTHON" || return
    for module; do
        "$PYTHON" -c "import $module" 2>/dev/null || unavailable "$PYTHON has no module $module" || return
    done
}

# expect STATUS COMMAND...: runs the command as `run` does, with standard error apart in $stderr, and fails unless the
# exit status is STATUS.
expect() {
    local wanted=$1
    shift
    bats_require_minimum_version 1.5.0
    run --separate-stderr "$@"
    # shellcheck disable=SC2154 # set by run
    [ "$status" -eq "$wanted" ] || fail "exit status $status instead of $wanted: $*"$'\n'"$output"$'\n'"$stderr"
}

# expect_fault PATTERN COMMAND...: the command exits with 1, prints exactly one line on standard error, and the line
# matches the extended regular expression.
expect_fault() {
    local pattern=$1
    shift
    expect 1 "$@" || return
    [ "$(printf '%s\n' "$stderr" | wc -l)" -eq 1 ] || fail "not one line of error: $*"$'\n'"$stderr" || return
    [[ $stderr =~ ^dbisl-[a-z-]+:\ .*$pattern ]] || fail "error of: $*"$'\n'"$stderr"$'\n'"does not match: $pattern"
}

# expect_usage COMMAND...: wrong usage: exit status 2 and a message.
expect_usage() {
    expect 2 "$@" || return
    [ -n "$stderr" ] || fail "silent: $*"
}

# absent FILE...: fails if one of the files exists.
absent() {
    local file
    for file; do
        [ ! -e "$file" ] || fail "$file is there" || return
    done
}

# same FILE FILE: fails unless the files have equal bytes.
same() {
    cmp -- "$1" "$2" >&2
}

# same_run RUNS RUNS STEP: fails unless two runs of a pipeline have trained dbisl to the same bytes.
same_run() {
    same "$1/dbisl/student.$3.st.zst" "$2/dbisl/student.$3.st.zst" &&
        same "$1/dbisl/teacher.$3.st.zst" "$2/dbisl/teacher.$3.st.zst" && same "$1/dbisl/log.tsv" "$2/dbisl/log.tsv"
}

# close_to A B TOLERANCE: fails unless |A - B| <= TOLERANCE.
close_to() {
    [[ $1 =~ ^[-+.0-9eE]+$ && $2 =~ ^[-+.0-9eE]+$ ]] || fail "$1 and $2 are not both numbers" || return
    awk -v a="$1" -v b="$2" -v t="$3" 'BEGIN { d = a - b; exit !(d <= t && -d <= t) }' || fail "$1 is not within $3 of $2"
}

# tmpfs DIR SIZE: mounts a small file system ("64k", "1m") at DIR, for the tests of full disks; skips without the right
# to mount. remove_tmpfs in teardown removes it.
tmpfs() {
    mkdir -p "$1"
    [ "$(id -u)" -eq 0 ] || skip "mounting a tmpfs takes root"
    mount -t tmpfs -o "size=$2" tmpfs "$1" 2>/dev/null || skip "no tmpfs can be mounted here"
    printf '%s\n' "$1" >>"$BATS_TEST_TMPDIR/.mounted"
}

remove_tmpfs() {
    local dir
    [ -e "$BATS_TEST_TMPDIR/.mounted" ] || return 0
    while read -r dir; do
        umount "$dir" || true
    done <"$BATS_TEST_TMPDIR/.mounted"
    rm -f "$BATS_TEST_TMPDIR/.mounted"
}

# A bats file with its own teardown calls remove_tmpfs there.
teardown() {
    remove_tmpfs
}

# learned RUNS MARGIN: fails unless dbisl's Dice of every class, in the mean over the test scans, is this much above
# that of the network before its first step.
learned() {
    local scan pairs=()
    for scan in "$1"/dbisl/predictions/*; do
        scan=$(basename "$scan")
        dbisl-predict --window whole "$1/dbisl/student.0.st.zst" "$1/cases/$scan" -o "untrained.$scan" || return
        pairs+=("untrained.$scan" "$1/cases/$scan")
    done
    dbisl-metrics "${pairs[@]}" -o untrained.tsv || return
    awk -F '\t' -v margin="$2" 'FNR == 1 { file++; next } { dice[file, $2] += $3; n[file, $2]++; classes = $2 > classes ? $2 : classes } END {
        for (k = 1; k <= classes; k++) {
            before = dice[1, k] / n[1, k]; after = dice[2, k] / n[2, k]; bad += !(after > before + margin)
            print "class", k ": Dice", before, "untrained,", after, "trained"
        }
        exit bad > 0
    }' untrained.tsv "$1/dbisl/metrics.tsv" >&2 || fail "not every class is $2 above the untrained network"
}
