# --device: its names, and what is said where a GPU cannot be used. That the GPU computes the right thing is `make check-gpu`'s.
bats_require_minimum_version 1.5.0
load helper

# A machine without a GPU, whatever this one has: an empty list hides them all.
setup() {
    export CUDA_VISIBLE_DEVICES=
    export XDG_CACHE_HOME=$BATS_TEST_TMPDIR/cache
    cd "$BATS_TEST_TMPDIR" || return
}

checkpoints() {
    dbisl-init --norm batch --channels 1 --classes 1 --filters 2 --seed 1 -o student
    dbisl-init --from student -o teacher
}

# Two cases and a batch of 32x32x16 voxels.
cases() {
    local scan id
    dbisl-phantom --train 2 --test 1 --size 32 --seed 3 -o scans
    mkdir cases
    for scan in scans/imagesTr/*.nii.gz; do
        id=${scan##*/}
        dbisl-preprocess --label "${scan/images/labels}" "$scan" | dbisl-sdf -o "cases/${id%.nii.gz}.st.zst"
    done
    dbisl-split --labeled 1 cases/*.st.zst -o split.tsv
    dbisl-sample --split split.tsv --patch 32,32,16 --labeled 1 --unlabeled 1 --seed 1 --start 0 --count 1 -o batch
    set -- cases/*
    case=$1
}

train() {
    dbisl-train-step --method dbisl --total-steps 4 --steps 1 --seed 1 --ema 0.9 --student student --teacher teacher --out-student s --out-teacher t "$@"
}

@test "a name that is no device is wrong usage" {
    for name in gpu cuda: cuda:x cuda:-1 cuda:0x cuda:99999 cuda0 cuda:0,bf16 cuda,fast CUDA ""; do
        expect_usage dbisl-predict --device="$name" student case
        expect_usage dbisl-sdf --device="$name" case
    done
    expect_usage dbisl-sdf --device=reference case
    expect_usage dbisl-predict --precision=fp16 student case
    expect_usage dbisl-predict --precision=bf16 student case
    expect_usage dbisl-predict --device=reference --precision=tf32 student case
    expect_usage dbisl-predict --device=cuda --deterministic=perhaps student case
}

@test "--device cuda where it cannot be used: one line that says what is missing, exit status 1, no output" {
    local missing='--device cuda(:3)?: (this dbisl was built without CUDA: install |no NVIDIA driver is loaded|there is no GPU|the NVIDIA driver is too old)'
    expect_fault "$missing" dbisl-predict --device cuda student case -o out
    expect_fault "$missing" dbisl-predict --device cuda:3 --precision bf16 --deterministic no student case -o out
    expect_fault "$missing" dbisl-sdf --device cuda case -o out
    expect_fault "$missing" train --device cuda batch
    expect_fault "$missing" train --device cuda --precision tf32 batch
    absent out s t
}

@test "--device auto where no GPU can be used is --device cpu, to the byte" {
    checkpoints
    cases
    train --device cpu batch
    mv s s.cpu
    mv t t.cpu
    train --device auto --precision bf16 batch
    same s s.cpu
    same t t.cpu
    dbisl-predict --device auto student "$case" -o auto
    dbisl-predict student "$case" -o cpu
    same auto cpu
    dbisl-sdf --device auto "$case" -o auto
    dbisl-sdf "$case" -o cpu
    same auto cpu
    absent cache/dbisl
}

@test "programs need neither the driver nor cuDNN to start" {
    run -0 ldd "$BIN/dbisl-train-step"
    [[ $output != *libcuda* && $output != *libcudnn* && $output != *libcudart* ]]
}

# The published settings as README.md gives them, printed by make and tried as far as the device: every option is one that the programs have.
@test "the README's training on a GPU: every command that make would give is right" {
    local id command line
    mkdir data
    for id in $(seq 1 80); do
        mkdir "data/S$id"
        : >"data/S$id/mri_norm2.h5"
        echo "S$id"
    done >data/train.list
    command=$(sed -n '/^## On a GPU/,/^## /{/make la DATA=DIR/p}' "$ROOT/README.md" | sed 's/ *#.*//')
    command=${command/make la DATA=DIR/make -s -n -f $ROOT/pipelines/la/Makefile DATA=data BIN=$BIN}
    eval "$command" >plan
    [ "$(grep -c 'dbisl-train-step.* --steps 3000 ' plan)" -eq 4 ] || fail "$(head -n 5 plan)"
    [ "$(grep -c '^dbisl-predict --window 112,112,80 --stride 18,18,4 ' plan)" -eq 32 ]
    for line in "$(grep -m 1 -o 'dbisl-train-step .*--method dbisl .*' plan)" "$(grep -m 1 -o 'dbisl-train-step .*--method dtc .*' plan)" \
        "$(grep -m 1 '^dbisl-predict ' plan)"; do
        [[ $line == *" --device cuda --precision bf16 "* ]] || fail "$line"
        expect_fault '--device cuda: ' bash -c "$line </dev/null"
    done
}
