#!/bin/bash
# Segments every NIfTI scan in a zip or tar archive without unpacking it; each result lies in its scan's own grid, named after the scan.
#   PATH=$PWD/build/bin:$PATH examples/predict-archive.sh MODEL.st.zst SCANS.zip FOLDER
set -euo pipefail
if [ $# -ne 3 ]; then
    echo "usage: $0 MODEL ARCHIVE FOLDER" >&2
    exit 2
fi
model=$1 archive=$2 folder=$3
mkdir -p "$folder"

members() {
    case $archive in
    *.zip) unzip -Z1 "$archive" ;;
    *) tar -tf "$archive" ;;
    esac
}

members | grep -E '\.nii(\.gz)?$' | while read -r member; do
    # Scans of different patients are often called the same: keep the folders in the name.
    name=${member#./}
    dbisl-predict --largest "$model" "$archive:$member" -o "$folder/${name//\//_}"
    echo "$folder/${name//\//_}"
done
