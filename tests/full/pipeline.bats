load ../helper
bats_require_minimum_version 1.5.0

setup() {
    unset MAKEFLAGS MAKELEVEL
    cd "$BATS_TEST_TMPDIR" || return
    export OMP_NUM_THREADS
    OMP_NUM_THREADS=$(nproc)
}

demo() {
    make --no-print-directory -f "$ROOT/pipelines/demo/Makefile" "$@"
}

@test "the demo's network: 20 steps as one process, in chunks of 7, and as a process for every step and every average" {
    demo RUNS=fused METHODS=dbisl STEPS=20 CHUNK=20 train
    demo RUNS=chunks METHODS=dbisl STEPS=20 CHUNK=7 train
    make --no-print-directory -f "$ROOT/pipelines/stepwise/Makefile" RUNS=steps METHODS=dbisl STEPS=20 train
    same_run fused chunks 20
    same_run fused steps 20
}

@test "the demo, killed at ten random moments of its training: the same bytes as never killed" {
    local start=$SECONDS last pid moment i
    demo RUNS=whole METHODS=dbisl train
    local length=$((SECONDS - start))
    last=$(basename "$(find whole/dbisl -name 'student.*' | sort -t. -k2n | tail -n 1)" .st.zst)
    demo RUNS=killed METHODS=dbisl cases
    # Every kill loses a chunk at most, and ten kills are to hit a training that still goes on: each comes after up to a tenth of its length.
    for i in 1 2 3 4 5 6 7 8 9 10; do
        setsid make -s -f "$ROOT/pipelines/demo/Makefile" RUNS=killed METHODS=dbisl train >/dev/null 2>&1 3>&- &
        pid=$!
        moment=$(awk -v r=$RANDOM -v l=$length 'BEGIN { print 1 + r / 32768 * l / 10 }')
        sleep "$moment"
        echo "kill $i after $moment s: $(kill -9 -- "-$pid" 2>&1 && find killed/dbisl -name 'student.*' | sort -t. -k2n | tail -n 1)"
        wait "$pid" || true
    done
    demo RUNS=killed METHODS=dbisl train
    same_run whole killed "${last#student.}"
}
