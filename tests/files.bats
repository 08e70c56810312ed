load helper
bats_require_minimum_version 1.5.0

# What programs write must not replace what they read, whatever it is called. All is refused before any work, so that
# the files here need not be good.

setup_file() {
    cd "$BATS_FILE_TMPDIR" || return
    dbisl-phantom --train 2 --test 0 --size 16 --seed 3 -o D
    mv D/imagesTr/phantom_001.nii.gz a.nii.gz
    mv D/imagesTr/phantom_002.nii.gz b.nii.gz
    mv D/labelsTr/phantom_001.nii.gz l.nii.gz
    dbisl-preprocess --label l.nii.gz a.nii.gz -o a.st.zst
    dbisl-sdf a.st.zst -o d.st.zst
    dbisl-split d.st.zst -o split.tsv
    dbisl-init --norm batch --filters 1 -o net
    dbisl-train-step --method supervised --split split.tsv --unlabeled 0 --patch 16,16,16 --total-steps 1 --steps 1 --student net --out-student model
}

setup() {
    cp -r "$BATS_FILE_TMPDIR"/. "$BATS_TEST_TMPDIR"
    cd "$BATS_TEST_TMPDIR" || return
}

# refused FILE PATTERN COMMAND...: one line, and the file is as it was.
refused() {
    local file=$1 pattern=$2
    shift 2
    cp "$file" "$BATS_TEST_TMPDIR/was"
    expect_fault "$pattern" "$@" || return
    same "$file" "$BATS_TEST_TMPDIR/was" || fail "$file was changed by: $*"
}

@test "an output that is an input is refused by every program" {
    printf 'method\tcase\n' >r.tsv
    printf 'a\n' >list
    zip -q scans.zip a.nii.gz 2>/dev/null || tar -cf scans.zip a.nii.gz
    refused a.nii.gz 'a.nii.gz is an input: the result would replace it' dbisl-predict model a.nii.gz -o a.nii.gz
    refused model 'model is an input' dbisl-predict model a.nii.gz -o model
    refused scans.zip './scans.zip is the input scans.zip: ' dbisl-predict model scans.zip:a.nii.gz -o ./scans.zip
    ln -s a.nii.gz linked
    refused a.nii.gz 'linked is the input a.nii.gz: ' dbisl-preprocess a.nii.gz -o linked
    refused l.nii.gz 'l.nii.gz: tensor files are written here' dbisl-preprocess --label l.nii.gz a.nii.gz -o l.nii.gz
    ln b.nii.gz hard
    refused b.nii.gz 'hard is the input b.nii.gz: ' dbisl-preprocess --channel b.nii.gz a.nii.gz -o hard
    ln -s a.st.zst r.nii.gz
    refused a.st.zst 'r.nii.gz is the input a.st.zst: ' dbisl-restore a.st.zst -o r.nii.gz
    refused net 'net is an input' dbisl-init --from net -o net
    refused r.tsv 'r.tsv is an input' dbisl-compare r.tsv -o r.tsv
    refused a.st.zst 'a.st.zst is an input' dbisl-metrics a.st.zst a.st.zst -o a.st.zst
    refused a.st.zst 'a.st.zst is an input' dbisl-transforms a.st.zst -o a.st.zst
    refused a.st.zst 'a.st.zst is an input' dbisl-info a.st.zst -o a.st.zst
    refused a.st.zst './a.st.zst is the input standard input: ' dbisl-info -o ./a.st.zst <a.st.zst
    refused d.st.zst 'd.st.zst is an input' dbisl-split d.st.zst -o d.st.zst
    refused list 'list is an input' dbisl-split --labeled-list list d.st.zst -o list
    refused split.tsv 'split.tsv is an input' dbisl-sample --split split.tsv --patch 16 --unlabeled 0 -o split.tsv
    refused d.st.zst 'd.st.zst is an input' dbisl-sample --split split.tsv --patch 16 --unlabeled 0 -o d.st.zst
}

@test "an output folder that holds the inputs, also through a link" {
    mkdir scans
    cp a.nii.gz b.nii.gz scans
    ln -s scans link
    local folder
    for folder in scans/ ./scans link/ "$PWD/scans"; do
        refused scans/b.nii.gz 'a.nii.gz is the input scans/a.nii.gz|scans/a.nii.gz is an input' \
            dbisl-predict model scans/a.nii.gz scans/b.nii.gz --format=nii.gz -o "$folder"
    done
    # The second input alone is what would be replaced: the first one is not predicted before that is known.
    cp -r scans out
    refused out/b.nii.gz 'out/b.nii.gz is an input' dbisl-predict model scans/a.nii.gz out/b.nii.gz --format=nii.gz -o out
    same a.nii.gz out/a.nii.gz
    # A case whose id says where it goes.
    mkdir cases
    dbisl-preprocess --id x a.nii.gz -o cases/x.st.zst
    refused cases/x.st.zst 'cases/x.st.zst is an input' dbisl-predict model cases/x.st.zst -o cases
    # Beside its input a result may lie.
    expect 0 dbisl-predict model cases/x.st.zst --format nii.gz -o cases
    [ "$(echo cases/*)" = "cases/x.nii.gz cases/x.st.zst" ]
}

@test "parts of a stream do not replace a stream that they are cut from" {
    cat a.st.zst d.st.zst >p0001.st.zst
    refused p0001.st.zst './p0001.st.zst is the input p0001.st.zst: ' dbisl-info --split ./p p0001.st.zst
    absent p0000.st.zst
    expect 0 dbisl-info --split q p0001.st.zst
    same <(dbisl-info --json q0001.st.zst | cut -d, -f2-) <(dbisl-info --json d.st.zst | cut -d, -f2-)
}

@test "what may be written in place: a student, a teacher by its average, a case with its distances" {
    cp net teacher
    expect 0 dbisl-ema teacher net -o ./teacher
    refused net 'net is an input' dbisl-ema teacher net -o net
    refused net 'net is an input' dbisl-ema net net -o net
    expect 0 dbisl-sdf a.st.zst -o ./a.st.zst
    same <(dbisl-info a.st.zst | grep -c sdf) <(dbisl-info d.st.zst | grep -c sdf)
    local step=(dbisl-train-step --split split.tsv --unlabeled 0 --patch 16 --total-steps 9 --steps 1 --student net)
    expect 0 "${step[@]}" --method supervised --out-student ./net
    refused teacher 'teacher is an input' "${step[@]}" --teacher teacher --ema 0.9 --out-student s --out-teacher teacher
    refused teacher 'teacher is an input' "${step[@]}" --teacher teacher --out-student teacher
    refused net 'new and ./new are one file' "${step[@]}" --teacher teacher --ema 0.9 --out-student new --out-teacher ./new
    refused split.tsv 'split.tsv is an input' "${step[@]}" --method supervised --out-student s --log split.tsv
    refused d.st.zst 'd.st.zst is an input' "${step[@]}" --method supervised --out-student d.st.zst
}

@test "an output that cannot be is refused before any work" {
    # The inputs are not there: nobody has looked.
    expect_fault 'seg.nrrd: no image of this kind can be written' dbisl-predict none none.nii.gz -o seg.nrrd
    expect_fault 'seg.hdr: no image of this kind' dbisl-predict none none.nii.gz -o seg.hdr
    expect_fault 'none: No such file' dbisl-predict none none.nii.gz -o seg.NII
    expect_fault 'c.nii.gz: tensor files are written here' dbisl-preprocess none.nii.gz -o c.nii.gz
    expect_fault 'c.h5: tensor files are written here' dbisl-sdf none -o c.h5
    expect_fault 'r.mha: the name of a NIfTI file' dbisl-restore none -o r.mha
    expect_fault 'scores.nii: a text is written here' dbisl-metrics none none -o scores.nii
    expect_fault 'D.nii.gz: a folder is written here' dbisl-phantom -o D.nii.gz
    expect_fault 'nowhere/x.nii.gz: No such file or directory .the folder nowhere' dbisl-predict none none.nii.gz -o nowhere/x.nii.gz
    expect_fault 'nowhere/deep/: No such file or directory .the folder nowhere' dbisl-predict none none.nii.gz -o nowhere/deep/
    expect_fault 'net/x: Not a directory .the folder net' dbisl-sdf none -o net/x
    expect_fault 'nowhere/l: .*the folder nowhere' dbisl-train-step --method supervised --total-steps 1 --steps 1 --student none --out-student s --log nowhere/l
    expect_fault 'D: Is a directory' dbisl-init -o D
    absent s seg.nrrd
}
