# The programs on a GPU, beside the CPU: `make check-gpu`.
bats_require_minimum_version 1.5.0
load ../helper

setup_file() {
    load ../helper
    cd "$BATS_FILE_TMPDIR" || return
    local scan id
    dbisl-phantom --train 6 --test 1 --size 48 --seed 3 -o scans
    mkdir cases
    for scan in scans/images*/*.nii.gz; do
        id=${scan##*/}
        dbisl-preprocess --label "${scan/images/labels}" "$scan" | dbisl-sdf -o "cases/${id%.nii.gz}.st.zst"
    done
    dbisl-split --labeled 3 cases/*.st.zst -o split.tsv
    dbisl-init --channels 1 --classes 1 --filters 8 --seed 1 -o student.0
    dbisl-init --from student.0 -o teacher.0
    dbisl-sample --split split.tsv --patch 48,48,32 --labeled 2 --unlabeled 2 --seed 1 --start 0 --count 6 -o batches
    dbisl-sample --split split.tsv --patch 48,48,32 --labeled 2 --unlabeled 2 --seed 1 --start 0 --count 3 -o batches.1
    dbisl-sample --split split.tsv --patch 48,48,32 --labeled 2 --unlabeled 2 --seed 1 --start 3 --count 3 -o batches.2
}

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    D=$BATS_FILE_TMPDIR
}

# long_sanitized: skips what would take hours under compute-sanitizer, and shows it nothing that the other tests do not.
long_sanitized() {
    [ -z "${SANITIZER:-}" ] || skip "too long under compute-sanitizer"
}

# train METHOD OUT OPTIONS...: the six steps.
train() {
    local method=$1 out=$2
    shift 2
    local teacher=()
    case $method in
    dbisl | mean-teacher | ua-mt) teacher=(--teacher "$D/teacher.0" --out-teacher "$out.teacher" --ema 0.9) ;;
    esac
    dbisl-train-step --method "$method" --total-steps 100 --steps 6 --seed 1 --student "$D/student.0" --out-student "$out" --log "$out.log" \
        "${teacher[@]}" "$@" "$D/batches"
}

# close_logs A B TOLERANCE: the losses of each step, relative.
close_logs() {
    paste "$1" "$2" | awk -v t="$3" 'NR > 1 { n = NF / 2; d = $2 - $(n + 2); if (d < 0) d = -d; if (d > t * ($2 < 0 ? -$2 : $2)) { print "step " $1 ": " $2 ", " $(n + 2); bad = 1 } }
        END { exit bad || NR < 7 }' >&2
}

@test "all methods: losses of the first steps as on the CPU, in each precision" {
    if [ -n "${SANITIZER:-}" ]; then # what the unit tests leave out: the programs' own part
        train dbisl cpu --device cpu
        train dbisl bf16 --device cuda --precision bf16
        close_logs cpu.log bf16.log 1e-1
        return
    fi
    for method in supervised mean-teacher ua-mt dtc dbisl; do
        train "$method" cpu --device cpu
        train "$method" fp32 --device cuda
        train "$method" tf32 --device cuda --precision tf32
        train "$method" bf16 --device cuda --precision bf16
        close_logs cpu.log fp32.log 5e-3
        close_logs cpu.log tf32.log 2e-2
        close_logs cpu.log bf16.log 1e-1
    done
}

@test "equal bytes when run again, in each precision" {
    long_sanitized
    for precision in fp32 tf32 bf16; do
        for run in 1 2 3; do
            train dbisl "run.$run" --device cuda --precision "$precision"
        done
        for run in 2 3; do
            same run.1 "run.$run"
            same run.1.teacher "run.$run.teacher"
            same run.1.log "run.$run.log"
        done
    done
}

@test "one process and two, and dbisl-ema between: equal bytes" {
    long_sanitized
    train dbisl whole --device cuda
    dbisl-train-step --method dbisl --total-steps 100 --steps 3 --seed 1 --student "$D/student.0" --teacher "$D/teacher.0" --ema 0.9 \
        --out-student s.3 --out-teacher t.3 --device cuda "$D/batches.1"
    dbisl-train-step --method dbisl --total-steps 100 --steps 3 --seed 1 --student s.3 --teacher t.3 --ema 0.9 --out-student s.6 --out-teacher t.6 \
        --device cuda "$D/batches.2"
    same whole s.6
    same whole.teacher t.6
    dbisl-sample --split "$D/split.tsv" --patch 48,48,32 --labeled 2 --unlabeled 2 --seed 1 --start 0 --count 1 |
        dbisl-train-step --method dbisl --total-steps 100 --steps 1 --seed 1 --student "$D/student.0" --teacher "$D/teacher.0" --out-student s.1 --device cuda
    dbisl-ema --decay 0.9 "$D/teacher.0" s.1 -o t.1
    dbisl-sample --split "$D/split.tsv" --patch 48,48,32 --labeled 2 --unlabeled 2 --seed 1 --start 0 --count 1 |
        dbisl-train-step --method dbisl --total-steps 100 --steps 1 --seed 1 --student "$D/student.0" --teacher "$D/teacher.0" --ema 0.9 \
            --out-student s --out-teacher t --device cuda
    same s s.1
    same t t.1
}

@test "predictions: labels as on the CPU but for voxels on the edge" {
    train supervised trained --device cpu
    local case=$D/cases/phantom_test_001.st.zst
    [ -e "$case" ] || case=$(printf '%s\n' "$D"/cases/*test* | head -n 1)
    local options precisions=(fp32 tf32 bf16)
    [ -z "${SANITIZER:-}" ] || precisions=(bf16)
    # Windows that end beyond the scan, that are few for one batch, and that are many.
    for options in "--window 64,64,64 --output label,prob" "--window 32,32,32 --stride 16,16,16 --output label,prob,sdf" \
        "--window 32,32,16 --stride 11,7,5 --weights gaussian --head both --k 4 --output label,prob,logits,sdf"; do
        # shellcheck disable=SC2086 # words
        dbisl-predict $options trained "$case" -o cpu
        for precision in "${precisions[@]}"; do
            # shellcheck disable=SC2086
            run --separate-stderr dbisl-predict --device cuda --precision "$precision" $options trained "$case" -o gpu
            [ "$status" -eq 0 ] && [ -z "$stderr" ] || fail "$stderr"
            if [ -z "${SANITIZER:-}" ]; then
                # shellcheck disable=SC2086
                dbisl-predict --device cuda --precision "$precision" $options trained "$case" -o again
                same gpu again
            fi
            need_python numpy
            "$PYTHON" "$ROOT/tests/gpu/compare.py" cpu gpu "$precision"
        done
        [ -z "${SANITIZER:-}" ] || break
    done
}

@test "distance maps as on the CPU" {
    local case=$D/cases/phantom_000.st.zst
    [ -e "$case" ] || case=$(printf '%s\n' "$D"/cases/*.st.zst | head -n 1)
    for transform in exact levelset conv:1,8; do
        dbisl-sdf --transform "$transform" "$case" -o cpu
        dbisl-sdf --transform "$transform" --device cuda "$case" -o gpu
        if [ -z "${SANITIZER:-}" ]; then
            dbisl-sdf --transform "$transform" --device cuda "$case" -o again
            same gpu again
        fi
        need_python numpy
        "$PYTHON" "$ROOT/tests/gpu/compare.py" cpu gpu fp32
    done
}

@test "what is not there: a device, memory" {
    [ -z "${SANITIZER:-}" ] || skip "the sanitizer takes memory of its own"
    expect_fault 'there is no device cuda:1023' dbisl-predict --device cuda:1023 "$D/student.0" "$D/cases"/*.st.zst -o out
    expect_fault 'not enough memory|has not enough memory' dbisl-predict --device cuda --window 2048,2048,2048 "$D/student.0" "$D/cases"/*.st.zst -o out
    absent out
}

# At a rate of 0.05 a training like the demo's amplifies the last bit of a sum: the CPU alone, with the rate changed by 2e-7 of itself, ends up to four
# points off. At a tenth of it the same change moves the mean by 0.05 points, so that half a point says something about the device.
@test "the demo: 200 steps end within half a Dice point of the CPU's" {
    long_sanitized
    export OMP_NUM_THREADS
    OMP_NUM_THREADS=$(nproc) # nothing runs beside it
    for device in cpu cuda; do
        make -s -C "$ROOT" -f pipelines/demo/Makefile BIN="$BIN" RUNS="$BATS_TEST_TMPDIR/$device" METHODS=supervised STEPS=200 CHUNK=200 DEVICE=$device \
            NORM=batch INIT_FLAGS="--init kaiming" \
            TRAIN_FLAGS="--lr 0.005 --dropout 0 --schedule poly" >"$device.table"
    done
    local cpu gpu
    cpu=$(awk -F '\t' 'NR == 1 { for (i = 1; i <= NF; i++) if (tolower($i) == "dice") c = i } NR > 1 { s += $c; n++ } END { print s / n }' cpu/supervised/metrics.tsv)
    gpu=$(awk -F '\t' 'NR == 1 { for (i = 1; i <= NF; i++) if (tolower($i) == "dice") c = i } NR > 1 { s += $c; n++ } END { print s / n }' cuda/supervised/metrics.tsv)
    close_to "$cpu" "$gpu" 0.005
}
