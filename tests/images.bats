#!/usr/bin/env bats
# Scans to cases and back: dbisl-preprocess and dbisl-restore.
load helper

scans() {
    "$PYTHON" "$ROOT/tests/scans.py" "$@"
}

setup() {
    need "$PYTHON"
    cd "$BATS_TEST_TMPDIR" || return
}

# A scan and a label with a rotated, anisotropic affine, turned axes.
oblique=(axes=PIR "degrees=12,-9,17" "spacing=0.9,1.7,1.1" "shape=26,20,24")

@test "images: any orientation comes back voxel for voxel, with its affine and codes" {
    for axes in RAS LPS PIR SAL ILP; do
        scans make s.nii.gz "axes=$axes" degrees=12,-9,17 spacing=0.9,1.7,1.1 shape=17,12,14
        scans make l.nii.gz "axes=$axes" degrees=12,-9,17 spacing=0.9,1.7,1.1 shape=17,12,14 kind=label classes=2
        dbisl-preprocess --label l.nii.gz s.nii.gz -o c.st.zst
        dbisl-restore c.st.zst -o r.nii.gz
        scans equal l.nii.gz r.nii.gz
        scans place l.nii.gz r.nii.gz
    done
}

@test "images: codes of sform and qform that no standard names come back too" {
    for code in 255 256 32767; do
        scans make s.nii.gz "code=$code"
        scans make l.nii.gz "code=$code" kind=label
        dbisl-preprocess --label l.nii.gz s.nii.gz -o c.st.zst
        dbisl-restore c.st.zst -o r.nii.gz
        scans place l.nii.gz r.nii.gz
    done
}

@test "images: a case's voxels stand where the scan's do, axes to right, front, up" {
    for axes in RAS LPS PIR; do
        scans make s.nii "axes=$axes" degrees=5,-20,31 shape=11,12,9 slope=0.5 inter=-3
        dbisl-preprocess --normalize none --compress=none s.nii -o c.st
        scans values c.st s.nii
    done
}

@test "images: a label through resampling, downsampling and crop and back" {
    scans make s.nii.gz "${oblique[@]}" shape=56,40,48
    scans make l.nii.gz "${oblique[@]}" shape=56,40,48 kind=label
    while read -r least options; do
        # shellcheck disable=SC2086 # several options
        dbisl-preprocess $options --label l.nii.gz s.nii.gz -o c.st.zst
        dbisl-restore c.st.zst -o r.nii.gz
        scans place l.nii.gz r.nii.gz
        dice=$(scans dice l.nii.gz r.nii.gz)
        awk -v d="$dice" -v l="$least" 'BEGIN { exit !(d >= l) }' || fail "Dice $dice after $options"
    done <<'CASES'
1 --spacing=1.1,0.9,1.7 --crop=label:2
0.97 --spacing=1
0.97 --spacing=0.8,0.7,1.3 --crop=label:0
0.90 --downsample=2
0.90 --spacing=1 --downsample=2 --crop=label:3
1 --crop=label:0
1 --crop=label:1000
CASES
}

@test "images: whatever is done to the grid, affine and voxels agree, there and back" {
    scans make s.nii "${oblique[@]}" kind=ramp type=16 shape=36,30,32
    scans make l.nii "${oblique[@]}" kind=label shape=36,30,32
    for options in --spacing=1.7,0.6,2.3 --downsample=2 --downsample=3 "--spacing=0.8,1.9,1.1 --downsample=2"; do
        # shellcheck disable=SC2086 # several options
        dbisl-preprocess --normalize none $options --compress=none s.nii -o c.st
        scans ramp c.st 1
        # shellcheck disable=SC2086 # several options
        dbisl-preprocess --normalize none $options --crop label:0 --label l.nii --compress=none s.nii -o c.st
        scans ramp c.st 0
        # shellcheck disable=SC2086 # several options
        dbisl-preprocess --normalize none $options --compress=none s.nii -o c.st
        scans image-as-prob c.st p.st
        dbisl-restore --from prob p.st -o r.nii
        scans place s.nii r.nii
        scans ramp r.nii 6
    done
}

@test "images: probabilities come back by linear interpolation: as they are, or thresholded" {
    scans make s.nii.gz "${oblique[@]}"
    scans make l.nii.gz "${oblique[@]}" kind=label classes=2
    dbisl-preprocess --crop label:2 --label l.nii.gz --compress=none s.nii.gz -o c.st
    scans probability c.st p.st
    dbisl-restore --from prob --threshold 0.5 p.st -o r.nii.gz
    scans equal l.nii.gz r.nii.gz
    scans place l.nii.gz r.nii.gz
    dbisl-restore --from sdf --threshold 0 p.st -o r.nii.gz
    scans equal l.nii.gz r.nii.gz
    dbisl-restore --from prob p.st -o r.nii
    scans place l.nii.gz r.nii
    "$PYTHON" - "$ROOT/tests" <<'PYTHON'
import sys
sys.path.insert(0, sys.argv[1])
import scans
r, l = scans.read("r.nii"), scans.read("l.nii.gz")
assert r["dims"] == (*l["dims"], 2) and r["type"] == 16
n = len(l["values"])
for k in (1, 2):
    assert [v == k for v in l["values"]] == [v == 1 for v in r["values"][(k - 1) * n : k * n]]
PYTHON
    # smooth at the same place: through a coarser grid and back a probability loses less than a label
    dbisl-preprocess --spacing 1.3 --label l.nii.gz --compress=none s.nii.gz -o c.st
    scans probability c.st p.st
    dbisl-restore --from prob --threshold 0.5 p.st -o r.nii.gz
    dice=$(scans dice l.nii.gz r.nii.gz)
    awk -v d="$dice" 'BEGIN { exit !(d >= 0.93) }' || fail "Dice $dice"
}

@test "images: beyond the crop a distance is the smallest one, a probability 0" {
    scans make s.nii shape=20,20,20
    scans make l.nii kind=label shape=20,20,20
    dbisl-preprocess --crop label:1 --label l.nii --compress=none s.nii -o c.st
    scans probability c.st p.st
    dbisl-restore --from sdf p.st -o d.nii
    dbisl-restore --from prob p.st -o p.nii
    "$PYTHON" - "$ROOT/tests" <<'PYTHON'
import sys
sys.path.insert(0, sys.argv[1])
import scans
d, p, l = (scans.read(f)["values"] for f in ("d.nii", "p.nii", "l.nii"))
assert list(d) == [v - 0.5 for v in l] and list(p) == [float(v) for v in l]
PYTHON
}

@test "images: the largest component of a label" {
    scans make s.nii
    scans make l.nii kind=label
    scans make m.nii kind=label set=0,0,0,1
    dbisl-preprocess --label m.nii s.nii -o c.st.zst
    dbisl-restore c.st.zst -o r.nii
    scans equal m.nii r.nii
    dbisl-restore --largest c.st.zst -o r.nii
    scans equal l.nii r.nii
}

@test "images: equal bytes from equal scans, whatever the number of threads and the way in" {
    scans make s.nii "${oblique[@]}"
    scans make l.nii "${oblique[@]}" kind=label
    dbisl-preprocess --spacing 1 --crop label:3 --label l.nii s.nii -o a.st.zst
    OMP_NUM_THREADS=3 dbisl-preprocess --threads 3 --spacing 1 --crop label:3 --label l.nii s.nii >b.st.zst
    same a.st.zst b.st.zst
    dbisl-restore a.st.zst -o a.nii.gz
    dbisl-restore --threads 3 - -o b.nii.gz <a.st.zst
    same a.nii.gz b.nii.gz
    gzip -t a.nii.gz
    [ "$(od -An -tx1 -N10 a.nii.gz | tr -d ' ')" = 1f8b0800000000000003 ] || fail "a time or a name in the gzip header"
    gzip -9 <s.nii >s.nii.gz
    dbisl-preprocess --spacing 1 --crop label:3 --label l.nii --id s s.nii.gz -o c.st.zst
    same a.st.zst c.st.zst
    dbisl-preprocess --spacing 1 --crop label:3 --label l.nii --id s - -o d.st.zst <s.nii
    same a.st.zst d.st.zst
    dbisl-restore a.st.zst >e.nii
    gzip -dc a.nii.gz | cmp - e.nii
}

@test "images: members of archives" {
    need tar
    mkdir in
    scans make in/s.nii.gz "${oblique[@]}"
    scans make in/l.nii "${oblique[@]}" kind=label
    tar -cf a.tar in
    tar -czf a.tar.gz in
    "$PYTHON" -c 'import shutil; shutil.make_archive("a", "zip", ".", "in")'
    dbisl-preprocess --label in/l.nii in/s.nii.gz -o a.st.zst
    for archive in a.tar a.tar.gz a.zip; do
        dbisl-preprocess --label "$archive:in/l.nii" "$archive:in/s.nii.gz" -o b.st.zst
        same a.st.zst b.st.zst
    done
    expect_fault 'a\.zip:in/none' dbisl-preprocess a.zip:in/none -o x.st.zst
    absent x.st.zst
}

@test "images: a file whose name has a colon is a file, with its whole name" {
    scans make s1_2024-01-01T10:30:00.nii.gz shape=9,8,7
    scans make s1_2024-01-01T10:45:00.nii.gz shape=9,8,7 slope=2
    : >s1_2024-01-01T10
    dbisl-preprocess s1_2024-01-01T10:30:00.nii.gz -o c.st.zst
    dbisl-info c.st.zst | grep -q 'id *s1_2024-01-01T10:30:00$'
    dbisl-preprocess s1_2024-01-01T10:45:00.nii.gz -o c.st.zst
    dbisl-info c.st.zst | grep -q 'id *s1_2024-01-01T10:45:00$'
    mkdir in
    cp s1_2024-01-01T10:30:00.nii.gz in
    "$PYTHON" -c 'import shutil; shutil.make_archive("a", "zip", ".", "in")'
    dbisl-preprocess a.zip:in/s1_2024-01-01T10:30:00.nii.gz -o c.st.zst
    dbisl-info c.st.zst | grep -q 'id *s1_2024-01-01T10:30:00$'
}

@test "images: several channels share a grid" {
    scans make a.nii "${oblique[@]}"
    scans make b.nii "${oblique[@]}" slope=2 inter=5
    scans make c.nii "${oblique[@]}" origin=1,2,3
    dbisl-preprocess --normalize none --channel b.nii --compress=none a.nii -o c.st
    "$PYTHON" - "$ROOT/tests" <<'PYTHON'
import sys
sys.path.insert(0, sys.argv[1])
import scans
_, shape, image = scans.read_record("c.st")[0]["image"]
half = len(image) // 2
assert shape[0] == 2 and [2 * v + 5 for v in image[:half]] == list(image[half:])
PYTHON
    expect_fault 'c\.nii: not in the grid of a\.nii' dbisl-preprocess --channel c.nii a.nii -o x.st.zst
    absent x.st.zst
}

@test "images: normalizations" {
    scans make s.nii shape=16,12,10
    for how in zscore zscore:foreground window:-20,90 none; do
        dbisl-preprocess --normalize "$how" --compress=none s.nii -o "c.$how.st"
    done
    "$PYTHON" - "$ROOT/tests" <<'PYTHON'
import math, sys
sys.path.insert(0, sys.argv[1])
import scans
def image(how):
    return scans.read_record(f"c.{how}.st")[0]["image"][2]
raw = image("none")
def zscore(mask):
    mean = sum(mask) / len(mask)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in mask) / len(mask))
    return [(v - mean) / deviation for v in raw]
mean = sum(raw) / len(raw)
for how, wanted in (("zscore", zscore(raw)), ("zscore:foreground", zscore([v for v in raw if v > mean])), ("window:-20,90", [min(1, max(0, (v + 20) / 110)) for v in raw])):
    assert max(abs(a - b) for a, b in zip(image(how), wanted)) < 1e-5, how
PYTHON
}

@test "images: statistics know neither crop nor label" {
    scans make s.nii shape=16,12,10
    scans make l.nii kind=label shape=16,12,10
    dbisl-preprocess --crop label:1 --label l.nii s.nii -o a.st.zst
    dbisl-preprocess s.nii -o b.st.zst
    [ "$(dbisl-info a.st.zst | grep normalization)" = "$(dbisl-info b.st.zst | grep normalization)" ]
}

@test "images: what comes through a pipe is read once, from its first byte" {
    scans make s.nii.gz
    scans make l.nii.gz kind=label
    dbisl-preprocess --label l.nii.gz s.nii.gz -o c.st.zst
    dbisl-metrics c.st.zst c.st.zst -o wanted.tsv
    dbisl-metrics <(cat c.st.zst) <(cat c.st.zst) -o m.tsv
    same wanted.tsv m.tsv
    mkfifo pipe
    cat c.st.zst >pipe &
    local writer=$!
    timeout 20 dbisl-metrics pipe c.st.zst -o m.tsv
    wait "$writer" # not for all children: the test's own time limit is one
    same wanted.tsv m.tsv
}

@test "images: a case's name" {
    mkdir -p patient7
    scans make patient7/my.scan.nii.gz shape=4,4,4
    dbisl-preprocess patient7/my.scan.nii.gz -o c.st.zst
    dbisl-info c.st.zst | grep -q 'id *my.scan$'
    cp patient7/my.scan.nii.gz patient7/mri_norm2.nii.gz
    dbisl-preprocess patient7/mri_norm2.nii.gz -o c.st.zst
    dbisl-info c.st.zst | grep -q 'id *patient7$'
    dbisl-preprocess --id other patient7/my.scan.nii.gz -o c.st.zst
    dbisl-info c.st.zst | grep -q 'id *other$'
}

@test "images: every type, byte order, version and layout that nibabel writes is read, and what is written nibabel reads" {
    need_python nibabel numpy
    "$PYTHON" "$ROOT/tests/images_nibabel.py"
}

@test "images: HDF5 as h5py writes it, with its own label or another" {
    need_python h5py numpy
    "$PYTHON" - <<'PYTHON'
import zlib
import h5py, numpy
random = numpy.random.default_rng(1)
image, label = random.normal(size=(14, 11, 9)), numpy.zeros((14, 11, 9))
label[3:9, 2:8, 1:6] = 1
numpy.save("image.npy", image.astype("f4"))
for name, kind, code, options in (("a", "f4", "u1", {"compression": "gzip", "chunks": (5, 4, 9)}), ("b", ">f8", "i8", {}), ("c", "f4", "f4", {"shuffle": True, "compression": "gzip"})):
    with h5py.File(f"{name}.h5", "w") as f:
        f.create_dataset("image", data=image.astype(kind), **options)
        f.create_dataset("label", data=label.astype(code), **options)
def other(name, **datasets):
    with h5py.File(name, "w") as f:
        for key, data in datasets.items():
            f.create_dataset(key, data=data)
other("none.h5", label=label)
other("plain.h5", image=image)
other("flat.h5", image=image[0])
other("half.h5", image=image, label=label + 0.5)
other("sizes.h5", image=image, label=label[:-1])
other("text.h5", image=numpy.full((2, 2, 2), b"x"))
image[1, 2, 3] = numpy.nan
other("nan.h5", image=image)
for name, mask, data in (("short", 1, b"123"), ("broken", 0, b"no deflate"), ("more", 0, zlib.compress(bytes(5 * 4 * 9 * 4 + 1)))):
    with h5py.File(f"{name}.h5", "w") as f:
        f.create_dataset("image", data=numpy.ones((14, 11, 9), "f4"), chunks=(5, 4, 9), compression="gzip").id.write_direct_chunk((0, 0, 0), data, mask)
with h5py.File("sum.h5", "w") as f:
    f.create_dataset("image", data=label, chunks=(5, 4, 9), fletcher32=True)
with h5py.File("away.h5", "w") as f:
    f["image"] = h5py.ExternalLink("plain.h5", "image")
with h5py.File("huge.h5", "w") as f:
    f.create_dataset("image", shape=(20000, 20000, 20000), dtype="f4", chunks=(64, 64, 64))
PYTHON
    for name in a b c; do
        dbisl-preprocess --normalize none --source-spacing 0.5,0.6,0.7 --compress=none "$name.h5" --id x -o "$name.st"
        dbisl-restore "$name.st" -o "$name.nii.gz"
    done
    cmp a.nii.gz b.nii.gz
    cmp a.nii.gz c.nii.gz
    "$PYTHON" - "$ROOT/tests" <<'PYTHON'
import json, sys
import h5py, numpy
sys.path.insert(0, sys.argv[1])
import scans
tensors, meta = scans.read_record("a.st")
assert numpy.array_equal(numpy.array(tensors["image"][2], "f4").reshape(14, 11, 9), numpy.load("image.npy"))
assert json.loads(meta["spacing"]) == [0.5, 0.6, 0.7] and meta["classes"] == "1"
label = scans.read("a.nii.gz")
assert label["dims"] == (14, 11, 9)
assert numpy.array_equal(numpy.array(label["values"]).reshape(9, 11, 14).T, h5py.File("a.h5")["label"][()])
PYTHON
    dbisl-preprocess --no-label a.h5 -o n.st.zst
    expect_fault 'no tensor "label"' dbisl-restore n.st.zst -o x.nii
    dbisl-preprocess --label a.h5 plain.h5 -o n.st.zst
    expect_fault 'none\.h5: no dataset "image"' dbisl-preprocess none.h5 -o x
    expect_fault 'plain\.h5: no dataset "label"' dbisl-preprocess --label plain.h5 a.h5 -o x
    expect_fault 'flat\.h5.*2D data' dbisl-preprocess flat.h5 -o x
    expect_fault 'half\.h5.*not a whole number' dbisl-preprocess half.h5 -o x
    expect_fault 'sizes\.h5.*different shapes' dbisl-preprocess sizes.h5 -o x
    expect_fault 'text\.h5.*not numbers' dbisl-preprocess text.h5 -o x
    expect_fault 'nan\.h5: voxel 1,2,3 is not a number' dbisl-preprocess nan.h5 -o x
    expect_fault 'huge\.h5.*hardly any data' dbisl-preprocess huge.h5 -o x
    expect_fault 'short\.h5.*chunks is damaged' dbisl-preprocess short.h5 -o x
    expect_fault 'broken\.h5.*chunk of voxels is damaged' dbisl-preprocess broken.h5 -o x
    expect_fault 'more\.h5.*chunk of voxels is damaged' dbisl-preprocess more.h5 -o x
    expect_fault 'sum\.h5.*filter 3; gzip and shuffle are supported' dbisl-preprocess sum.h5 -o x
    expect_fault 'away\.h5.*cannot be opened' dbisl-preprocess away.h5 -o x
    for part in $(seq 0 49); do
        head -c $(($(stat -c %s a.h5) * part / 50)) a.h5 >cut.h5
        expect_fault 'cut\.h5' dbisl-preprocess cut.h5 -o x
    done
    absent x
}

@test "images: what was never written into an HDF5 file is its fill value, and costs no time" {
    need_python h5py numpy
    "$PYTHON" - <<'PYTHON'
import zlib
import h5py, numpy
values = numpy.arange(5 * 4 * 3, dtype="f8").reshape(5, 4, 3)
for name, kind, fill in (("little", "<f4", -7.5), ("big", ">i2", -1000), ("none", "<f4", 0), ("old", "u1", 200)):
    with h5py.File(f"{name}.h5", "w", libver="earliest" if name == "old" else "latest") as f:
        d = f.create_dataset("image", shape=(12, 9, 7), dtype=kind, chunks=(5, 4, 3), compression="gzip", fillvalue=fill)
        for corner in ((0, 0, 0), (5, 4, 3)):
            d[tuple(slice(a, a + n) for a, n in zip(corner, (5, 4, 3)))] = values
        numpy.save(f"{name}.npy", d[()].astype("f4"))
for name, version in (("new", "latest"), ("old", "earliest")):
    with h5py.File(f"many-{name}.h5", "w", libver=version) as f:
        d = f.create_dataset("image", shape=(300, 300, 100), dtype="u1", chunks=(2, 2, 2), compression="gzip", maxshape=(None, None, None))
        for i in range(2000):
            d.id.write_direct_chunk((2 * (i % 15), 2 * (i // 15 % 15), 2 * (i // 225)), zlib.compress(bytes(range(8))))
PYTHON
    for name in little big none old; do
        dbisl-preprocess --normalize none --compress=none "$name.h5" -o "$name.st"
        "$PYTHON" - "$ROOT/tests" "$name" <<'PYTHON'
import sys
import numpy
sys.path.insert(0, sys.argv[1])
import scans
tensors, _ = scans.read_record(f"{sys.argv[2]}.st")
wanted = numpy.load(f"{sys.argv[2]}.npy")
assert wanted.shape == (12, 9, 7) and numpy.array_equal(numpy.array(tensors["image"][2], "f4"), wanted.ravel())
PYTHON
    done
    for name in new old; do
        timeout 10 dbisl-preprocess --normalize none --downsample 10 "many-$name.h5" -o m.st
    done
}

@test "images: an HDF5 file that crashes libhdf5 is one line of error" {
    need_python h5py numpy
    "$PYTHON" - <<'PYTHON'
import h5py, numpy
with h5py.File("crash.h5", "w") as f:
    f["image"] = numpy.arange(24.0).reshape(2, 3, 4)
data = bytearray(open("crash.h5", "rb").read())
at = data.index(b"\x88\0\0\0\0\0\0\0", 0x60)  # where the root group's message says its tree and its heap are
data[at : at + 16] = b"\xff" * 16
open("crash.h5", "wb").write(data)
PYTHON
    expect_fault 'crash\.h5: .*damaged' dbisl-preprocess crash.h5 -o x
    absent x
}

@test "images: a scan that is cut off anywhere" {
    scans make s.nii shape=9,8,7
    scans make s.nii.gz shape=9,8,7
    dbisl-preprocess s.nii -o good.st.zst
    for file in s.nii s.nii.gz; do
        for part in $(seq 0 49); do
            head -c $(($(stat -c %s "$file") * part / 50)) "$file" >"cut.$file"
            expect_fault "cut\\.$file" dbisl-preprocess "cut.$file" -o x
        done
    done
    absent x
}

@test "images: broken scans and labels" {
    scans make s.nii
    scans make l.nii kind=label
    while IFS='|' read -r settings pattern; do
        # shellcheck disable=SC2086 # several settings
        scans make bad.nii $settings
        expect_fault "bad\\.nii: $pattern" dbisl-preprocess bad.nii -o x
    done <<'CASES'
pixdim=0,1,1|the spacing along axis 0 is 0
pixdim=1,nan,1|the spacing along axis 1 is -?nan
pixdim=1,1,inf|the spacing along axis 2 is inf
singular=1|the affine is singular
spacing=0,1,1 pixdim=1,1,1|the affine is singular
origin=nan,0,0|the affine has a value that is not finite
volumes=3|4D data, with 3 volumes
short=1|30 x 24 x 20 voxels of 2 bytes take 28800 bytes from byte 352 on, but there are 29151
axes=RAS spacing=1e-20,1,1|the spacing along axis 0 is 1e-20 mm
spacing=1,1,1e9|the spacing along axis 2 is 1e\+09 mm
offset=1000|.*but there are
offset=1e30|.*begin at byte
offset=nan|.*begin at byte
type=16 set=3,4,5,nan|voxel 3,4,5 is not a number
axes=LSP type=64 set=3,4,5,-inf|voxel 3,4,5 is infinite
slope=1e38|voxel .* is infinite
kind=zero|the image is constant: every voxel is 0
CASES
    while IFS='|' read -r settings pattern; do
        # shellcheck disable=SC2086 # several settings
        scans make bad.nii kind=label $settings
        expect_fault "bad\\.nii: $pattern" dbisl-preprocess --classes 2 --crop label:1 --label bad.nii s.nii -o x
    done <<'CASES'
shape=30,24,19|not in the grid of s\.nii: 30 x 24 x 19 voxels, not 30 x 24 x 20
origin=-10,7,-30|not in the grid of s\.nii: the affines differ
spacing=1,1.2,1.51|not in the grid of s\.nii: the affines differ
set=3,4,5,3|the label of voxel 3,4,5 is 3, not one of 0 to 2
type=4 set=3,4,5,-1|the label of voxel 3,4,5 is -1, not one of 0 to 2
type=16 set=3,4,5,0.5|the label of voxel 3,4,5 is 0\.5, not a whole number
type=64 set=3,4,5,nan|the label of voxel 3,4,5 is -?nan, not a whole number
kind=zero type=2|the label is empty: nothing to crop round
CASES
    scans make bad.nii kind=zero type=2
    expect_fault 'bad\.nii: the label is empty' dbisl-preprocess --label bad.nii s.nii -o x
    dbisl-preprocess --classes 1 --label bad.nii s.nii -o empty.st.zst
    expect_fault 'a crop round the label, but there is no label' dbisl-preprocess --crop label:1 s.nii -o x
    expect_fault 's\.nii: the image is constant in the window' dbisl-preprocess --normalize window:5000,6000 s.nii -o x
    scans make far.nii kind=zero type=16 set=1,2,3,1e-20,-1e30
    expect_fault 'far\.nii: normalized values are beyond' dbisl-preprocess --normalize zscore:foreground far.nii -o x
    expect_fault 's\.nii: .*too few' dbisl-preprocess --downsample 25 s.nii -o x
    expect_fault 's\.nii: .*more than 2\^31 voxels' dbisl-preprocess --spacing 0.001 s.nii -o x
    expect_fault 'a source spacing is for HDF5' dbisl-preprocess --source-spacing 1 s.nii -o x
    expect_fault 'missing\.nii' dbisl-preprocess missing.nii -o x
    printf 'nonsense' >n.nii
    expect_fault 'n\.nii: neither NIfTI' dbisl-preprocess n.nii -o x
    : >e.nii
    expect_fault 'e\.nii: the file is empty' dbisl-preprocess e.nii -o x
    expect_fault 'empty\.st\.zst: neither NIfTI.*, but a zstd file' dbisl-preprocess empty.st.zst -o x
    absent x
}

@test "images: records that cannot be restored" {
    scans make s.nii shape=9,8,7
    scans make l.nii kind=label shape=9,8,7
    dbisl-preprocess s.nii -o c.st.zst
    expect_fault 'c\.st\.zst: record 0: no tensor "label"' dbisl-restore c.st.zst -o x.nii.gz
    dbisl-preprocess --label l.nii --compress=none s.nii -o c.st
    cat c.st c.st >two.st
    expect_fault 'two\.st' dbisl-restore two.st -o x.nii.gz
    expect_fault 'x\.txt: the name of a NIfTI file ends in' dbisl-restore c.st -o x.txt
    while IFS='|' read -r key value pattern; do
        "$PYTHON" - "$ROOT/tests" "$key" "$value" <<'PYTHON'
import sys
sys.path.insert(0, sys.argv[1])
import scans
tensors, meta = scans.read_record("c.st")
if sys.argv[3]:
    meta[sys.argv[2]] = sys.argv[3]
else:
    del meta[sys.argv[2]]
scans.write_record("bad.st", tensors, meta)
PYTHON
        expect_fault "bad\\.st: record 0: $pattern" dbisl-restore bad.st -o x.nii.gz
    done <<'CASES'
source||no metadata "source"
source|{}|metadata "source" is not a scan's grid
source|7|metadata "source"
geometry||no metadata "geometry"
geometry|[]|metadata "geometry"
geometry|[{"op":"orient","axes":[0,0,1],"flip":[false,false,false]}]|metadata "geometry"
geometry|[{"op":"orient","axes":[0,1,2],"flip":[false,false,false]},{"op":"crop","offset":[0,0,0],"size":[9,8,8]}]|metadata "geometry"
geometry|[{"op":"orient","axes":[0,1,2],"flip":[false,false,false]},{"op":"crop","offset":[0,0,9223372036854775807],"size":[9,8,7]}]|metadata "geometry"
geometry|[{"op":"orient","axes":[0,1,2],"flip":[false,false,false]},{"op":"resample","ratio":[1e-9,1,1],"size":[9,8,7]}]|metadata "geometry"
geometry|[{"op":"orient","axes":[0,1,2],"flip":[false,false,false]},{"op":"resample","ratio":[0.5,1,1],"size":[18,8,7]}]|tensor "label" has shape
geometry|[{"op":"orient","axes":[2,1,0],"flip":[false,false,false]}]|tensor "label" has shape
CASES
    absent x.nii.gz x.txt
}

@test "images: a disk that fills up" {
    tmpfs full 64k
    scans make s.nii shape=64,48,40
    scans make l.nii kind=label shape=64,48,40
    dbisl-preprocess --label l.nii s.nii -o c.st.zst
    expect_fault 'full/r\.nii.*No space left' dbisl-restore c.st.zst -o full/r.nii
    expect_fault 'full/c\.st.*No space left' dbisl-preprocess --compress=none s.nii -o full/c.st
    dd if=/dev/zero of=full/filler bs=1k count=62 2>/dev/null
    expect_fault 'full/r\.nii\.gz.*No space left' dbisl-restore c.st.zst -o full/r.nii.gz
    [ "$(ls -A full)" = filler ] || fail "left behind: $(ls -A full)"
}

@test "images: wrong usage" {
    for wrong in "" "a b" "--spacing=1,2 a" "--spacing=0 a" "--downsample=0 a" "--normalize=best a" "--normalize=window:3,3 a" "--normalize=window:1,2x a" \
        "--crop=label a" "--crop=label:-1 a" "--classes=0 a" "--classes=256 a" "--id= a" "--id=a/b a" "--source-spacing=x a" "--nonsense a" "--label=l --no-label a"; do
        # shellcheck disable=SC2086 # several arguments
        expect_usage dbisl-preprocess $wrong -o x
    done
    for wrong in "--from=image a" "--threshold=0.5 a" "--from=prob --threshold=nan a" "--from=prob --largest a" "a b" "--nonsense a"; do
        # shellcheck disable=SC2086 # several arguments
        expect_usage dbisl-restore $wrong -o x.nii
    done
    absent x x.nii
}

@test "images: a scan of the left-atrium challenge (LA_SCAN=FILE.h5)" {
    need_python h5py numpy
    [ -e "${LA_SCAN:-}" ] || skip "LA_SCAN names no file"
    dbisl-preprocess --source-spacing 0.625 --downsample 2 --compress=none "$LA_SCAN" -o c.st
    "$PYTHON" - "$ROOT/tests" "$LA_SCAN" <<'PYTHON'
import json, sys
import h5py, numpy
sys.path.insert(0, sys.argv[1])
import scans
tensors, meta = scans.read_record("c.st")
with h5py.File(sys.argv[2]) as f:
    image, label = f["image"][()].astype("f8"), f["label"][()]
n = [s // 2 for s in image.shape]
def mean(a):
    return a[: 2 * n[0], : 2 * n[1], : 2 * n[2]].reshape(n[0], 2, n[1], 2, n[2], 2).mean((1, 3, 5))
wanted = mean(image)
wanted = (wanted - wanted.mean()) / wanted.std()
assert numpy.abs(wanted.ravel() - numpy.array(tensors["image"][2])).max() < 1e-4
assert numpy.array_equal((mean(label) >= 0.5).ravel(), numpy.array(tensors["label"][2]))
assert json.loads(meta["spacing"]) == [1.25] * 3 and json.loads(meta["affine"])[0][3] == 0.3125
PYTHON
}
