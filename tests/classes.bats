load helper

setup() {
    unset MAKEFLAGS MAKELEVEL
    cd "$BATS_TEST_TMPDIR" || return
}

@test "two channels and three classes: dbisl learns every class" {
    # Scans that differ in little, so that a few steps suffice.
    make --no-print-directory -f "$ROOT/pipelines/demo/Makefile" RUNS=run METHODS=dbisl CHANNELS=2 CLASSES=3 LABELED=4 UNLABELED=2 TEST=2 BATCH_LABELED=1 \
        BATCH_UNLABELED=1 "PHANTOM_FLAGS=--size 32 --neighbors 0 --variability 0 --noise 0.03 --contrast 0.9" PATCH=32,32,32 FILTERS=8 STEPS=140 CHUNK=70 \
        "SAMPLE_FLAGS=--patch 32,32,32 --no-flip --no-rotate" "TRAIN_FLAGS=--lr 0.05 --dropout 0 --schedule at:80%" table nifti >&2
    learned run 0.3
    # Both channels went in, all classes come out, in the scan's own grid.
    dbisl-info run/cases/phantom_test_001.st.zst | grep -q 'image .*\[2,'
    dbisl-metrics run/dbisl/nifti/phantom_test_001.nii.gz run/scans/labelsTs/phantom_test_001.nii.gz >in-own-grid.tsv
    awk -F '\t' 'NR > 1 { n++; good += $3 > 0.3 } END { exit !(n == 3 && good == 3) }' in-own-grid.tsv
}
