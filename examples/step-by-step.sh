#!/bin/bash
# A whole experiment without make, one program after another: eight small synthetic scans, a few training steps, a scored prediction. It takes a minute
# or two and learns little in that time; the point is what goes in and out of each program. Run it with the programs on PATH, in any folder:
#   PATH=$PWD/build/bin:$PATH examples/step-by-step.sh [FOLDER]
set -euo pipefail
cd "${1:-$(mktemp -d)}"
echo "working in $PWD"
mkdir -p cases distances

dbisl-phantom --train 6 --test 2 --size 48 --seed 1 -o scans

# Scans become cases. Two of the training scans are labelled; the labels of the others are not even read.
for id in phantom_001 phantom_002; do
    dbisl-preprocess --classes 1 --label "scans/labelsTr/$id.nii.gz" "scans/imagesTr/$id.nii.gz" |
        dbisl-sdf --normalize clip:10 - -o "distances/$id.st.zst"
done
for id in phantom_003 phantom_004 phantom_005 phantom_006; do
    dbisl-preprocess "scans/imagesTr/$id.nii.gz" -o "cases/$id.st.zst"
done
for id in phantom_test_001 phantom_test_002; do
    dbisl-preprocess --classes 1 --label "scans/labelsTs/$id.nii.gz" "scans/imagesTs/$id.nii.gz" -o "cases/$id.st.zst"
done
dbisl-split --labeled 2 distances/*.st.zst cases/phantom_00*.st.zst -o split.tsv
cat split.tsv

# A small network and its teacher; forty steps in two processes of twenty, as a run that was interrupted.
dbisl-init --channels 1 --classes 1 --filters 4 --seed 1 -o student.0.st.zst
dbisl-init --from student.0.st.zst -o teacher.0.st.zst
for start in 0 20; do
    end=$((start + 20))
    dbisl-sample --split split.tsv --patch 32,32,32 --seed 1 --start $start --count 20 --compress=none |
        dbisl-train-step --method dbisl --total-steps 40 --steps 20 --seed 1 --ema 0.99 \
            --student student.$start.st.zst --teacher teacher.$start.st.zst \
            --out-student student.$end.st.zst --out-teacher teacher.$end.st.zst --log log.$end.tsv
done
tail -n 1 log.40.tsv

# What came of it, where it came from, and the segmentation of a scan, in the scan's own grid.
dbisl-info --history student.40.st.zst
dbisl-predict student.40.st.zst cases/phantom_test_001.st.zst -o prediction.st.zst
dbisl-metrics --unit mm prediction.st.zst cases/phantom_test_001.st.zst
dbisl-predict student.40.st.zst scans/imagesTs/phantom_test_002.nii.gz -o segmentation.nii.gz
ls -l segmentation.nii.gz
