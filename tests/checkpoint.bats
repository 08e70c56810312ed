#!/usr/bin/env bats
# dbisl-init and dbisl-ema: what their checkpoints hold, against numbers computed in Python, and what they refuse.

load helper

bats_require_minimum_version 1.5.0

setup() {
    cd "$BATS_TEST_TMPDIR" || return
}

@test "init: the same seed gives the same bytes, another seed others" {
    expect 0 dbisl-init --filters 2 --seed 5 -o a
    expect 0 dbisl-init --filters 2 --seed 5 -o b
    expect 0 dbisl-init --filters 2 --seed 6 -o c
    same a b
    run ! cmp -s a c
    dbisl-init --filters 2 --seed 5 >d
    same a d
}

@test "init --init: kernels of another spread, known to the history; none with --from" {
    expect 0 dbisl-init --filters 2 --seed 5 -o a
    expect 0 dbisl-init --filters 2 --seed 5 --init pytorch -o b
    expect 0 dbisl-init --filters 2 --seed 5 --init kaiming -o c
    cmp a b
    run ! cmp -s a c
    expect 0 dbisl-info --history c
    [[ $output == *kaiming* ]]
    expect_usage dbisl-init --init kaiming --from a -o d
    expect_usage dbisl-init --init wide -o d
}

@test "init: an independent reader finds PyTorch's names and shapes" {
    need_python json
    expect 0 dbisl-init --norm batch --channels 2 --classes 3 --filters 2 --compress=none -o s.safetensors
    "$PYTHON" - <<'EOF'
import json, struct
f = open("s.safetensors", "rb")
h = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
m = h.pop("__metadata__")
assert m["kind"] == "checkpoint" and m["step"] == "0" and m["sdf_sign"] == "positive-inside", m
assert json.loads(m["architecture"]) == {"name": "dual-vnet", "channels": 2, "classes": 3, "filters": 2}, m
assert h["block_one.conv.0.weight"]["shape"] == [2, 2, 3, 3, 3]
assert h["block_five_up.conv.0.weight"]["shape"] == [32, 16, 2, 2, 2]
assert h["out_conv2.weight"]["shape"] == [3, 2, 1, 1, 1]
assert h["block_nine.conv.1.num_batches_tracked"] == {"dtype": "I64", "shape": [], "data_offsets": h["block_nine.conv.1.num_batches_tracked"]["data_offsets"]}
assert sum(k.startswith("momentum.") for k in h) == 29 * 4 + 4
EOF
}

@test "init: a PyTorch network's state_dict and ours have the same names and shapes" {
    need_python json
    expect 0 dbisl-init --norm batch --filters 2 --compress=none -o s.safetensors
    # the fixture holds a state_dict as PyTorch gave it, behind "state."
    "$PYTHON" - s.safetensors "$FIXTURES/network.safetensors" <<'EOF'
import json, struct, sys
def header(path):
    with open(path, "rb") as f:
        return json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
expected = {k[6:]: (v["dtype"], v["shape"]) for k, v in header(sys.argv[2]).items() if k.startswith("state.")}
ours = {k: (v["dtype"], v["shape"]) for k, v in header(sys.argv[1]).items() if k != "__metadata__" and not k.startswith("momentum.")}
for names in (expected, ours):
    for name in names:
        if name.endswith("num_batches_tracked"):
            names[name] = "one number"  # PyTorch saves a scalar; some writers of safetensors make it [1]
assert len(ours) > 100 and ours == expected, {k: (ours.get(k), expected.get(k)) for k in set(ours) | set(expected) if ours.get(k) != expected.get(k)}
EOF
}

@test "init --from: a teacher has the student's weights and no momentum" {
    expect 0 dbisl-init --filters 2 --seed 5 -o s
    expect 0 dbisl-init --from s -o t
    expect 0 dbisl-info --json t
    [[ $output == *'"block_one.conv.0.weight"'* && $output != *momentum.* ]]
    expect 0 dbisl-info --history t
    [[ $output == *init* ]]
    expect 0 dbisl-init --from - -o u <s
    same t u
}

@test "init --from: a public state_dict is read, --flip-sdf turns its distance head alone" {
    need_python json
    expect 0 dbisl-init --norm batch --filters 2 --seed 5 --compress=none -o s.safetensors
    "$PYTHON" - <<'EOF'
import json, struct
f = open("s.safetensors", "rb")
h = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
data, out, header = f.read(), b"", {}
for name, t in h.items():
    if name == "__metadata__" or name.startswith("momentum."):
        continue
    piece = data[slice(*t["data_offsets"])]
    shape = [1] if name.endswith("tracked") else t["shape"]
    header[name] = {"dtype": t["dtype"], "shape": shape, "data_offsets": [len(out), len(out) + len(piece)]}
    out += piece
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
open("public.safetensors", "wb").write(struct.pack("<Q", len(text)) + text + out)
EOF
    expect 0 dbisl-init --from public.safetensors --compress=none -o plain.safetensors
    expect 0 dbisl-init --from public.safetensors --flip-sdf --compress=none -o turned.safetensors
    "$PYTHON" - <<'EOF'
import json, struct
def read(name):
    f = open(name, "rb")
    h = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
    data = f.read()
    return {k: (t["dtype"], data[slice(*t["data_offsets"])]) for k, t in h.items() if k != "__metadata__"}
start, plain, turned = read("s.safetensors"), read("plain.safetensors"), read("turned.safetensors")
for name, (dtype, data) in plain.items():
    assert data == start[name][1], name
    if name.startswith("out_conv."):
        n = len(data) // 4
        assert struct.unpack(f"{n}f", turned[name][1]) == tuple(-x for x in struct.unpack(f"{n}f", data)), name
    else:
        assert turned[name][1] == data, name
EOF
    dbisl-init --filters 2 -o ours
    expect_fault "ours: .*positive inside" dbisl-init --from ours --flip-sdf -o never
    absent never
}

@test "ema: the mean of two checkpoints, as numpy takes it" {
    need_python numpy
    dbisl-init --filters 2 --seed 5 -o s
    dbisl-init --from s --compress=none -o t.safetensors
    dbisl-init --filters 2 --seed 6 --compress=none -o u.safetensors
    expect 0 dbisl-ema --decay 0.75 --no-warmup --compress=none t.safetensors u.safetensors -o e.safetensors
    expect 0 dbisl-ema --decay 0.75 --compress=none t.safetensors u.safetensors -o w.safetensors
    "$PYTHON" - <<'EOF'
import json, struct, numpy as np
def read(name):
    f = open(name, "rb")
    h = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
    data = f.read()
    return {k: np.frombuffer(data[slice(*t["data_offsets"])], "<f4" if t["dtype"] == "F32" else "<i8") for k, t in h.items() if k != "__metadata__"}
t, u, e, w = (read(n + ".safetensors") for n in "tuew")
assert not [k for k in e if k.startswith("momentum.")]
for k in e:
    assert np.allclose(e[k], 0.75 * t[k] + 0.25 * u[k], rtol=1e-6, atol=1e-7), k
    assert np.array_equal(w[k], u[k]), k  # with warm-up, before the first step: all student
EOF
    cp t.safetensors in-place
    expect 0 dbisl-ema --decay 0.75 --no-warmup --compress=none in-place u.safetensors -o in-place
    same in-place e.safetensors
}

@test "ema: other architectures and other files are refused" {
    dbisl-init --filters 2 -o s
    dbisl-init --filters 3 -o three
    expect_fault "architecture" dbisl-ema s three -o out
    expect_fault "missing: " dbisl-ema s missing -o out
    expect_fault "missing: " dbisl-ema missing s -o out
    absent out
}

@test "init --norm: chooses the normalization, and a file's own is not turned into another" {
    need_python json
    for norm in batch instance instance:affine group:2; do
        expect 0 dbisl-init --filters 2 --seed 5 --norm $norm --compress=none -o $norm.safetensors
        expect 0 dbisl-init --from $norm.safetensors -o $norm.copy
        expect 0 dbisl-init --from $norm.safetensors --norm $norm -o $norm.copy
    done
    dbisl-init --filters 2 --seed 5 --compress=none -o plain.safetensors
    same instance:affine.safetensors plain.safetensors
    [[ $(dbisl-info group:2.safetensors) == *'"norm":"group:2"'* ]]
    expect_fault "instance, not batch" dbisl-init --from instance.safetensors --norm batch -o never
    expect_fault "normalization, group:2, is not the teacher's, instance" dbisl-ema instance.safetensors group:2.safetensors -o never
    expect 2 dbisl-init --norm layer -o never
    expect_fault "4 groups" dbisl-init --filters 6 --norm group:4 -o never
    absent never
}

@test "init --from: the normalization of a public state_dict" {
    need_python json
    for norm in instance group:2; do
        dbisl-init --filters 2 --seed 5 --norm $norm --compress=none -o ours.safetensors
        # what PyTorch knows of it: no metadata, no momentum
        "$PYTHON" - ours.safetensors $norm.safetensors <<'EOF'
import json, struct, sys
with open(sys.argv[1], "rb") as f:
    header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
    data = f.read()
out, kept = {}, b""
for name, t in header.items():
    if name != "__metadata__" and not name.startswith("momentum."):
        piece = data[slice(*t["data_offsets"])]
        out[name] = dict(t, data_offsets=[len(kept), len(kept) + len(piece)])
        kept += piece
text = json.dumps(out).encode()
with open(sys.argv[2], "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text + kept)
EOF
    done
    expect 0 dbisl-init --from instance.safetensors -o from
    [[ $(dbisl-info from) == *'"norm":"instance"'* ]]
    expect_fault "instance:affine or group:N" dbisl-init --from group:2.safetensors -o never
    absent never
    expect 0 dbisl-init --from group:2.safetensors --norm group:2 -o from
    [[ $(dbisl-info from) == *'"norm":"group:2"'* ]]
    expect 0 dbisl-init --from group:2.safetensors --norm instance:affine -o from
}

@test "init --decoders: a second decoder, and one as it always was" {
    expect 0 dbisl-init --filters 2 --decoders 2 --seed 5 -o two
    [[ $(dbisl-info two) == *'"classes":1,"decoders":2,"filters":2'* ]]
    [[ $(dbisl-info --history two) == *decoders* ]]
    expect 0 dbisl-init --filters 2 --decoders 1 --seed 5 -o one
    dbisl-init --filters 2 --seed 5 -o plain
    same one plain
    expect 0 dbisl-init --from two -o teacher
    expect 0 dbisl-ema teacher two -o out
    rm out
    expect_fault "1 decoder, the teacher's 2" dbisl-ema two one -o out
    expect_fault "2 decoders, the teacher's 1" dbisl-ema one two -o out
    expect_usage dbisl-init --decoders 3 -o out
    expect_usage dbisl-init --decoders 0 -o out
    expect_usage dbisl-init --from two --decoders 2 -o out
    absent out
}

@test "init --from: a public network with two decoders is read, predicts what PyTorch gave, and goes back" {
    need_python numpy
    tool() { "$PYTHON" "$ROOT/tests/interop/predict.py" "$@"; }
    tool public public.safetensors
    tool fixture images.st
    expect 0 dbisl-init --from public.safetensors --compress=none -o ours.safetensors
    [[ $(dbisl-info ours.safetensors) == *'"decoders":2'* ]]
    tool returned ours.safetensors public.safetensors
    expect 0 dbisl-predict --window whole --decoder each --output logits,sdf ours.safetensors images.st --compress=none -o seen.st
    tool decoded seen.st
    # --flip-sdf: both distance heads, and nothing else
    expect 0 dbisl-init --from public.safetensors --flip-sdf --compress=none -o turned.safetensors
    "$PYTHON" - <<'EOF'
import os, sys
sys.path.insert(0, os.environ["ROOT"] + "/tests/interop")
from predict import load
((plain, _),), ((turned, _),) = load("ours.safetensors"), load("turned.safetensors")
heads = {f"decoder{d}.out_conv.{part}" for d in (1, 2) for part in ("weight", "bias")}
assert heads == {n for n, a in plain.items() if (turned[n] != a).any()}
assert all((turned[n] == -plain[n]).all() for n in heads)
EOF
}

@test "torn checkpoints give one line and no file" {
    dbisl-init --filters 1 -o s
    dbisl-init --filters 1 --compress=none -o p
    local size cut
    size=$(stat -c %s p)
    for cut in 0 1 7 8 9 100 $((size / 2)) $((size - 1)); do
        head -c "$cut" p >torn
        expect_fault "torn: " dbisl-init --from torn -o out
    done
    size=$(stat -c %s s)
    for cut in 1 $((size / 3)) $((size - 1)); do
        head -c "$cut" s >torn
        expect_fault "torn: " dbisl-ema torn s -o out
        expect_fault "torn: " dbisl-ema s torn -o out
    done
    cat s s >two
    expect_fault "two: " dbisl-init --from two -o out
    absent out
}

@test "a full disk leaves no checkpoint" {
    tmpfs small 16k
    expect_fault "." dbisl-init --filters 2 -o small/s
    absent small/s
    dbisl-init --filters 2 -o s
    expect_fault "." dbisl-ema s s -o small/t
    [ -z "$(ls -A small)" ] || fail "left behind: $(ls -A small)"
}

@test "wrong usage" {
    expect_usage dbisl-init --filters 0 -o out
    expect_usage dbisl-init --filters 300 -o out
    expect_usage dbisl-init --classes x -o out
    expect_usage dbisl-init --channels 1000 -o out
    expect_usage dbisl-init --flip-sdf -o out
    expect_usage dbisl-init --from s --filters 2 -o out
    expect_usage dbisl-init something
    expect_usage dbisl-init --device cpu
    expect_usage dbisl-ema
    expect_usage dbisl-ema one
    expect_usage dbisl-ema one two three
    expect_usage dbisl-ema --decay 2 one two
    expect_usage dbisl-ema --decay nan one two
    absent out
}
