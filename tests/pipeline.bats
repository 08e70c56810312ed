load helper
bats_require_minimum_version 1.5.0

# A cohort and a network that are small enough to train in seconds; what is tested here does not depend on size.
tiny=(LABELED=2 UNLABELED=3 TEST=2 "PHANTOM_FLAGS=--size 32" "PATCH=16,16,16" NORM=batch FILTERS=2)

# pipeline NAME VARIABLE=VALUE... [TARGET]
pipeline() {
    local name=$1
    shift
    make --no-print-directory -f "$ROOT/pipelines/$name/Makefile" "${tiny[@]}" "$@"
}

setup() {
    unset MAKEFLAGS MAKELEVEL
    cd "$BATS_TEST_TMPDIR" || return
}

# made_again RUNS COMMAND...: the files under RUNS that the command wrote, but for settings
made_again() {
    local runs=$1
    shift
    touch "$BATS_TEST_TMPDIR/before"
    sleep 0.02
    "$@" >&2 || return
    find "$runs" -type f -newer "$BATS_TEST_TMPDIR/before" ! -path '*/settings/*' -printf '%P\n' | sort
}

@test "make -n: a title for each stage, the commands, and nothing is done" {
    expect 0 pipeline demo RUNS=run STEPS=8 CHUNK=4 -n
    absent run
    # Each line is a title, one of the programs, or what the table is made with.
    ! grep -vE '^(# |dbisl-|awk |cat )' <<<"$output" || fail "more than titles and commands"
    for title in "scans to train on" "become cases" "distance map" "are labelled" "fresh weights" "Method supervised: 8 steps" "Method dbisl: 8 steps" \
        "segments the 2 test scans" "scored" "one table"; do
        grep -q "^# .*$title" <<<"$output" || fail "no title with: $title"
    done
    [ "$(grep -c 'dbisl-sample .* | dbisl-train-step' <<<"$output")" -eq 4 ]
    [[ $(pipeline demo RUNS=run STEPS=8 CHUNK=4 NORM=group:2 -n) == *"dbisl-init "*"--norm group:2 "* ]] || fail "NORM is not passed on"
    # Labels of unlabelled scans are no input of anything.
    run ! grep -q 'labelsTr/phantom_00[345]' <<<"$output"
}

@test "the whole workflow: a table of both methods; then each change makes again what depends on it, and nothing else" {
    pipeline demo RUNS=run STEPS=4 CHUNK=2
    expect 0 pipeline demo RUNS=run STEPS=4 CHUNK=2
    grep -q supervised <<<"$output" && grep -q dbisl <<<"$output" && grep -qi dice <<<"$output" || fail "no table: $output"
    [ "$(wc -l <run/dbisl/log.tsv)" -eq 5 ]

    expect 0 made_again run pipeline demo RUNS=run STEPS=4 CHUNK=2
    [ -z "$output" ] || fail "made for nothing: $output"
    expect 0 made_again run pipeline demo RUNS=run STEPS=4 CHUNK=3 LAUNCH=env
    [ -z "$output" ] || fail "made although only chunks and launcher changed: $output"

    expect 0 made_again run pipeline demo RUNS=run STEPS=4 CHUNK=2 FLAGS_dbisl="--lambda 0.5"
    grep -q '^dbisl/student.4' <<<"$output" && grep -q '^dbisl/metrics.tsv' <<<"$output" || fail "another weight, but not made: $output"
    ! grep -qE '^(cases|distances|supervised|split)' <<<"$output" || fail "another weight of dbisl, but made: $output"

    expect 0 made_again run pipeline demo RUNS=run STEPS=4 CHUNK=2 FLAGS_dbisl="--lambda 0.5" PREDICT_FLAGS="--window 16,16,16 --head both"
    grep -q '^supervised/predictions' <<<"$output" && grep -q '^table.txt' <<<"$output" || fail "another way to predict, but not made: $output"
    ! grep -qE '^(cases|distances|split|.*student)' <<<"$output" || fail "another way to predict, but made: $output"

    expect 0 made_again run pipeline demo RUNS=run STEPS=4 CHUNK=2 FLAGS_dbisl="--lambda 0.5" PREDICT_FLAGS="--window 16,16,16 --head both" nifti
    [ "$(grep -c 'nifti/phantom_test_00[12].nii.gz' <<<"$output")" -eq 4 ] || fail "no NIfTI: $output"
}

# A kill can leave some of the scans: cases made of these while the others are made would be older than their scans, and made again by whoever comes next.
@test "a scan that is not there: all are made again, and only then their cases" {
    pipeline demo RUNS=run cases
    rm run/scans/imagesTs/phantom_test_002.nii.gz
    expect 0 made_again run pipeline demo RUNS=run -j2 cases
    [ "$(grep -c '^scans/images' <<<"$output")" -eq 7 ] && [ "$(grep -c '^cases' <<<"$output")" -eq 7 ] || fail "$output"
    expect 0 made_again run pipeline demo RUNS=run cases
    [ -z "$output" ] || fail "made again once more: $output"
}

@test "20 steps: one process, chunks of 7, a process for every step and every average, and batches made in place end in the same bytes" {
    # The decay rises to its value in the first steps; with this one both parts are seen.
    pipeline demo RUNS=whole METHODS=dbisl STEPS=20 CHUNK=20 DECAY=0.8 train
    pipeline demo RUNS=chunks METHODS=dbisl STEPS=20 CHUNK=7 DECAY=0.8 train
    pipeline stepwise RUNS=steps METHODS=dbisl STEPS=20 DECAY=0.8 train
    pipeline demo RUNS=fused METHODS=dbisl STEPS=20 CHUNK=7 DECAY=0.8 FUSED=1 SAMPLE="$BATS_TEST_TMPDIR/dbisl-sample" train # which is not there
    [ "$(wc -l <whole/dbisl/log.tsv)" -eq 21 ]
    same_run whole chunks 20
    same_run whole steps 20
    same_run whole fused 20
    expect 2 pipeline demo RUNS=other METHODS=dbisl STEPS=20 FUSED=1 SAMPLE=./mine train
    # The last two checkpoints stay, those between go.
    [ -e chunks/dbisl/student.14.st.zst ] && absent chunks/dbisl/student.7.st.zst chunks/dbisl/teacher.7.st.zst
    # Not by doing nothing: the steps change the weights.
    run ! cmp -s whole/dbisl/student.0.st.zst whole/dbisl/student.20.st.zst
}

@test "a training of many chunks: make finds its way through at once" {
    # Two prerequisites a chunk that both depend on the chunk before are 2^60 ways.
    local name
    for name in demo stepwise; do
        expect 0 timeout 20 make --no-print-directory -n -f "$ROOT/pipelines/$name/Makefile" "${tiny[@]}" RUNS=run METHODS=dbisl STEPS=60 CHUNK=1 train
        [ "$(grep -c 'dbisl-sample .* | dbisl-train-step' <<<"$output")" -eq 60 ]
    done
}

@test "the last steps on other crops: a boundary of chunks wherever it lies, and the same bytes in chunks of any length" {
    expect 0 pipeline demo RUNS=run METHODS=dbisl STEPS=6 CHUNK=6 LAST_STEPS=2 LAST_PATCH=32,32,16 -n train
    grep -q 'patch 16,16,16 --labeled 2 --unlabeled 2 .*--start 0 --count 4 .* | dbisl-train-step' <<<"$output" || fail "$output"
    grep -q 'patch 32,32,16 --labeled 1 --unlabeled 1 .*--start 4 --count 2 .* | dbisl-train-step' <<<"$output" || fail "$output"
    [ "$(grep -c 'dbisl-sample .* | dbisl-train-step' <<<"$output")" -eq 2 ]
    pipeline demo RUNS=long METHODS=dbisl STEPS=6 CHUNK=6 LAST_STEPS=2 LAST_PATCH=32,32,16 train
    pipeline demo RUNS=short METHODS=dbisl STEPS=6 CHUNK=1 LAST_STEPS=2 LAST_PATCH=32,32,16 train
    same_run long short 6
    # More of them than steps are all steps; none is the usual training.
    expect 0 pipeline demo RUNS=run METHODS=dbisl STEPS=6 LAST_STEPS=9 LAST_PATCH=32,32,16 -n train
    grep -q 'the last 6 on 1 and 1 others' <<<"$output" && ! grep -q -- '--labeled 2 --unlabeled' <<<"$output" || fail "$output"
    # What else the sampler is told holds for them too, and a method without unlabelled crops has none at the end.
    expect 0 pipeline demo RUNS=run METHODS="supervised dbisl" STEPS=6 LAST_STEPS=2 LAST_PATCH=32,32,16 SAMPLE_FLAGS="--patch 16,16,16 --no-flip" \
        BATCH_UNLABELED_dbisl=4 -n train
    grep -q -- '--no-flip --patch 32,32,16 --labeled 1 --unlabeled 1 .*--start 4 .*--method dbisl' <<<"$output" || fail "$output"
    grep -q -- '--no-flip --patch 32,32,16 --labeled 1 --unlabeled 0 .*--start 4 .*--method supervised' <<<"$output" || fail "$output"
    # The multiples of CHUNK stay ends of chunks.
    expect 0 pipeline demo RUNS=run METHODS=dbisl STEPS=9 CHUNK=2 KEEP=2 LAST_STEPS=4 -n train
    [ "$(grep -o 'start [0-9]* --count [0-9]*' <<<"$output" | tr -dc '0-9 \n' | tr -s ' \n' ' ')" = " 0 2 2 2 4 1 5 1 6 2 8 1 " ] || fail "$output"
    for wrong in LAST_STEPS=-4 LAST_STEPS=abc LAST_STEPS= STEPS=08 CHUNK=0; do
        run ! pipeline demo RUNS=run METHODS=dbisl "$wrong" -n train
        grep -q "${wrong%%=*}=${wrong#*=}: " <<<"$output" || fail "$wrong: $output"
    done
    expect 0 pipeline demo RUNS=run METHODS=dbisl STEPS=6 LAST_PATCH=32,32,16 -n train
    ! grep -q 'patch 32,32,16' <<<"$output" || fail "$output"
    # They are a setting like any other.
    expect 0 made_again short pipeline demo RUNS=short METHODS=dbisl STEPS=6 CHUNK=1 LAST_STEPS=3 LAST_PATCH=32,32,16 train
    grep -q '^dbisl/student.6' <<<"$output" || fail "three last steps instead of two, but not made: $output"
}

@test "a teacher that was lost is made again, with its student" {
    pipeline demo RUNS=whole METHODS=dbisl STEPS=6 CHUNK=2 train
    pipeline demo RUNS=run METHODS=dbisl STEPS=6 CHUNK=2 run/dbisl/student.4.st.zst
    rm run/dbisl/teacher.4.st.zst
    pipeline demo RUNS=run METHODS=dbisl STEPS=6 CHUNK=2 train
    same_run whole run 6
}

@test "killed three times at random moments and started again: the same bytes as never killed" {
    pipeline demo RUNS=whole METHODS=dbisl STEPS=12 CHUNK=3 train
    pipeline demo RUNS=killed METHODS=dbisl STEPS=12 CHUNK=3 cases
    need pgrep
    local pid moment victim
    for victim in everything everything newest; do
        setsid make -s -f "$ROOT/pipelines/demo/Makefile" "${tiny[@]}" RUNS=killed METHODS=dbisl STEPS=12 CHUNK=3 train >/dev/null 2>&1 3>&- &
        pid=$!
        moment=$(awk -v r=$RANDOM 'BEGIN { print 0.1 + 1.5 * r / 32768 }')
        echo "kill $victim after $moment s"
        sleep "$moment"
        if [ $victim = newest ]; then # one program of the pipe; make sees it fail
            kill -9 "$(pgrep -n -g "$pid")" 2>/dev/null || true
        else
            kill -9 -- "-$pid" 2>/dev/null || true
        fi
        wait "$pid" || true
    done
    pipeline demo RUNS=killed METHODS=dbisl STEPS=12 CHUNK=3 train
    same_run whole killed 12
}

@test "a sample process that dies leaves no checkpoint; make fails, and goes on when it works again" {
    cat >dying-sample <<'END'
#!/bin/bash
dbisl-sample "$@" | head -c 100000
kill -9 $$
END
    chmod +x dying-sample
    expect 2 pipeline demo RUNS=run METHODS=dbisl STEPS=6 CHUNK=6 SAMPLE=./dying-sample train
    absent run/dbisl/student.6.st.zst run/dbisl/teacher.6.st.zst run/dbisl/log.6.tsv
    [ -z "$(find run/dbisl -name '*.part')" ] || fail "left behind: $(find run/dbisl -name '*.part')"
    pipeline demo RUNS=run METHODS=dbisl STEPS=6 CHUNK=6 train
    [ -e run/dbisl/student.6.st.zst ]
}

@test "a stage of one's own takes the place of ours: distances by scipy" {
    need zstd
    need_python scipy numpy
    pipeline demo RUNS=ours METHODS=dbisl STEPS=2 CHUNK=2 cases
    pipeline demo RUNS=theirs METHODS=dbisl STEPS=2 CHUNK=2 SDF="$PYTHON $ROOT/examples/my-sdf.py" train
    local case
    for case in phantom_001 phantom_002; do
        zstd -dq "ours/distances/$case.st.zst" -o a
        zstd -dq "theirs/distances/$case.st.zst" -o b
        "$PYTHON" - a b <<'END'
import json, struct, sys, numpy
def sdf(path):
    blob = open(path, "rb").read()
    length, = struct.unpack("<Q", blob[:8])
    entry = json.loads(blob[8:8 + length])["sdf"]
    return numpy.frombuffer(blob[8 + length:][slice(*entry["data_offsets"])], "<f4").reshape(entry["shape"])
a, b = map(sdf, sys.argv[1:])
assert a.shape == b.shape and a.min() < 0 < a.max()
numpy.testing.assert_allclose(a, b, atol=1e-5)
END
        rm a b
    done
}

@test "scans of one's own in the Decathlon layout: unlabelled are those without a label, and what has one is scored" {
    dbisl-phantom --train 5 --test 2 --size 32 --seed 3 -o data
    rm data/labelsTr/phantom_00[345].nii.gz data/labelsTs/phantom_test_001.nii.gz
    pipeline own RUNS=run DATA=data METHODS=dbisl STEPS=2 CHUNK=2 HOLD_OUT=1 table nifti
    [ "$(grep -c unlabeled run/split.tsv)" -eq 3 ]
    [ "$(grep -cw labeled run/split.tsv)" -eq 1 ]
    [ -e run/dbisl/nifti/phantom_test_001.nii.gz ]
    grep -q phantom_002 run/dbisl/metrics.tsv && grep -q phantom_test_002 run/dbisl/metrics.tsv
    run ! grep -q phantom_test_001 run/dbisl/metrics.tsv
    expect 2 pipeline own RUNS=run DATA=nowhere
    [[ $stderr == *imagesTr* ]]
}

# A program in the place of dbisl-phantom: foreground and background of the labels of phantom_003 and on, the unlabelled ones, change places.
scrambling_phantom() {
    cat <<'END_OF_PROGRAM'
#!/bin/bash
set -euo pipefail
dbisl-phantom "$@"
for label in "${!#}"/labelsTr/phantom_00[345].nii.gz; do
    gunzip <"$label" >unpacked.nii
    { head -c 352 unpacked.nii && tail -c +353 unpacked.nii | tr '\000\001' '\001\000'; } | gzip -n >"$label"
    rm unpacked.nii
done
END_OF_PROGRAM
}

@test "the labels of unlabelled scans change no byte of a training; where the log shows them, its last two columns and nothing else" {
    scrambling_phantom >scrambling-phantom
    chmod +x scrambling-phantom
    local run
    for run in plain scrambled; do
        [ $run = plain ] || export PHANTOM=./scrambling-phantom
        pipeline demo RUNS=$run METHODS=dbisl STEPS=4 CHUNK=2 train
        pipeline demo RUNS=$run-truth METHODS=dbisl STEPS=4 CHUNK=2 TRUTH=1 train
    done
    run ! cmp -s plain/scans/labelsTr/phantom_003.nii.gz scrambled/scans/labelsTr/phantom_003.nii.gz
    same plain/scans/labelsTr/phantom_002.nii.gz scrambled/scans/labelsTr/phantom_002.nii.gz
    same_run plain scrambled 4
    for run in plain-truth scrambled-truth; do
        same plain/dbisl/student.4.st.zst $run/dbisl/student.4.st.zst
        same plain/dbisl/teacher.4.st.zst $run/dbisl/teacher.4.st.zst
        same <(rev plain/dbisl/log.tsv | cut -f3- | rev) <(rev $run/dbisl/log.tsv | cut -f3- | rev)
        awk -F'\t' 'NR > 1 && !($(NF - 1) >= 0 && $(NF - 1) <= 1 && $NF != "") { exit 1 }' $run/dbisl/log.tsv
    done
    run ! cmp -s plain-truth/dbisl/log.tsv scrambled-truth/dbisl/log.tsv
    [ "$(rev plain/dbisl/log.tsv | cut -f1-2 | tail -n +2 | tr -d '\t\n')" = "" ]
}

@test "transforms: a table of how close they come, from synthetic labels, from one's own and from a network's maps" {
    local small=(LABELED=2 "PHANTOM_FLAGS=--size 32" "PATCH=24,24,16" BLURS=0.7 "TRANSFORMS=exact levelset conv:1,3" "BACKGROUNDS=0,1e-3")
    pipeline demo RUNS=net METHODS=supervised STEPS=1 CHUNK=1 train
    cp net/supervised/student.1.st.zst net.st.zst
    expect 0 pipeline transforms RUNS=run "${small[@]}" CHECKPOINT=net.st.zst "PREDICT_FLAGS=--window 16,16,16"
    grep -q '^| label | 0.7 | 0.001 | levelset | 0\.' run/transforms.md && grep -q '^| prob | 0 | 0 | exact | 0.00 (0.00), 0.00 ' run/transforms.md || fail "$(cat run/transforms.md)"
    # a line of header, then three bands of three transforms on two kinds of labels and one of maps
    [ "$(wc -l <run/transforms.tsv)" -eq 28 ]
    [ "$(cut -f1-3 run/transforms.tsv | tail -n +2 | uniq | wc -l)" -eq 3 ]
    small+=(CHECKPOINT=net.st.zst "PREDICT_FLAGS=--window 16,16,16")
    expect 0 made_again run pipeline transforms RUNS=run "${small[@]}"
    [ -z "$output" ] || fail "made for nothing: $output"
    expect 0 made_again run pipeline transforms RUNS=run "${small[@]}" "TRANSFORMS=levelset conv:1,2 exact"
    [ "$output" = $'label/conv-1,2.tsv\nprob/conv-1,2.tsv\ntransforms.md\ntransforms.tsv' ] || fail "another transform, but made: $output"
    pipeline transforms RUNS=own DATA=run/scans "${small[@]}" CHECKPOINT= >/dev/null
    same own/label/levelset.tsv run/label/levelset.tsv
    expect 2 pipeline transforms RUNS=own DATA=nowhere "${small[@]}"
    [[ $stderr == *DATA=DIR* ]]
}
