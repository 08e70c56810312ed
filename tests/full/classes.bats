load ../helper

setup() {
    unset MAKEFLAGS MAKELEVEL
    cd "$BATS_TEST_TMPDIR" || return
    export OMP_NUM_THREADS
    OMP_NUM_THREADS=$(nproc)
}

@test "the demo's scans with two channels and three classes, 8 of 16 labelled: dbisl learns every class" {
    make --no-print-directory -f "$ROOT/pipelines/demo/Makefile" RUNS=run METHODS=dbisl CHANNELS=2 CLASSES=3 LABELED=8 UNLABELED=8 TEST=4 STEPS=400 >&2
    learned run 0.2
}
