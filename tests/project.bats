load helper
bats_require_minimum_version 1.5.0

programs() {
    find "$BIN" -name 'dbisl-*' -printf '%f\n' | sort
}

@test "every program: --help, --version, and exit status 2 for an option that it does not have" {
    local program
    for program in $(programs); do
        expect 0 "$program" --help
        [[ ${lines[0]} == "Usage: $program "* ]] || fail "$program --help begins with: ${lines[0]}"
        expect 0 "$program" --version
        [[ $output =~ ^$program\ [0-9]+\.[0-9]+ ]] || fail "$program --version: $output"
        expect 2 "$program" --no-such-option </dev/null
        [[ $stderr == *no-such-option* ]] || fail "$program: $stderr"
    done
}

@test "options that cannot be read for want of memory end the program" {
    [ -z "${SANITIZED:-}" ] || skip "a sanitizer must be the first library"
    need cc
    cd "$BATS_TEST_TMPDIR"
    echo 'int argp_parse(void) { return 12; } /* ENOMEM */' >short.c
    cc -shared -fPIC -o short.so short.c
    LD_PRELOAD=$PWD/short.so expect_fault 'the options could not be read: Cannot allocate memory' dbisl-init -o student
    [ ! -e student ]
}

# all_or_error OUTPUT COMMAND...: whichever allocation of jansson's fails, the command fails without the output, or writes what it writes otherwise.
all_or_error() {
    local output=$1 n
    shift
    "$@"
    mv "$output" whole
    for ((n = 1; ; n++)); do
        rm -f short "$output"
        if LD_PRELOAD=$PWD/short_memory.so SHORT=$n "$@" 2>error; then
            cmp "$output" whole || fail "allocation $n: $*"
            [ -e short ] || break
        else
            [ ! -e "$output" ] && grep -q '^dbisl-[a-z]*: .' error || fail "allocation $n: $*"
        fi
    done
    [ "$n" -gt 10 ]
}

@test "jansson without memory: outputs are whole or not there" {
    [ -z "${SANITIZED:-}" ] || skip "a sanitizer must be the first library"
    need cc
    cd "$BATS_TEST_TMPDIR"
    cc -D_GNU_SOURCE -shared -fPIC -o short_memory.so "$ROOT/tests/short_memory.c"
    dbisl-phantom --train 1 --test 0 --size 16 -o D
    dbisl-preprocess --label D/labelsTr/phantom_001.nii.gz D/imagesTr/phantom_001.nii.gz -o case.st
    all_or_error out.json dbisl-info --json -o out.json case.st
    all_or_error out.st dbisl-sdf case.st -o out.st
}

@test "the page of the file format and the library agree on the level of cases" {
    local level
    level=$(sed -n 's/.*DBI_LEVEL_OF_CASES = \([0-9]*\).*/\1/p' "$ROOT"/lib/record/*.h)
    [ -n "$level" ]
    grep -A1 'cases, which are read more often than' "$ROOT/man/dbisl-format.5" | grep -qx "written, at $level\."
}

@test "a wrong word for an option is answered with the right ones" {
    local options=("sdf --normalize|none, max or clip:T" "sdf --transform|exact, levelset or conv:H,RADIUS" "init --compress|none, zstd or zstd:LEVEL"
        "train-step --seg-loss|dice or dice\\+ce" "train-step --method|supervised, .* or [a-z-]*"
        "train-step --schedule|constant, every:N, at:S.* or poly" "train-step --without|cross, consistency, pseudo, decoders, exchange or uncertainty"
        "predict --output|any of label, prob, logits, sdf and uncertainty" "predict --head|[a-z]*, [a-z]* or [a-z]*" "predict --weights|uniform or gaussian"
        "predict --precision|fp32, tf32 or bf16" "predict --format|st.zst, nii.gz or nii"
        "predict --device|cpu, cuda, cuda:N, auto or reference" "sdf --device|cpu, cuda, cuda:N or auto" "restore --from|label, prob, sdf or uncertainty")
    local one program option
    for one in "${options[@]}"; do
        read -r program option <<<"${one%|*}"
        expect 2 "dbisl-$program" "$option=foo" </dev/null
        grep -qE -- "^dbisl-$program: $option: \"foo\": choose ${one#*|}" <<<"$stderr" || fail "dbisl-$program $option=foo: $stderr"
    done
}

@test "a program's --help and its manual page have the same options" {
    expect 0 "$ROOT/scripts/check-options" "$BIN" "$ROOT/man"
}

# layers EXPECTED: check-layers finds nothing but one line that matches the extended regular expression; ok: nothing.
layers() {
    run --separate-stderr tree/scripts/check-layers
    if [ "$1" = ok ]; then
        [[ $output =~ ^check-layers:.*\ 0\ faults$ ]] || fail "$output"
    else
        [ "${#lines[@]}" -eq 2 ] && [[ ${lines[0]} =~ $1 ]] || fail "not $1: $output"
    fi
}

@test "check-layers: what a device is, and who may know it" {
    cd "$BATS_TEST_TMPDIR"
    mkdir -p tree/{scripts,tools,lib/{base,cpu,mine}}
    cp "$ROOT/scripts/check-layers" tree/scripts
    printf 'base:\ncpu: base\nmine: base\ntools: base cpu mine\n' >tree/lib/layers.txt
    local name
    for name in cpu mine; do
        echo "extern const dbi_device_table dbi_$name;" >tree/lib/$name/$name.h
        echo "#include \"$name/$name.h\"" >>tree/tools/devices.c
    done
    layers ok
    echo '#include "mine/mine.h"' >tree/tools/info.c
    layers 'tools/info.c:1: only tools/devices.c knows'
    rm tree/tools/info.c
    echo '#include "cpu/cpu.h"' >tree/lib/mine/mine.c
    layers 'lib/mine/mine.c:1: mine may not include "cpu/cpu.h"'
    sed -i 's/^mine: base/& cpu/' tree/lib/layers.txt
    layers 'lib/layers.txt: mine: cpu is a device'
}

@test "dbisl NAME runs dbisl-NAME beside it, else the one on PATH; the list has every program" {
    expect 0 dbisl info --version
    [[ $output == dbisl-info* ]]
    expect 0 dbisl --help
    local program
    for program in $(programs); do
        grep -qE "^  ${program#dbisl-} " <<<"$output" || fail "the list lacks $program"
        grep -qF "\`$program\`" "$ROOT/README.md" || fail "the README lacks $program"
        grep -qx "\.It Xr $program 1" "$ROOT/man/dbisl.1" || fail "man/dbisl.1 lacks $program"
    done
    mkdir "$BATS_TEST_TMPDIR/bin"
    printf '#!/bin/sh\necho "mine: $*"\nexit 7\n' >"$BATS_TEST_TMPDIR/bin/dbisl-mine"
    chmod +x "$BATS_TEST_TMPDIR/bin/dbisl-mine"
    PATH=$PATH:$BATS_TEST_TMPDIR/bin expect 7 dbisl mine a "b c"
    [ "$output" = "mine: a b c" ]
    expect_usage dbisl nothing-of-this-name
    expect_usage dbisl ../info
    expect_usage dbisl
}

@test "the example of a whole run without make" {
    expect 0 "$ROOT/examples/step-by-step.sh" "$BATS_TEST_TMPDIR"
    [ "$(wc -l <"$BATS_TEST_TMPDIR/log.40.tsv")" -eq 21 ]
    [ -s "$BATS_TEST_TMPDIR/segmentation.nii.gz" ]
}

@test "install, and uninstall leaves nothing" {
    [ -z "${SANITIZED:-}" ] || skip "the same without sanitizers"
    cd "$ROOT"
    make -s BUILD="${BIN%/bin}" DESTDIR="$BATS_TEST_TMPDIR/root" PREFIX=/usr install >&2
    cd "$BATS_TEST_TMPDIR/root/usr"
    [ -x bin/dbisl ] && [ -x bin/dbisl-train-step ] && [ -e share/man/man1/dbisl-train-step.1 ] && [ -e share/man/man7/dbisl-pipelines.7 ]
    # Installed pipelines find the installed programs on PATH.
    PATH=$PWD/bin:$PATH expect 0 env -u BIN make -s -n -f share/dbisl/pipelines/demo/Makefile STEPS=2 RUNS="$BATS_TEST_TMPDIR/run"
    [[ $output == *dbisl-train-step* ]]
    cd "$ROOT"
    make -s BUILD="${BIN%/bin}" DESTDIR="$BATS_TEST_TMPDIR/root" PREFIX=/usr uninstall >&2
    [ -z "$(find "$BATS_TEST_TMPDIR/root" -type f)" ] || fail "left: $(find "$BATS_TEST_TMPDIR/root" -type f)"
}

@test "a missing library is named with its Debian package, and oneDNN 3 is one clear error" {
    cd "$BATS_TEST_TMPDIR"
    cat >cc <<'END'
#!/bin/bash
for argument; do
    [ "$argument" != "$LACKS" ] || { echo "cannot find $LACKS" >&2; exit 1; }
    [ "$argument" != -E ] || [ -z "$ONEDNN" ] || { echo "$ONEDNN"; exit; }
done
exec gcc "$@"
END
    chmod +x cc
    local flags
    flags=$(pkg-config --cflags --libs hdf5)
    # shellcheck disable=SC2086
    CC=./cc LACKS=-ldnnl expect 1 "$ROOT/scripts/check-libraries" -I/usr/include/nifti $flags -- $flags
    [[ $stderr == *oneDNN*libdnnl-dev*setup.sh* ]] && [ ${#stderr_lines[@]} -eq 1 ] || fail "$stderr"
    # shellcheck disable=SC2086
    CC=./cc LACKS=-lnifti2 expect 1 "$ROOT/scripts/check-libraries" -I/usr/include/nifti $flags -- $flags
    [[ $stderr == *libnifti2-dev* ]] || fail "$stderr"
    # shellcheck disable=SC2086
    CC=./cc ONEDNN=3 expect 1 "$ROOT/scripts/check-libraries" -I/usr/include/nifti $flags -- $flags
    [[ $stderr == *"oneDNN 3"* ]] && [ ${#stderr_lines[@]} -eq 1 ] || fail "$stderr"
    # shellcheck disable=SC2086
    CC=./cc expect 0 "$ROOT/scripts/check-libraries" -I/usr/include/nifti $flags -- $flags
}

@test "setup.sh on another distribution says what to install" {
    mkdir "$BATS_TEST_TMPDIR/bin"
    ln -s "$(command -v sh)" "$(command -v dirname)" "$(command -v cat)" "$(command -v sed)" "$BATS_TEST_TMPDIR/bin"
    expect 1 env PATH="$BATS_TEST_TMPDIR/bin" "$ROOT/setup.sh" demo
    [[ $stderr == *oneDNN*"make demo"* ]] || fail "$stderr"
}

@test "the test runner counts crashes and unkept plans as failures" {
    cd "$BATS_TEST_TMPDIR"
    printf '#!/bin/sh\necho 1..2; echo "ok 1 - a"; echo "ok 2 - b"\n' >good
    printf '#!/bin/sh\necho 1..3; echo "ok 1 - a"; kill -SEGV $$\n' >crash
    printf '#!/bin/sh\necho 1..2; echo "ok 1 - a"; echo "not ok 2 - b"; echo "# why"; exit 1\n' >bad
    printf '#!/bin/sh\nexit 0\n' >silent
    printf '#!/bin/sh\necho 1..2; echo "ok 1 - a"; echo "not ok 2 # SKIP b"\n' >skips
    chmod +x good crash bad silent skips
    unset LOGS
    expect 0 "$ROOT/tests/run" ./good
    [ "${lines[-1]}" = "2 passed, 0 failed" ]
    expect 0 "$ROOT/tests/run" ./good ./skips
    [ "${lines[-1]}" = "3 passed, 0 failed, 1 skipped" ]
    expect 1 "$ROOT/tests/run" ./good ./crash
    [ "${lines[-1]}" = "3 passed, 2 failed" ]
    expect 1 "$ROOT/tests/run" ./good ./bad
    [ "${lines[-1]}" = "3 passed, 1 failed" ]
    [[ $output == *"# why"* ]]
    expect 1 "$ROOT/tests/run" ./good ./silent
    [ "${lines[-1]}" = "2 passed, 1 failed" ]
    expect 1 "$ROOT/tests/run"
}
