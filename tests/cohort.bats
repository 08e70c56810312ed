#!/usr/bin/env bats
# dbisl-phantom, dbisl-split and dbisl-sample as they are called: what they write, that it is the same however it is made, and what they say to bad input.

bats_require_minimum_version 1.5.0
load helper

# Eight small cases, made once: six to train on, one of them without label, and two to test on.
setup_file() {
    load helper
    cd "$BATS_FILE_TMPDIR" || return
    dbisl-phantom --train 6 --test 2 --size 24 --seed 3 -o D
    mkdir cases
    local scan id
    for scan in D/images*/*.nii.gz; do
        id=${scan##*/}
        id=${id%.nii.gz}
        local label=(--label "${scan/images/labels}")
        [ "$id" != phantom_006 ] || label=()
        dbisl-preprocess "${label[@]}" "$scan" -o "cases/$id.st.zst"
    done
    dbisl-split --labeled 2 --test-list <(printf 'phantom_test_001\nphantom_test_002\n') cases/*.st.zst -o split.tsv
}

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    D=$BATS_FILE_TMPDIR
}

sample() {
    dbisl-sample --split "$D/split.tsv" --patch 16,16,16 --seed 5 "$@"
}

@test "phantom: the Decathlon layout, described by dataset.json" {
    need_python json
    run -0 ls "$D"/D/imagesTr "$D"/D/labelsTr "$D"/D/imagesTs "$D"/D/labelsTs
    [ "$(grep -c '^phantom_00[1-6]\.nii\.gz$' <<<"$output")" -eq 12 ]
    [ "$(grep -c '^phantom_test_00[12]\.nii\.gz$' <<<"$output")" -eq 4 ]
    "$PYTHON" - "$D/D" <<'END'
import json, os, sys
top = sys.argv[1]
index = json.load(open(top + "/dataset.json"))
assert index["labels"] == {"0": "background", "1": "body"} and index["modality"] == {"0": "MRI"}
assert index["numTraining"] == len(index["training"]) == 6 and index["numTest"] == len(index["test"]) == 2
for pair in index["training"]:
    assert os.path.exists(top + "/" + pair["image"]) and os.path.exists(top + "/" + pair["label"])
for image in index["test"]:
    assert os.path.exists(top + "/" + image)
END
}

@test "phantom: nibabel sees one grid for scan and label, oblique, with slices thicker than pixels" {
    need_python nibabel
    "$PYTHON" - "$D"/D/images*/*.nii.gz <<'END'
import sys, numpy, nibabel
for name in sys.argv[1:]:
    image, label = nibabel.load(name), nibabel.load(name.replace("images", "labels"))
    assert image.shape == label.shape and len(image.shape) == 3 and numpy.array_equal(image.affine, label.affine)
    assert set(numpy.unique(label.get_fdata())) == {0, 1}
    zooms = nibabel.as_closest_canonical(image).header.get_zooms()
    assert abs(zooms[0] - zooms[1]) < 1e-5 and 1.1 < zooms[2] / zooms[0] < 1.5
    rotation = image.affine[:3, :3] / numpy.array(image.header.get_zooms())
    assert numpy.allclose(rotation.T @ rotation, numpy.eye(3), atol=1e-5) and (abs(rotation) > 1e-3).sum() > 6
END
}

@test "phantom: a scan is the same whatever the numbers and the threads are" {
    dbisl-phantom --train 3 --test 1 --size 24 --seed 3 --threads 1 -o one
    dbisl-phantom --train 2 --test 2 --size 24 --seed 3 --threads 3 -o three
    for name in imagesTr/phantom_001 labelsTr/phantom_002 imagesTs/phantom_test_001; do
        same one/$name.nii.gz three/$name.nii.gz
        same one/$name.nii.gz "$D/D/$name.nii.gz"
    done
    dbisl-phantom --train 1 --test 0 --size 24 --seed 4 -o other
    run ! cmp -s one/imagesTr/phantom_001.nii.gz other/imagesTr/phantom_001.nii.gz
}

@test "phantom: several channels and classes go through preprocess" {
    dbisl-phantom --train 1 --test 0 --size 24 --channels 2 --classes 3 -o M
    [ "$(ls M/imagesTr)" = $'phantom_001_0000.nii.gz\nphantom_001_0001.nii.gz' ]
    grep -q '"3": "tubes"' M/dataset.json
    dbisl-preprocess --channel M/imagesTr/phantom_001_0001.nii.gz --label M/labelsTr/phantom_001.nii.gz M/imagesTr/phantom_001_0000.nii.gz -o case.st.zst
    run -0 dbisl-info case.st.zst
    [[ $output =~ image\ +F32\ +\[2, && $output =~ classes\ +3 ]]
}

@test "phantom: wrong usage and a place that cannot be written to" {
    expect_usage dbisl-phantom
    expect_usage dbisl-phantom --size 8 -o E
    expect_usage dbisl-phantom --noise nan -o E
    expect_usage dbisl-phantom --train -1 -o E
    expect_usage dbisl-phantom -o E more
    absent E
    touch file
    expect_fault 'file: ' dbisl-phantom --train 1 --test 0 --size 16 -o file
    expect_fault 'nowhere/E: No such file' dbisl-phantom --train 1 --test 0 --size 16 -o nowhere/E
}

@test "phantom: a full disk is an error, and no index is left" {
    tmpfs full 64k
    expect_fault 'full/' dbisl-phantom --train 4 --test 0 --size 40 -o full/D
    absent full/D/dataset.json
    [ -z "$(find full -name '*.part')" ]
}

@test "split: the manifest's rows, with paths relative to it" {
    run -0 cat "$D/split.tsv"
    [ "${lines[0]}" = $'path\tid\tpart' ]
    [ "${lines[1]}" = $'cases/phantom_001.st.zst\tphantom_001\tlabeled' ]
    [ "${lines[6]}" = $'cases/phantom_006.st.zst\tphantom_006\tunlabeled' ]
    [ "${lines[8]}" = $'cases/phantom_test_002.st.zst\tphantom_test_002\ttest' ]
    [ "${#lines[@]}" -eq 9 ]
    mkdir run
    dbisl-split --labeled 1 "$D"/cases/*.st.zst -o run/a.tsv
    cp -r "$D/cases" .
    (cd run && dbisl-split --labeled 1 ../cases/*.st.zst -o b.tsv && dbisl-split --labeled 1 ../cases/*.st.zst >../c.tsv)
    run -0 cut -f 2- run/a.tsv
    [ "$output" = "$(cut -f 2- run/b.tsv)" ]
    grep -q $'^\.\./cases/phantom_001.st.zst\t' run/b.tsv
    same run/b.tsv c.tsv # standard output: relative to the current folder, which was run/
    mkdir moved
    mv run cases moved
    dbisl-sample --split moved/run/b.tsv --patch 8 --unlabeled 1 --labeled 1 -o moved/batch.st.zst
}

@test "split: seeds, folds and lists on the command line" {
    dbisl-split --order random --labeled 2 --seed 1 "$D"/cases/*.st.zst >a
    dbisl-split --order random --labeled 2 --seed 1 "$D"/cases/*.st.zst >b
    same a b
    for seed in 2 3 4 5; do dbisl-split --order random --labeled 2 --seed $seed "$D"/cases/*.st.zst; done >c
    cat a a a a >d
    run ! cmp -s d c
    for fold in 1 2 3; do dbisl-split --labeled 1 --fold $fold/3 "$D"/cases/*.st.zst | grep validation; done | cut -f 2 >validated
    [ "$(sort -u validated | wc -l)" -eq 7 ]
    [ "$(wc -l <validated)" -eq 7 ]
    run -0 dbisl-split --labeled 2 --max-unlabeled 1 --val 1 --test 2 "$D"/cases/*.st.zst
    [ "$(cut -f 3 <<<"$output" | uniq -c | tr -s ' \n' ' ')" = " 1 part 2 labeled 1 unlabeled 1 validation 2 test " ]
}

@test "split: bad input is named, and nothing is written" {
    printf 'phantom_001\nphantom_006\n' >list
    expect_fault 'list: line 2: an unlabelled case in the labelled list: "phantom_006"' dbisl-split --labeled-list list "$D"/cases/*.st.zst -o s.tsv
    printf 'phantom_001\nnobody\n' >list
    expect_fault 'list: line 2: no case has the id "nobody"' dbisl-split --val-list list "$D"/cases/*.st.zst -o s.tsv
    expect_fault 'needs 8 cases with a label, 7 are left' dbisl-split --labeled 8 "$D"/cases/*.st.zst -o s.tsv
    expect_fault 'missing.st.zst: ' dbisl-split "$D"/cases/phantom_001.st.zst missing.st.zst -o s.tsv
    expect_fault 'the id "phantom_001" is that of' dbisl-split "$D"/cases/phantom_001.st.zst "$D"/cases/phantom_001.st.zst -o s.tsv
    dbisl-preprocess --downsample 2 --label "$D"/D/labelsTr/phantom_002.nii.gz "$D"/D/imagesTr/phantom_002.nii.gz -o half.st.zst
    expect_fault 'half.st.zst: prepared with' dbisl-split "$D"/cases/phantom_001.st.zst half.st.zst -o s.tsv
    sample --count 1 -o batch.st.zst
    expect_fault 'batch.st.zst: record 0: not a case, but batch' dbisl-split batch.st.zst -o s.tsv
    expect_fault 'phantom_001.nii.gz: ' dbisl-split "$D"/D/imagesTr/phantom_001.nii.gz -o s.tsv
    expect_fault 'nowhere/s.tsv' dbisl-split "$D"/cases/phantom_001.st.zst -o nowhere/s.tsv
    expect_usage dbisl-split -o s.tsv
    expect_usage dbisl-split --fold 4/3 "$D"/cases/*.st.zst -o s.tsv
    expect_usage dbisl-split --fold 1/3 --val 2 "$D"/cases/*.st.zst -o s.tsv
    expect_usage dbisl-split --labeled 1 --labeled-list list "$D"/cases/*.st.zst -o s.tsv
    expect_usage dbisl-split --order sideways "$D"/cases/*.st.zst -o s.tsv
    absent s.tsv nowhere
}

@test "sample: chunks joined are the whole, in whatever threads, memory and queue" {
    sample --count 20 >whole
    { sample --count 7 && sample --start 7 --count 7 --cache-mb 0 --threads 3 && sample --start 14 --count 6 --ahead 1; } >chunks
    same whole chunks
    sample --count 20 --compress none -o plain.st
    zstd -dc whole | same plain.st -
    [ "$(dbisl-info whole | grep -c 'batch step')" -eq 20 ]
}

@test "sample: batches hold what was asked for" {
    need_python numpy
    sample --labeled 1 --unlabeled 2 --count 2 --compress none --patch 24,16,32 --no-flip --no-rotate --intensity 0.1 --noise 0.05 -o batch.st
    "$PYTHON" - batch.st <<'END'
import json, struct, sys
data = open(sys.argv[1], "rb").read()
for step in range(2):
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    meta = header.pop("__metadata__")
    assert {k: v["shape"] for k, v in header.items()} == {"image": [3, 1, 24, 16, 32], "label": [1, 24, 16, 32]}
    assert meta["kind"] == "batch" and meta["step"] == str(step) and meta["seed"] == "5" and meta["labeled"] == "1" and meta["classes"] == "1"
    assert "phantom" not in json.dumps(meta) and "/" not in json.dumps(meta)
    settings = json.loads(meta["history"])[0]["settings"]
    assert settings["patch"] == [24, 16, 32] and not settings["flip"] and not settings["turn"] and settings["noise"] == 0.05
    data = data[8 + size + max(v["data_offsets"][1] for v in header.values()):]
assert not data
END
    dbisl-info batch.st | grep -q preprocessing
}

@test "sample: the history holds every seed of 64 bits as it was given" {
    need_python
    local seed
    for seed in 0 9223372036854775807 9223372036854775808 18446744073709551615; do
        sample --seed "$seed" --count 1 --compress none -o batch.st
        "$PYTHON" - batch.st "$seed" <<'END'
import json, struct, sys
data = open(sys.argv[1], "rb").read()
meta = json.loads(data[8:8 + struct.unpack("<Q", data[:8])[0]])["__metadata__"]
seed = json.loads(meta["history"])[0]["settings"]["seed"]
assert meta["seed"] == sys.argv[2] and str(seed) == sys.argv[2] and isinstance(seed, str) == (int(sys.argv[2]) >= 2 ** 63), seed
END
    done
}

@test "sample: without the labels of the unlabelled cases the batches are the same, and there is no truth" {
    cp -r "$D/cases" "$D/split.tsv" .
    sample --count 6 -o before.st.zst
    sed '/phantom_006/d' split.tsv >labels.tsv
    for id in phantom_003 phantom_004 phantom_005; do
        dbisl-preprocess --no-label "$D/D/imagesTr/$id.nii.gz" -o cases/$id.st.zst
    done
    dbisl-sample --split split.tsv --patch 16,16,16 --seed 5 --count 6 -o after.st.zst
    same before.st.zst after.st.zst
    expect_fault 'phantom_003.st.zst: record 0: no tensor "label"' dbisl-sample --split labels.tsv --patch 16 --truth -o truth.st.zst
    absent truth.st.zst
    cd "$D"
    expect_fault 'phantom_006.st.zst: record 0: no tensor "label"' sample --truth
}

@test "sample: a scan smaller than the patch is padded" {
    sample --patch 48 --count 2 -o batch.st.zst
    run -0 dbisl-info batch.st.zst
    [[ $output =~ \[4,1,48,48,48\] ]]
}

@test "sample: what is wrong with the input is said in a line, and no file is left" {
    expect_fault 'missing.tsv: ' dbisl-sample --split missing.tsv --patch 16 -o b.st.zst
    expect_fault 'line 1: not the header' dbisl-sample --split "$D/D/dataset.json" --patch 16 -o b.st.zst
    cp -r "$D/cases" "$D/split.tsv" .
    sed 's/phantom_006\tunlabeled/phantom_006\tlabeled/' split.tsv >wrong.tsv
    expect_fault 'phantom_006.st.zst: record 0: an unlabelled case in the labelled part' dbisl-sample --split wrong.tsv --patch 16 -o b.st.zst
    grep -v unlabeled split.tsv >labeled.tsv
    expect_fault 'labeled.tsv: .*no unlabelled case' dbisl-sample --split labeled.tsv --patch 16 -o b.st.zst
    dbisl-sample --split labeled.tsv --patch 16 --unlabeled 0 -o b.st.zst
    rm b.st.zst
    dbisl-preprocess --normalize none "$D/D/imagesTr/phantom_004.nii.gz" -o cases/phantom_004.st.zst
    expect_fault 'phantom_004.st.zst: record 0: prepared with' dbisl-sample --split split.tsv --patch 16 -o b.st.zst
    head -c 2000 "$D/cases/phantom_004.st.zst" >cases/phantom_004.st.zst
    expect_fault 'phantom_004.st.zst: record 0: ' dbisl-sample --split split.tsv --patch 16 --count 20 -o b.st.zst
    rm cases/phantom_004.st.zst
    expect_fault 'phantom_004.st.zst: No such file' dbisl-sample --split split.tsv --patch 16 -o b.st.zst
    absent b.st.zst .b.st.zst.part
}

@test "sample: wrong usage" {
    expect_usage dbisl-sample
    expect_usage dbisl-sample --split "$D/split.tsv"
    expect_usage sample --patch 0,16,16
    expect_usage sample --patch 16,16
    expect_usage sample --patch 16,16,16,16
    expect_usage sample --patch 99999
    expect_usage sample --labeled 0 --unlabeled 0
    expect_usage sample --labeled -1
    expect_usage sample --count 0
    expect_usage sample --start 4294967295 --count 2
    expect_usage sample --intensity 1
    expect_usage sample --noise inf
    expect_usage sample --compress gzip
    expect_usage sample surplus
    expect_fault 'too large' sample --patch 4096
}

@test "sample: a reader that leaves ends it by SIGPIPE" {
    # shellcheck disable=SC2016 # expanded by the inner shell
    run -0 bash -c 'dbisl-sample --split "$1/split.tsv" --patch 16 --count 1000000 --compress none | head -c 100000 >/dev/null; echo "${PIPESTATUS[0]}"' - "$D"
    [ "$output" = 141 ]
}

@test "sample: a full disk leaves nothing" {
    tmpfs full 256k
    expect_fault 'full/b.st' sample --count 50 --compress none -o full/b.st
    [ -z "$(find full -type f)" ]
}
