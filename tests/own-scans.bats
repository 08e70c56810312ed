load helper
bats_require_minimum_version 1.5.0

# Folders as a first user has them, through pipelines/own and the others that take a folder or names. Most of it ends
# before any command: the files are empty.

setup() {
    unset MAKEFLAGS MAKELEVEL
    cd "$BATS_TEST_TMPDIR" || return
}

# pipeline NAME VARIABLE=VALUE... [TARGET]
pipeline() {
    local name=$1
    shift
    make --no-print-directory -f "$ROOT/pipelines/$name/Makefile" PATCH=16,16,16 NORM=batch FILTERS=2 METHODS=dbisl STEPS=1 CHUNK=1 "$@"
}

# empty FILE...: files of no bytes, with their folders
empty() {
    local file
    for file; do
        mkdir -p "${file%/*}" && : >"$file" || return
    done
}

# stops PATTERN COMMAND...: make ends with one line that matches, before any command.
stops() {
    local pattern=$1
    shift
    expect 2 "$@" || return
    [ -z "$output" ] || fail "something was run: $output" || return
    [ "$(wc -l <<<"$stderr")" -eq 1 ] && [[ $stderr =~ $pattern ]] || fail "not one line with $pattern: $stderr"
}

# cohort DIR: two labelled scans, one unlabelled and two to test on
cohort() {
    dbisl-phantom --train 3 --test 2 --size 16 --seed 3 -o "$1" && rm "$1/labelsTr/phantom_003.nii.gz"
}

# made COMMAND...: the files under run that the command made, but for settings
made() {
    touch before
    sleep 0.02
    "$@" >&2 || return
    find run -type f -newer before ! -path '*/settings/*' -printf '%P\n' | sort
}

@test "names that make or a shell would take for something else: refused by name, and nothing in them is run" {
    local name folder
    for name in 'c`touch RAN`' 'c&touch RAN&' 'c;touch RAN' 'c$(touch RAN)' '$(shell touch RAN)' 'a>RAN' 'a|b' '(t-test)' "it's" 'a"b' 'a#1' '50%' 'a=b' 'a*' '[1]' \
        'a\b' '~a' 'a:b' 'a b' ' a' 'a.nii.gz b' $'a\tb' $'a\nb'; do
        for folder in imagesTr labelsTr imagesTs labelsTs; do
            rm -rf d && empty d/imagesTr/a.nii.gz d/labelsTr/a.nii.gz "d/$folder/$name.nii.gz"
            stops "pipelines cannot take (this name|names with blanks): .*d/$folder" pipeline own DATA=d RUNS=run
            [[ $name == *[[:space:]]* || $stderr == *"d/$folder/$name.nii.gz; rename"* ]] || fail "not named: $stderr"
        done
        stops "pipelines cannot take (this name|names with blanks): .*d/$folder" pipeline own DATA=d RUNS=run -n
        empty l/labelsTr/a.nii.gz "l/imagesTr/$name.nii.gz"
        stops "pipelines cannot take" pipeline transforms DATA=l RUNS=run
        rm -rf l
        [[ $name == *[[:space:]]* ]] && continue
        mkdir -p la && printf '%s\n' one two "$name" >la/train.list
        stops "pipelines cannot take this name: " pipeline la DATA=la RUNS=run LABELED=1 TRAIN_TO=3
        stops "pipelines cannot take this name: " pipeline la DATA=la RUNS=run LABELED=1 TRAIN_TO=2 TEST_FROM=3 TEST_TO=3
        stops "pipelines cannot take this name: " pipeline transforms DATA=la RUNS=run
    done
    absent RAN run
    # What is harmless is taken.
    empty e/labelsTr/a.nii.gz
    for name in a A,b+c@d_e.f-g^h ünï -x; do
        empty "e/imagesTr/$name.nii.gz"
    done
    expect 0 pipeline own DATA=e RUNS=run -n cases
    [ "$(grep -c '^dbisl-preprocess' <<<"$output")" -eq 4 ] || fail "$output"
}

@test "folders that make or a shell would take for something else are refused, whatever the pipeline" {
    empty "My Drive/d/imagesTr/a.nii.gz" "My Drive/d/labelsTr/a.nii.gz" d/imagesTr/a.nii.gz d/labelsTr/a.nii.gz
    stops 'DATA=My Drive/d: blanks are not possible there' pipeline own DATA="My Drive/d"
    stops 'DATA=My Drive/d: blanks are not possible there' pipeline la DATA="My Drive/d"
    stops 'DATA=My Drive/d: blanks are not possible there' pipeline transforms DATA="My Drive/d"
    stops 'DATA=My Drive/d: blanks are not possible there' pipeline ablation DATA="My Drive/d" PIPELINE=own
    stops 'RUNS=my runs: blanks are not possible there' pipeline own DATA=d RUNS="my runs"
    stops 'RUNS=my runs: blanks are not possible there' pipeline demo RUNS="my runs"
    stops 'RUNS=my runs: blanks are not possible there' pipeline stepwise RUNS="my runs"
    stops 'RUNS=my runs: blanks are not possible there' pipeline transforms RUNS="my runs"
    stops 'RUNS=my runs: blanks are not possible there' pipeline ablation PIPELINE=demo RUNS="my runs"
    stops 'PREPARED=p q: blanks are not possible there' pipeline demo PREPARED="p q"
    stops 'CHECKPOINT=my net: blanks are not possible there' pipeline transforms CHECKPOINT="my net"
    stops 'this name: RUNS=r;id>RAN;' pipeline demo RUNS='r;id>RAN;'
    stops 'this name: RUNS=' pipeline ablation PIPELINE=demo RUNS='r`id>RAN`'
    stops 'this name: RUNS=-r; rename' pipeline own DATA=d RUNS=-r
    stops 'this name: DATA=' pipeline own DATA='d$$(id>RAN)'
    stops 'this name: t`id>RAN`' pipeline ablation PIPELINE=demo RESULTS='t`id>RAN`'
    absent RAN
}

@test "one name in two places ends the run, and both are named" {
    empty d/imagesTr/{001,002}.nii.gz d/labelsTr/001.nii.gz d/imagesTs/{001,003}.nii.gz d/labelsTs/001.nii.gz
    stops 'd/imagesTr/001.nii.gz and d/imagesTs/001.nii.gz have one name' pipeline own DATA=d
    mv d/imagesTs/001.nii.gz d/imagesTs/001.nii
    stops 'd/imagesTr/001.nii.gz and d/imagesTs/001.nii have one name' pipeline own DATA=d
    rm d/imagesTs/001.nii
    empty d/imagesTr/002.nii
    stops 'd/imagesTr/002.nii.gz and d/imagesTr/002.nii: one scan twice' pipeline own DATA=d
    rm d/imagesTr/002.nii
    empty d/labelsTr/009.nii.gz
    stops 'd/labelsTr/009.nii.gz has no scan: d/imagesTr/009.nii.gz is not there' pipeline own DATA=d
    rm d/labelsTr/* d/labelsTs/*
    stops 'none of the scans in d/imagesTr is left with a label' pipeline own DATA=d
    empty d/labelsTr/{001,002}.nii.gz
    stops 'the method dbisl learns from unlabelled scans, and there are none: METHODS=supervised' pipeline own DATA=d
    expect 0 pipeline own DATA=d METHODS=supervised RUNS=run -n
    expect 0 pipeline own DATA=d RUNS=run -n cases
    printf '%s\n' one two one >train.list
    stops 'one is named twice' pipeline la DATA=. LABELED=1 TRAIN_TO=2 TEST_FROM=3 TEST_TO=3
}

@test "scans and labels are taken as .nii too, and one channel as NAME_0000; what is left out is said" {
    empty d/imagesTr/{a,b}.nii.gz d/imagesTr/{c,d}.nii d/labelsTr/{a,c}.nii.gz d/labelsTr/b.nii d/imagesTs/{t,u}.nii d/labelsTs/t.nii.gz d/imagesTr/._a.nii.gz
    expect 0 pipeline own DATA=d RUNS=run -n table
    grep -q '^# The first 3 cases are labelled and the other 1 unlabelled' <<<"$output" || fail "$output"
    grep -q -- '--id b .*--label d/labelsTr/b.nii d/imagesTr/b.nii.gz ' <<<"$output" && grep -q -- '--id c .*--label d/labelsTr/c.nii.gz d/imagesTr/c.nii ' <<<"$output" || fail "$output"
    grep -q -- '--id t .*--label d/labelsTs/t.nii.gz d/imagesTs/t.nii ' <<<"$output" || fail "$output"
    [ -z "$stderr" ] || fail "$stderr"
    empty d/imagesTr/e.mha d/labelsTs/v.nii.gz
    expect 0 pipeline own DATA=d RUNS=run -n cases
    [[ $stderr == *"left out"*d/imagesTr/e.mha*d/labelsTs/v.nii.gz* ]] && [ ${#stderr_lines[@]} -eq 1 ] || fail "$stderr"

    empty n/imagesTr/{a,b,c}_0000.nii.gz n/labelsTr/{a,b}.nii.gz n/imagesTs/t_0000.nii.gz n/labelsTs/t.nii.gz
    expect 0 pipeline own DATA=n RUNS=run -n table
    grep -q -- '--id a .*--label n/labelsTr/a.nii.gz n/imagesTr/a_0000.nii.gz ' <<<"$output" && grep -q -- '--id t .*--label n/labelsTs/t.nii.gz n/imagesTs/t_0000.nii.gz ' <<<"$output" || fail "$output"
    expect 0 pipeline transforms DATA=n RUNS=run -n
    grep -q -- '--id a --label n/labelsTr/a.nii.gz n/imagesTr/a_0000.nii.gz ' <<<"$output" || fail "$output"
    # With a second channel it is said what is missing.
    empty n/imagesTr/{a,b,c}_0001.nii.gz
    stops 'n/labelsTr/a.nii.gz has no scan: .*CHANNELS=2' pipeline own DATA=n
    expect 2 pipeline own DATA=n RUNS=run CHANNELS=2 -n
    [[ $stderr == *"No rule to make target 'n/imagesTs/t_0001.nii.gz'"* ]] || fail "$stderr"
    # Labels that are called like the scans make _0000 a part of the name.
    empty o/{imagesTr,labelsTr}/{a,b}_0000.nii.gz
    expect 0 pipeline own DATA=o RUNS=run -n cases
    grep -q -- '--id a_0000 ' <<<"$output" || fail "$output"
}

@test "labels are followed: corrected, added with an old time, removed; and what does not depend on them stays" {
    cohort d
    mv d/labelsTs/phantom_test_002.nii.gz d/labelsTr/phantom_001.nii.gz .
    mv d/imagesTr/phantom_001.nii.gz phantom_001.image.nii.gz
    touch -d '1 hour ago' phantom_*.nii.gz d/*/*
    mv phantom_001.image.nii.gz d/imagesTr/phantom_001.nii.gz
    pipeline own DATA=d RUNS=run
    expect 0 made pipeline own DATA=d RUNS=run
    [ -z "$output" ] || fail "made for nothing: $output"
    # A test scan gets its label: it is scored, and no training follows.
    mv phantom_test_002.nii.gz d/labelsTs
    expect 0 made pipeline own DATA=d RUNS=run
    [ "$output" = $'cases/phantom_test_002.st.zst\ndbisl/metrics.tsv\ndbisl/predictions/phantom_test_002.st.zst\ntable.txt' ] || fail "$output"
    grep -q phantom_test_002 run/table.txt
    # An unlabelled scan gets one.
    mv phantom_001.nii.gz d/labelsTr
    expect 0 made pipeline own DATA=d RUNS=run
    grep -qx 'distances/phantom_001.st.zst' <<<"$output" && grep -q '^dbisl/student.1' <<<"$output" && ! grep -q 'cases/.*00[23]' <<<"$output" || fail "$output"
    [ "$(grep -cw labeled run/split.tsv)" -eq 2 ]
    # One is corrected.
    touch d/labelsTr/phantom_002.nii.gz
    expect 0 made pipeline own DATA=d RUNS=run cases
    [ "$output" = $'cases/phantom_002.st.zst\ndistances/phantom_002.st.zst\nsplit.tsv' ] || fail "$output"
    # One goes: nothing of it is left in the case.
    rm d/labelsTr/phantom_001.nii.gz
    expect 0 made pipeline own DATA=d RUNS=run cases
    [ "$output" = $'cases/phantom_001.st.zst\nsplit.tsv' ] || fail "$output"
    run ! grep -q '^  label ' <(dbisl-info run/cases/phantom_001.st.zst)
    rm d/labelsTs/phantom_test_002.nii.gz
    pipeline own DATA=d RUNS=run
    run ! grep -q phantom_test_002 run/table.txt
    expect 0 made pipeline own DATA=d RUNS=run
    [ -z "$output" ] || fail "made for nothing: $output"
}

@test "test scans without any label, also without the folder: all is segmented, and the table says that nothing is scored" {
    cohort d
    rm -r d/labelsTs
    expect 0 pipeline own DATA=d RUNS=run table nifti
    grep -qx 'There is nothing to score: none of the 2 test scans has a label.' <<<"$output" || fail "$output"
    [ "$(find run/dbisl/nifti -type f | wc -l)" -eq 2 ]
    mkdir d/labelsTs
    expect 0 pipeline own DATA=d RUNS=run
    stops 'there is nothing to score: none of the 2 test scans has a label' pipeline own DATA=d RUNS=run scores
    rm -r d/imagesTs
    expect 0 pipeline own DATA=d RUNS=run
    grep -qx 'There is nothing to score: there are no test scans.' <<<"$output" || fail "$output"
}

@test "thick slices along the first axis go through to the end" {
    need_python numpy
    local name
    mkdir -p d/imagesTr d/labelsTr d/imagesTs
    for name in a b c t; do
        "$PYTHON" "$ROOT/tests/scans.py" make d/imagesTr/$name.nii.gz shape=12,20,20 spacing=4,0.6,0.6
    done
    mv d/imagesTr/t.nii.gz d/imagesTs
    for name in a b; do
        "$PYTHON" "$ROOT/tests/scans.py" make d/labelsTr/$name.nii.gz shape=12,20,20 spacing=4,0.6,0.6 kind=label classes=1
    done
    expect 0 pipeline own DATA=d RUNS=run table nifti
    [ -s run/dbisl/nifti/t.nii.gz ]
}
