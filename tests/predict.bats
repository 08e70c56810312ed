#!/usr/bin/env bats
# dbisl-predict: windows, heads and labels against numpy, scans against cases, everything that can be wrong with its inputs.

load helper

# Made once for all tests: a network of the field's shape with the fixture's weights, a phantom with a turned, anisotropic grid, its case.
setup_file() {
    bats_require_minimum_version 1.5.0
    need zstd || return
    need_python numpy || return
    cd "$BATS_FILE_TMPDIR" || return
    tool checkpoint bare.st
    tool meta bare.st net.st 'preprocessing={"crop":"none","downsample":1,"normalize":"zscore","spacing":null}' 'regression={"k":40,"normalize":"clip:10"}'
    dbisl-phantom --train 2 --test 0 --size 40 --seed 3 -q -o phantom
    mv phantom/imagesTr/phantom_001.nii.gz scan.nii.gz
    mv phantom/imagesTr/phantom_002.nii.gz other.nii.gz
    mv phantom/labelsTr/phantom_001.nii.gz truth.nii.gz
    dbisl-preprocess scan.nii.gz -o case.st.zst
    dbisl-preprocess other.nii.gz -o other.st.zst
}

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    cp "$BATS_FILE_TMPDIR"/*.* .
}

tool() {
    "$PYTHON" "$ROOT/tests/interop/predict.py" "$@"
}

all=label,prob,logits,sdf,uncertainty

@test "sliding windows are the weighted mean of single windows" {
    while read -r window stride weights; do
        tool cut case.st.zst windows.st "$window" "$stride"
        dbisl-predict --window "$window" --output logits,sdf bare.st windows.st -o seen.st.zst
        dbisl-predict --window "$window" --stride "$stride" --weights "$weights" --head both --output prob,logits,sdf net.st case.st.zst -o slid.st.zst
        tool mean seen.st.zst slid.st.zst "$window" "$stride" "$weights" 40
    done <<'END'
16,32,16 16,20,9 uniform
16,32,16 16,20,9 gaussian
32,32,32 16,16,16 gaussian
48,16,32 5,7,32 uniform
END
}

@test "probability, label and uncertainty follow from logits and distances" {
    while read -r head threshold k; do
        dbisl-predict --window whole --head "$head" --threshold "$threshold" --k "$k" --output $all bare.st case.st.zst -o seen.st.zst
        tool formulas seen.st.zst "$head" "$threshold" "$k"
    done <<'END'
seg 0.5 40
sdf 0.00001 40
both 0.26 40
both 0.4 2
END
}

@test "a pass gives what PyTorch gives" {
    tool fixture images.st
    for device in cpu reference; do
        dbisl-predict --device $device --output logits,sdf bare.st images.st -o seen.st.zst
        tool evaluated seen.st.zst
    done
}

@test "the checkpoint's slope is the default of --k" {
    dbisl-predict --head sdf --output prob net.st case.st.zst -o a.st.zst
    dbisl-predict --head sdf --output prob --k 40 bare.st case.st.zst -o b.st.zst
    tool same a.st.zst b.st.zst
    dbisl-predict --head sdf --output prob --k 4 net.st case.st.zst -o c.st.zst
    expect 1 tool same a.st.zst c.st.zst
}

@test "several classes: each is a sigmoid of its own, the largest above the threshold wins" {
    dbisl-init --norm batch --init kaiming --channels 1 --classes 3 --filters 2 --seed 4 -o three.st.zst
    dbisl-predict --threshold 0.4 --k 3 --head both --output $all three.st.zst case.st.zst -o seen.st.zst
    tool formulas seen.st.zst both 0.4 3
}

@test "one pass is a window of the whole size, to the byte" {
    dbisl-predict --window whole --output $all net.st case.st.zst -o whole.st.zst
    dbisl-predict --window 48,48,32 --output $all net.st case.st.zst -o window.st.zst
    dbisl-predict --output $all net.st case.st.zst -o auto.st.zst
    same whole.st.zst window.st.zst
    same whole.st.zst auto.st.zst
    dbisl-predict --window whole --weights gaussian --output $all net.st case.st.zst -o gaussian.st.zst
    tool same whole.st.zst gaussian.st.zst
}

@test "the size of the training's patches is the default, as far as scan and memory allow" {
    while read -r patch window; do
        tool meta net.st trained.st "patch=$patch"
        dbisl-predict --window "$window" --output prob trained.st case.st.zst -o window.st.zst
        dbisl-predict --output prob trained.st case.st.zst -o auto.st.zst
        same window.st.zst auto.st.zst
    done <<'END'
[32,16,16] 32,16,16
[32,160,32] 32,48,32
[16,16,64] 16,16,32
END
    for patch in '[32,16]' '[32,16,24]' '[0,16,16]' '[16,16,1e5]' '[16,16,1048576]' '"32"'; do
        tool meta net.st wrong.st "patch=$patch"
        expect 1 dbisl-predict --output prob wrong.st case.st.zst -o x.st.zst
        [[ $stderr == 'dbisl-predict: '*'metadata "patch"'* ]] || fail "$stderr"
        [ ! -e x.st.zst ]
        dbisl-predict --window whole --output prob wrong.st case.st.zst -o whole.st.zst
    done
}

@test "a scan and its uncropped case give equal labels, resampled ones too" {
    while read -r flags json; do
        # shellcheck disable=SC2086
        dbisl-preprocess ${flags//+/ } scan.nii.gz --label truth.nii.gz -o prepared.st.zst
        tool meta bare.st trained.st "preprocessing=$json"
        dbisl-predict trained.st scan.nii.gz -o from-scan.st.zst
        dbisl-predict trained.st prepared.st.zst -o from-case.st.zst
        tool same from-scan.st.zst from-case.st.zst
        tool mixed from-scan.st.zst
        dbisl-predict trained.st scan.nii.gz -o from-scan.nii.gz
        dbisl-predict trained.st prepared.st.zst -o from-case.nii.gz
        same from-scan.nii.gz from-case.nii.gz
    done <<'END'
--normalize=zscore {"crop":"none","downsample":1,"normalize":"zscore","spacing":null}
--spacing=3,2,2.5+--normalize=zscore:foreground {"crop":"none","downsample":1,"normalize":"zscore:foreground","spacing":[3,2,2.5]}
--downsample=2+--normalize=window:50,300 {"crop":"none","downsample":2,"normalize":"window:50,300","spacing":null}
END
}

@test "NIfTI output lies where the scan lies, whatever was resampled" {
    need_python nibabel
    tool meta bare.st trained.st 'preprocessing={"crop":"none","downsample":1,"normalize":"zscore","spacing":[3,3,3]}'
    for what in label prob uncertainty sdf; do
        dbisl-predict --k 40 --output $what trained.st scan.nii.gz -o $what.nii.gz
        run tool place scan.nii.gz $what.nii.gz
        [ "$status" -eq 0 ] || fail "$what: $output"
        [[ $what = label ]] && [[ $output =~ ^uint8\ 0\.0\ 1\.0$ ]] || [[ $output =~ ^float32 ]] || fail "$what: $output"
    done
}

@test "NIfTI output is what dbisl-restore makes of the prediction" {
    tool meta bare.st trained.st 'preprocessing={"crop":"none","downsample":2,"normalize":"zscore","spacing":null}'
    dbisl-predict --output prob trained.st scan.nii.gz -o prob.st.zst
    dbisl-restore --from prob --threshold 0.5 prob.st.zst -o restored.nii.gz
    dbisl-predict trained.st scan.nii.gz -o direct.nii.gz
    same restored.nii.gz direct.nii.gz
}

@test "a member of an archive is a scan like another" {
    need zip tar
    mkdir p07
    cp scan.nii.gz p07/mr.nii.gz
    zip -q scans.zip p07/mr.nii.gz
    tar -cf scans.tar p07
    dbisl-predict net.st p07/mr.nii.gz -o file.nii.gz
    for archive in scans.zip scans.tar; do
        dbisl-predict net.st $archive:p07/mr.nii.gz -o member.nii.gz
        same file.nii.gz member.nii.gz
    done
}

@test "several inputs: a stream in their order, or a file each in a folder" {
    dbisl-predict net.st case.st.zst -o 1.st.zst
    dbisl-predict net.st other.st.zst -o 2.st.zst
    dbisl-predict net.st case.st.zst other.st.zst -o both.st.zst
    cat 1.st.zst 2.st.zst | tool_stream_equal both.st.zst
    cat case.st.zst other.st.zst | dbisl-predict net.st - -o piped.st.zst
    same both.st.zst piped.st.zst
    dbisl-predict net.st case.st.zst other.nii.gz | zstd -dqc >out.st
    zstd -dqc both.st.zst | tool same out.st /dev/stdin
    dbisl-predict net.st case.st.zst other.st.zst -o new/
    same new/scan.st.zst 1.st.zst
    same new/other.st.zst 2.st.zst
    dbisl-predict --format nii.gz net.st case.st.zst other.nii.gz -o new
    dbisl-predict net.st scan.nii.gz -o 1.nii.gz
    same new/scan.nii.gz 1.nii.gz
    [ "$(find new -type f | wc -l)" -eq 4 ]
}

tool_stream_equal() {
    zstd -dqc >joined.st
    zstd -dqc "$1" >stream.st
    same joined.st stream.st
}

@test "the largest component of each class" {
    need_python scipy
    dbisl-init --norm batch --init kaiming --channels 1 --classes 2 --filters 2 --seed 4 -o two.st.zst
    for net in "bare.st 0.52" "two.st.zst 0.45"; do
        read -r net threshold <<<"$net"
        dbisl-predict --threshold "$threshold" "$net" case.st.zst -o all.st.zst
        dbisl-predict --threshold "$threshold" --largest "$net" case.st.zst -o largest.st.zst
        tool largest all.st.zst largest.st.zst
    done
}

@test "several channels: a case, or scans with commas between them" {
    dbisl-init --channels 2 --classes 1 --filters 2 --seed 1 --compress=none -o plain.st
    tool meta plain.st two.st 'preprocessing={"crop":"none","downsample":1,"normalize":"zscore","spacing":null}'
    zcat scan.nii.gz >second.nii
    dbisl-preprocess scan.nii.gz --channel second.nii -o pair.st.zst
    dbisl-predict --output prob two.st pair.st.zst -o case-prob.st.zst
    dbisl-predict --output prob two.st scan.nii.gz,second.nii -o scan-prob.st.zst
    tool same case-prob.st.zst scan-prob.st.zst
    expect_fault "1 scans for a network of 2 channels" dbisl-predict two.st scan.nii.gz -o x.st.zst
    expect_fault 'case.st.zst: record 0: tensor "image" has 1 channels, the network 2' dbisl-predict two.st case.st.zst -o x.st.zst
    absent x.st.zst
}

@test "equal bytes again, and equal labels with two threads and on the reference device" {
    dbisl-predict --threads 1 --window 32 --output $all net.st case.st.zst -o 1.st.zst
    dbisl-predict --threads 1 --window 32 --output $all net.st case.st.zst -o again.st.zst
    dbisl-predict --threads 2 --window 32 --output $all net.st case.st.zst -o 2.st.zst
    dbisl-predict --device reference --window 32 --output $all net.st case.st.zst -o reference.st.zst
    same 1.st.zst again.st.zst
    tool same 1.st.zst 2.st.zst label
    tool near 1.st.zst 2.st.zst 1e-5
    tool same 1.st.zst reference.st.zst label
    tool near 1.st.zst reference.st.zst 1e-4
    tool mixed 1.st.zst
}

@test "the prediction says what it came from" {
    dbisl-predict --head both --output sdf,label net.st case.st.zst -o p.st.zst
    run dbisl-info --json p.st.zst
    for word in '"kind":"prediction"' '"id":"scan"' '"classes":"1"' '"regression":' '"source":' '"geometry":' '"affine":'; do
        [[ $output == *"$word"* ]] || fail "no $word in $output"
    done
    run dbisl-info --history p.st.zst
    for word in preprocess predict both checkpoint case; do
        [[ $output == *"$word"* ]] || fail "no $word in the history: $output"
    done
}

@test "memory decides on windows, and is kept" {
    need_python resource
    dbisl-init --channels 1 --classes 1 --filters 8 --seed 1 -o eight.st.zst
    "$PYTHON" - <<'END'
import sys, os
sys.path.insert(0, os.environ["ROOT"] + "/tests/interop")
import numpy, predict
image = numpy.random.default_rng(1).normal(size=(1, 112, 112, 96)).astype("f4")
predict.save("large.st", [({"image": image}, {"kind": "case", "id": "large"})])
END
    run tool peak dbisl-predict --window 32 --stride 32 --output prob eight.st.zst large.st -o small.st.zst
    base=${lines[-1]}
    [ "$base" -lt 90 ] || [ -n "${SANITIZED:-}" ] || fail "$base MB for windows of 32"
    expect 0 tool peak dbisl-predict --window whole --memory 100 --stride 500 --output prob eight.st.zst large.st -o x.st.zst
    [[ $stderr == *"warning: large.st: one pass would take more than --memory allows; windows of"* ]] || fail "$stderr"
    [ "$output" -lt 150 ] || [ -n "${SANITIZED:-}" ] || fail "$output MB"
    expect 0 dbisl-predict --memory 100 --stride 500 --output prob eight.st.zst large.st -o y.st.zst
    [ -z "$stderr" ] || fail "$stderr"
    same x.st.zst y.st.zst
    expect_fault "large.st: record 0: a scan of 112x112x96 voxels takes at least [0-9]+ MB, 12 MB are allowed" dbisl-predict --memory 12 eight.st.zst large.st -o z.st.zst
    absent z.st.zst
    # where windows see a part of the scan alone, the whole scan is held beside it
    tool pad case.st.zst air.st 40
    expect 0 dbisl-predict --memory 12 --window auto net.st case.st.zst -o fits.st.zst
    expect_fault "air.st: record 0: .* MB, 12 MB are allowed" dbisl-predict --memory 12 --window auto net.st air.st -o z.st.zst
    absent z.st.zst
}

@test "preparation: errors name both, --force predicts, crops are warned of" {
    tool meta net.st otherwise.st 'preprocessing={"crop":"none","downsample":2,"normalize":"zscore","spacing":null}'
    expect_fault 'case.st.zst: record 0: prepared by .*"downsample":1.*, the network was trained on cases prepared by .*"downsample":2' \
        dbisl-predict otherwise.st case.st.zst -o x.st.zst
    absent x.st.zst
    expect 0 dbisl-predict --force otherwise.st case.st.zst -o x.st.zst
    [[ $stderr == *warning:*prepared\ by* ]]
    expect 0 dbisl-predict -q --force otherwise.st case.st.zst -o x.st.zst
    [ -z "$stderr" ]

    tool meta net.st crops.st 'preprocessing={"crop":"label:5","downsample":1,"normalize":"zscore","spacing":null}'
    for input in case.st.zst scan.nii.gz; do
        expect 0 dbisl-predict crops.st $input -o y.st.zst
        [[ $stderr == *warning:*cropped\ round\ their\ labels* ]] || fail "$stderr"
        tool same x.st.zst y.st.zst
    done
    dbisl-preprocess --crop label:5 --label truth.nii.gz scan.nii.gz -o cropped.st.zst
    expect 0 dbisl-predict crops.st cropped.st.zst -o z.st.zst
    [ -z "$stderr" ]
}

@test "checkpoints that cannot be used" {
    dbisl-init --channels 1 --classes 1 --filters 4 --seed 1 --compress=none -o four.st
    tool drop net.st missing.st block_six.conv.3.weight
    tool spoil net.st nan.st block_six.conv.3.weight nan
    tool spoil net.st huge.st block_nine.conv.0.weight 3e38
    tool retype net.st type.st block_six.conv.3.weight
    tool meta net.st another.st 'architecture={"channels":1,"classes":1,"filters":2,"name":"u-net"}'
    tool meta four.st wider.st 'architecture={"channels":1,"classes":1,"filters":8,"name":"dual-vnet"}'
    tool meta net.st sign.st sdf_sign=negative-inside
    tool meta net.st json.st 'preprocessing={"crop":' regression='{"k":-1}'
    : >empty.st
    echo "no tensor file at all, and long enough for a header" >text.st
    for file in missing nan type another wider sign empty text none; do
        expect_fault "$file.st: .+" dbisl-predict $file.st case.st.zst -o x.st.zst
    done
    expect_fault "case.st.zst: a case, not a checkpoint" dbisl-predict case.st.zst case.st.zst -o x.st.zst
    expect_fault "not finite" dbisl-predict huge.st case.st.zst -o x.st.zst
    expect_fault "json.st: .*no slope k above 0" dbisl-predict --head both json.st case.st.zst -o x.st.zst
    expect_fault "preprocessing" dbisl-predict json.st case.st.zst -o x.st.zst
    expect_fault "bare.st: .*no metadata \"regression\"" dbisl-predict --output uncertainty bare.st case.st.zst -o x.st.zst
    expect_fault "scan.nii.gz: a scan, but bare.st does not say how to prepare one" dbisl-predict bare.st scan.nii.gz -o x.st.zst
    absent x.st.zst ./.x.st.zst.part
}

@test "a checkpoint or a case that ends early" {
    for file in net.st case.st.zst; do
        size=$(stat -Lc %s $file)
        for tenths in 0 1 2 3 4 5 6 7 8 9; do
            head -c $((size * tenths / 10 + tenths)) $file >cut.st
            if [ $file = net.st ]; then
                expect_fault "cut.st: .+" dbisl-predict cut.st case.st.zst -o x.st.zst
            else
                expect_fault "cut.st: .+" dbisl-predict net.st cut.st -o x.st.zst
            fi
        done
    done
    absent x.st.zst
}

@test "cases that cannot be predicted" {
    tool spoil case.st.zst nan.st image nan
    tool spoil case.st.zst inf.st image -inf
    tool drop case.st.zst imageless.st image
    tool meta case.st.zst batch.st kind=batch
    tool meta case.st.zst json.st 'preprocessing=[1,'
    for file in nan inf; do
        expect_fault "$file.st: record 0: tensor \"image\" has voxels that are not finite" dbisl-predict net.st $file.st -o x.st.zst
    done
    expect_fault 'imageless.st: record 0: no tensor "image"' dbisl-predict net.st imageless.st -o x.st.zst
    expect_fault 'batch.st: record 0: a batch, not a case' dbisl-predict net.st batch.st -o x.st.zst
    expect_fault 'json.st: record 0: metadata "preprocessing": .+' dbisl-predict net.st json.st -o x.st.zst
    expect_fault 'net.st: record 0: .+' dbisl-predict net.st net.st -o x.st.zst
    expect_fault 'none.st: .+' dbisl-predict net.st none.st -o x.st.zst
    expect_fault 'none.nii: .+' dbisl-predict net.st none.nii -o x.st.zst
    # the first record of a stream is good, the second is not: nothing appears
    zstd -dqc case.st.zst | cat - nan.st >half.st
    expect_fault "half.st: record 1: .*not finite" dbisl-predict net.st half.st -o x.st.zst
    expect_fault "half.st: record 1: more than one case" dbisl-predict net.st half.st -o x.nii.gz
    absent x.st.zst ./.x.st.zst.part
}

@test "ids that cannot name a file in the folder" {
    cp case.st.zst again.st.zst
    for id in .. ../x a/b .hidden; do
        tool meta case.st.zst hostile.st "id=$id"
        expect_fault 'hostile.st: record 0: id ".*" cannot name a file' dbisl-predict net.st hostile.st -o out/
    done
    tool meta case.st.zst nameless.st id=
    expect_fault 'nameless.st: record 0: id "" cannot name a file' dbisl-predict net.st nameless.st -o out/
    absent out x.st.zst
    expect_fault 'again.st.zst: id "scan" is there a second time, it would replace the file of case.st.zst' \
        dbisl-predict net.st case.st.zst again.st.zst -o out/
    absent out
    # Of a stream only the first record is known beforehand.
    cat case.st.zst case.st.zst >two.st.zst
    expect_fault 'two.st.zst: record 1: id "scan" is there a second time' dbisl-predict net.st two.st.zst -o out/
    [ "$(ls out)" = scan.st.zst ]
}

@test "one NIfTI file takes one case" {
    cat case.st.zst other.st.zst >two.st.zst
    expect_fault "two.st.zst: record 1: more than one case for one NIfTI file" dbisl-predict net.st two.st.zst -o x.nii.gz
    absent x.nii.gz
    tool meta case.st.zst nowhere.st source=
    expect_fault 'nowhere.st: .*source' dbisl-predict net.st nowhere.st -o x.nii.gz
    absent x.nii.gz
}

@test "a full disk leaves nothing behind" {
    tmpfs small 64k
    head -c 50000 /dev/urandom >small/ballast
    for name in x.st.zst x.nii; do
        expect_fault "." dbisl-predict --output prob net.st case.st.zst -o small/$name
    done
    [ "$(ls -A small)" = ballast ]
}

@test "the examples run" {
    need zip unzip tar
    mkdir -p a b
    cp scan.nii.gz a/mr.nii.gz
    cp other.nii.gz b/mr.nii.gz
    zip -q scans.zip a/mr.nii.gz b/mr.nii.gz
    tar -czf scans.tar.gz ./a ./b
    "$ROOT/examples/predict-archive.sh" net.st scans.zip from-zip
    "$ROOT/examples/predict-archive.sh" net.st scans.tar.gz from-tar
    for name in a_mr.nii.gz b_mr.nii.gz; do
        same from-zip/$name from-tar/$name
    done
    run "$ROOT/examples/label-next.sh" net.st case.st.zst other.st.zst
    [ "${#lines[@]}" -eq 2 ]
    [[ ${lines[0]} =~ ^0\.[0-9]+$'\t'(scan|other)$ ]] || fail "$output"
    printf '%s\n' "${lines[@]}" | sort -rgc
}

@test "wrong usage" {
    expect_usage dbisl-predict
    expect_usage dbisl-predict net.st
    for options in --window=40 --window=0 --window=16,16 --window=large --stride=0 "--window=32 --stride=33" --weights=flat --head=tail --output=labels \
        --output=label,label --output= --threshold=2 --threshold=x --k=0 --memory=0 --format=png "--format=nii" --device=gpu --threads=0 --compress=gzip --unknown; do
        # shellcheck disable=SC2086
        expect_usage dbisl-predict $options net.st case.st.zst -o x.st.zst
    done
    expect_usage dbisl-predict net.st case.st.zst other.st.zst -o x.nii.gz
    expect_usage dbisl-predict --output label,prob net.st case.st.zst -o x.nii.gz
    expect_usage dbisl-predict --output logits net.st case.st.zst -o x.nii.gz
    expect_usage dbisl-predict --output label,prob --format nii.gz net.st case.st.zst -o new/
    absent x.st.zst x.nii.gz new
}

@test "the air around a patient is background without a look, and changes nothing of the rest" {
    tool pad case.st.zst padded.st 20
    dbisl-predict --window 16 --output $all --everywhere net.st case.st.zst -o whole.st.zst
    dbisl-predict --window 16 --output $all net.st padded.st -o seen.st.zst
    tool padded whole.st.zst seen.st.zst 20
    dbisl-predict --window 16 --everywhere net.st padded.st -o everywhere.st.zst
    run ! cmp -s seen.st.zst everywhere.st.zst
}

@test "progress where it is asked for" {
    expect 0 dbisl-predict --progress --window 32 net.st case.st.zst -o x.st.zst
    [[ $stderr == *"case.st.zst: window 4 of 4"* ]] || fail "$stderr"
    expect 0 dbisl-predict --window 32 net.st case.st.zst -o x.st.zst
    [ -z "$stderr" ]
}
