load helper
bats_require_minimum_version 1.5.0

# ablation RUNS VARIABLE=VALUE... [TARGET]: cells that train in half a second; what is tested here does not depend on size.
ablation() {
    local runs=$1
    shift
    make --no-print-directory -f "$ROOT/pipelines/ablation/Makefile" PIPELINE=demo RUNS="$runs" UNLABELED=2 TEST=2 PHANTOM_FLAGS="--size 32" PATCH=16,16,16 NORM=batch \
        FILTERS=2 STEPS=4 CHUNK=2 LABELS=2 SEEDS=1 METHODS="supervised dbisl" "$@"
}

# What the tests compare with: two methods, a variant, one seed.
setup_file() {
    unset MAKEFLAGS MAKELEVEL
    cd "$BATS_FILE_TMPDIR" || return # as the tests' folders, away from the pipelines, which commands then name in full
    ablation "$BATS_FILE_TMPDIR/whole" VARIANTS=no-pseudo -j2 >"$BATS_FILE_TMPDIR/whole.txt"
}

setup() {
    unset MAKEFLAGS MAKELEVEL
    cd "$BATS_TEST_TMPDIR" || return
    whole=$BATS_FILE_TMPDIR/whole
}

# cells_made RUNS COMMAND...: the cells whose results the command wrote
cells_made() {
    local runs=$1
    shift
    touch "$BATS_TEST_TMPDIR/before"
    sleep 0.02
    "$@" >&2 || return
    find "$runs/cells" -name results.tsv -newer "$BATS_TEST_TMPDIR/before" -printf '%P\n' | sed 's|/.*||' | sort
}

@test "make -n: a title and a command for each cell, and nothing is done" {
    expect 0 ablation run VARIANTS="no-pseudo no-cross" SEEDS="1 2" VARIANT_SEEDS=1 LABELS="2 3" VARIANT_LABELS=2 -n
    absent run
    ! grep -vE '^(# |make |dbisl-compare )' <<<"$output" || fail "more than titles and commands"
    [ "$(grep -c '^# Cell' <<<"$output")" -eq 10 ]
    [ "$(grep -c '^make .* scores$' <<<"$output")" -eq 10 ]
    [ "$(grep -c '^make .* cases$' <<<"$output")" -eq 2 ]
    grep -q "RUNS=run/cells/dbisl+no-cross.2.1 .*LABELED=2 SEED=1 .*PHANTOM_FLAGS='--size 32' .*VARIANT_FLAGS='--without cross'" <<<"$output"
}

@test "results: a row for each cell, case and clean-up; a table; in each cell its command, which gives the same scores" {
    [ "$(wc -l <"$whole/results.tsv")" -eq $((1 + 3 * 2 * 2)) ]
    [ "$(cut -f 1,2,3,4 "$whole/results.tsv" | sort -u | wc -l)" -eq 4 ]
    [ "$(awk -F '\t' 'NR > 1 && $13 ~ /^[0-9a-f]+$/ { print $13 }' "$whole/results.tsv" | sort | uniq -c | awk '{ print $1 }' | sort -u)" -eq 4 ]
    grep -q '^dbisl+no-pseudo .*±' "$BATS_FILE_TMPDIR/whole.txt"
    grep -q '^Difference to supervised' "$BATS_FILE_TMPDIR/whole.txt"
    grep -q '"cross-seg": 1.0' "$whole/cells/dbisl+no-pseudo.2.1/settings.txt"
    run ! grep -q -e '"pseudo-seg"' -e 'seg(' "$whole/cells/dbisl+no-pseudo.2.1/settings.txt"
    run ! grep -q "$BATS_FILE_TMPDIR" "$whole/cells/dbisl.2.1/settings.txt"
    # Scans are prepared once, and no cell has its own.
    [ "$(find "$whole/data" -name 'phantom_001.st.zst' -path '*/cases/*' | wc -l)" -eq 1 ]
    [ -z "$(find "$whole/cells" -path '*/cases/*')" ]
    # The command in the cell's folder, elsewhere.
    sed "s|$whole|elsewhere|g" "$whole/cells/dbisl.2.1/command" >alone
    bash -eu alone >&2
    same "$whole/cells/dbisl.2.1/dbisl/metrics.largest.tsv" elsewhere/cells/dbisl.2.1/dbisl/metrics.largest.tsv
    # Largest components are scored as dbisl-metrics does it.
    awk -F '\t' '$1 == "dbisl" && $2 == "-" && $7 == 1 { print $5, $8 }' "$whole/results.tsv" >ours
    awk -F '\t' 'NR > 1 { print $1, $3 }' elsewhere/cells/dbisl.2.1/dbisl/metrics.largest.tsv >theirs
    same ours theirs
}

@test "what is finished is not run again: another seed, another weight of one method, nothing new" {
    cp -r "$whole" run
    expect 0 cells_made run ablation run VARIANTS=no-pseudo
    [ -z "$output" ] || fail "made for nothing: $output"
    same "$whole/results.tsv" run/results.tsv
    expect 0 cells_made run ablation run SEEDS="1 2" METHODS=supervised CHUNK=3 LAUNCH=env
    [ "$output" = supervised.2.2 ] || fail "another seed made: $output"
    expect 0 cells_made run ablation run FLAGS_dbisl="--lambda 0.5" VARIANTS=no-pseudo
    [ "$output" = "dbisl+no-pseudo.2.1"$'\n'"dbisl.2.1" ] || fail "another weight of dbisl made: $output"
    # Finished is what has results; checkpoints and predictions may go.
    rm -r run/cells/supervised.2.1/supervised run/data
    expect 0 cells_made run ablation run METHODS=supervised
    [ -z "$output" ] || fail "made for nothing: $output"
    expect 0 ablation run list
    grep -q '^supervised.2.1 [0-9a-f]* finished$' <<<"$output" && grep -q '^dbisl.2.1 [0-9a-f]* missing$' <<<"$output" || fail "$output"
}

@test "RESULTS: cells of a table are taken from it and the others are run; a variant with the same settings is the same cell" {
    cp "$whole/results.tsv" committed.tsv
    expect 0 ablation other RESULTS=committed.tsv VARIANTS=no-pseudo
    same committed.tsv other/results.tsv
    absent other/data
    expect 0 ablation other RESULTS=committed.tsv CELLS="dbisl+mine.2.1 supervised.2.3" VARIANT_mine="--without pseudo" VARIABLES_mine="METHODS_WITH_TEACHER="
    [ "$(sed -n '2,5p' other/results.tsv | cut -f 1,2,8-)" = "$(grep -w no-pseudo committed.tsv | sed 's/no-pseudo/mine/' | cut -f 1,2,8-)" ]
    absent other/cells/dbisl+mine.2.1/dbisl
    [ -e other/cells/supervised.2.3/supervised/student.4.st.zst ]
    sed '1s/settings/hash/' committed.tsv >wrong.tsv
    expect 2 ablation other RESULTS=wrong.tsv
    [[ $stderr == *"wrong.tsv"* ]]
}

@test "killed at random moments and started again, with two jobs: the same bytes as never killed" {
    local pid
    for _ in 1 2 3; do
        setsid make -s -j2 -f "$ROOT/pipelines/ablation/Makefile" PIPELINE=demo RUNS=killed UNLABELED=2 TEST=2 PHANTOM_FLAGS="--size 32" PATCH=16,16,16 NORM=batch \
            FILTERS=2 STEPS=4 CHUNK=2 LABELS=2 SEEDS=1 METHODS="supervised dbisl" VARIANTS=no-pseudo >/dev/null 2>&1 3>&- &
        pid=$!
        sleep "$(awk -v r=$RANDOM 'BEGIN { print 0.2 + 0.8 * r / 32768 }')"
        kill -9 -- "-$pid" 2>/dev/null || true
        wait "$pid" || true
    done
    ablation killed VARIANTS=no-pseudo -j2 >&2
    same "$whole/results.tsv" killed/results.tsv
}

@test "all variants that come with it are different settings; what nobody can run is refused before anything is done" {
    local names
    names=$(sed -nE 's/^VARIANT_([^ ]+) .*/\1/p' "$ROOT/pipelines/ablation/variants.mk")
    expect 0 ablation run METHODS=dbisl VARIANTS="$(echo $names)" list
    [ "$(wc -l <<<"$output")" -eq $(($(wc -w <<<"$names") + 1)) ]
    [ "$(awk '{ print $2 }' <<<"$output" | sort -u | wc -l)" -eq "$(wc -l <<<"$output")" ]
    local cells
    for cells in dbisl dbisl.2 dbisl.2.1.1 a+b+c.2.1 dbisl+unheard-of.2.1 unheard-of.2.1 dbisl.two.1; do
        expect 2 ablation run CELLS=$cells
    done
    expect 2 ablation run VARIANTS=mine VARIANT_mine=--unheard-of
    absent run
}

@test "scans of one's own: the first so many labels are read, and no other" {
    dbisl-phantom --train 5 --test 1 --size 16 --seed 3 -o data
    rm data/labelsTr/phantom_005.nii.gz
    ablation run PIPELINE=own DATA=data LABELS="1 3" METHODS=supervised HOLD_OUT=1 -n >n.txt
    grep ' cases$' n.txt | sed 's/^make/make -n/' >preparing
    bash -eu preparing >commands
    grep -c -e '--label ' commands >&2
    # One label and the held-out and the test scan's; then three.
    [ "$(grep -c -e '--label ' commands)" -eq 8 ]
    [ "$(grep -c 'labelsTr/phantom_001' commands)" -eq 2 ]
    [ "$(grep -c 'labelsTr/phantom_00[23]' commands)" -eq 2 ]
    [ "$(grep -c 'labelsTr/phantom_004' commands)" -eq 2 ] # held out
    run ! grep -q 'labelsTr/phantom_005' commands
}
