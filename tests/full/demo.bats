load ../helper

setup() {
    unset MAKEFLAGS MAKELEVEL
    cd "$BATS_TEST_TMPDIR" || return
    export OMP_NUM_THREADS
    OMP_NUM_THREADS=$(nproc)
}

# mean_dice RUNS METHOD
mean_dice() {
    awk -F '\t' 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "dice") d = i; next } { s += $d; n++ } END { printf "%.4f\n", s / n }' "$1/$2/metrics.tsv"
}

# demo RUNS VARIABLE=VALUE...
demo() {
    local runs=$1
    shift
    make --no-print-directory -f "$ROOT/pipelines/demo/Makefile" RUNS="$runs" "$@" >&2
}

@test "the demo is neither easy nor hopeless: supervised, all 20 labels give at least 0.90 Dice, 4 labels 0.70 to 0.85" {
    demo all METHODS=supervised LABELED=20 UNLABELED=0
    demo few METHODS=supervised
    local all few
    all=$(mean_dice all supervised)
    few=$(mean_dice few supervised)
    echo "20 labels: $all, 4 labels: $few"
    awk -v a="$all" -v f="$few" 'BEGIN { exit !(a >= 0.90 && f >= 0.70 && f <= 0.85) }'
}

@test "dbisl with 4 labels is a point of Dice ahead of supervised, in the mean over the cohorts 11, 12, 13" {
    local seed
    for seed in 11 12 13; do
        demo "run$seed" PHANTOM_SEED=$seed
        echo "cohort $seed: supervised $(mean_dice "run$seed" supervised), dbisl $(mean_dice "run$seed" dbisl)"
        echo "$(mean_dice "run$seed" supervised) $(mean_dice "run$seed" dbisl)" >>means
    done
    awk '{ ahead += $2 - $1 } END { print "ahead by", ahead / NR; exit !(ahead / NR >= 0.01) }' means
}
