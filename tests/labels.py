"""Plain records with labels, written with Python's standard library, and their distances and scores computed by scipy: for the tests of dbisl-sdf and
dbisl-metrics.

labels.py make OUT [KEY=VALUE...]          writes one record, see make()
labels.py sdf RECORD NORMALIZE             fails unless `sdf` is scipy's distance map of `label`, normalized
labels.py metrics TSV UNIT TOLERANCE P R   fails unless the table holds scipy's scores of the records P and R
labels.py fixture FILE                     see fixture()
labels.py same-but A B TENSOR KEY...       fails unless two records are equal but for a tensor and metadata
"""

import json
import math
import struct
import sys


def load(path):
    with open(path, "rb") as file:
        blob = file.read()
    (length,) = struct.unpack("<Q", blob[:8])
    header = json.loads(blob[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    body = blob[8 + length :]
    return {name: (e["dtype"], e["shape"], body[slice(*e["data_offsets"])]) for name, e in header.items()}, metadata


def save(path, tensors, metadata):
    header, body = {"__metadata__": metadata}, b""
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + body)


def make(path, **keys):
    """kind: blobs (class k a ball of its own), empty, full, speck (a ball and a lone voxel far from it); shift, radius: of the balls. classes: number of
    classes, `none` to leave it out. spacing: of the affine, `none` to leave it out. prob: also a `prob`, soft balls; prob=VALUE puts one such value
    into it. dtype, name: of the label's tensor."""
    shape = [int(n) for n in keys.get("shape", "20,17,14").split(",")]
    classes, shift, radius = int(keys.get("balls", 1)), float(keys.get("shift", 0)), float(keys.get("radius", 4))
    kind = keys.get("kind", "blobs")
    label, prob = bytearray(), [[] for _ in range(classes)]
    for x in range(shape[0]):
        for y in range(shape[1]):
            for z in range(shape[2]):
                value = {"full": 1}.get(kind, 0)
                for k in range(classes):
                    centre = (shape[0] * (k + 1) / (classes + 1) + shift, shape[1] / 2 - k, shape[2] / 2)
                    d = math.dist((x, y, z), centre)
                    if kind in ("blobs", "speck") and d < radius:
                        value = k + 1
                    prob[k].append(1 / (1 + math.exp(max(-30, min(30, (d - radius) / 0.7)))))
                if kind == "speck" and x == y == z == 0:
                    value = 1
                label.append(value)
    tensors = {keys.get("name", "label"): ("U8", shape, bytes(label))}
    if keys.get("dtype") == "F32":
        tensors["label"] = ("F32", shape, struct.pack(f"<{len(label)}f", *label))
    if "prob" in keys:
        if keys["prob"]:
            prob[0][5] = float(keys["prob"])
        tensors["prob"] = ("F32", [classes] + shape, b"".join(struct.pack(f"<{len(p)}f", *p) for p in prob))
    metadata = {"kind": "case", "id": keys.get("id", "ball"), "history": "[]", "note": "kept"}
    if keys.get("classes") != "none":
        metadata["classes"] = keys.get("classes", str(classes))
    if keys.get("spacing") != "none":
        spacing = [float(s) for s in keys.get("spacing", "0.7,1,1.6").split(",")]
        metadata["spacing"] = json.dumps(spacing)
        metadata["affine"] = json.dumps([[spacing[i] * (i == j) if j < 3 else 5.0 for j in range(4)] for i in range(3)] + [[0, 0, 0, 1]])
    save(path, tensors, metadata)


def fixture(path):
    """Writes the pairs of tests/fixtures/metrics.safetensors to p.st and r.st, their scores to expected.json."""
    tensors, metadata = load(path)
    spacing = [0.625, 0.625, 1.25]
    affine = json.dumps([[spacing[i] * (i == j) if j < 3 else 0.0 for j in range(4)] for i in range(3)] + [[0, 0, 0, 1]])
    for side in "prediction", "reference":
        with open(f"{side[0]}.st", "wb") as stream:
            for c in range(6):
                save("one.st", {"label": tensors[f"case{c}.{side}"]}, {"id": str(c), "classes": "1", "affine": affine})
                with open("one.st", "rb") as one:
                    stream.write(one.read())
    with open("expected.json", "w") as file:
        file.write(metadata["expected"])


def array(tensor):
    import numpy

    dtype, shape, data = tensor
    return numpy.frombuffer(data, {"U8": "u1", "F32": "<f4"}[dtype]).reshape(shape)


def inner_boundary(mask):
    import numpy
    from scipy.ndimage import binary_erosion

    return mask & ~binary_erosion(mask, border_value=1) if mask.any() else numpy.zeros_like(mask)


def check_sdf(path, normalize):
    import numpy
    from scipy.ndimage import distance_transform_edt as edt

    tensors, metadata = load(path)
    assert json.loads(metadata["sdf"])["normalize"] == normalize, metadata["sdf"]
    label, sdf = array(tensors["label"]), array(tensors["sdf"])
    assert list(sdf.shape) == [int(metadata["classes"])] + list(label.shape), sdf.shape
    for k in range(len(sdf)):
        mask = label == k + 1
        inside, outside = edt(mask), edt(~mask)
        if normalize == "max":
            want = inside / inside.max() - outside / outside.max() if mask.any() else 0 * inside
            want[inner_boundary(mask)] = 0
        else:
            want = inside - outside if mask.any() else 0 * inside - math.dist((0, 0, 0), mask.shape)
            if normalize != "none":
                want = numpy.clip(want / float(normalize[5:]), -1, 1)
        numpy.testing.assert_allclose(sdf[k], want, atol=1e-4)


def scores(p, r, spacing, tolerance):
    import numpy
    from scipy.ndimage import binary_erosion, distance_transform_edt as edt

    both, voxel = (p & r).sum(), math.prod(spacing)
    surface_p, surface_r = p & ~binary_erosion(p), r & ~binary_erosion(r)
    there, back = edt(~surface_r, sampling=spacing)[surface_p], edt(~surface_p, sampling=spacing)[surface_r]
    distances = numpy.concatenate([there, back])
    return {
        "dice": 2 * both / (p.sum() + r.sum()),
        "jaccard": both / (p | r).sum(),
        "precision": both / p.sum(),
        "recall": both / r.sum(),
        "volume": voxel * p.sum(),
        "reference_volume": voxel * r.sum(),
        "volume_difference": voxel * (float(p.sum()) - float(r.sum())),
        "hd": distances.max(),
        "hd95": numpy.percentile(distances, 95),
        "asd": there.mean(),
        "assd": (there.mean() + back.mean()) / 2,
        "surface_dice": (distances <= tolerance).mean(),
    }


def check_metrics(table, unit, tolerance, prediction, reference):
    with open(table) as file:
        names, *rows = [line.rstrip("\n").split("\t") for line in file]
    p, r = load(prediction), load(reference)
    spacing = json.loads(r[1]["spacing"]) if unit == "mm" else [1, 1, 1]
    p, r = array(p[0]["label"]), array(r[0]["label"])
    assert len(rows) == max(p.max(), r.max()), rows
    for row in rows:
        row = dict(zip(names, row))
        k = int(row["class"])
        want = scores(p == k, r == k, spacing, float(tolerance))
        assert list(want) == names[2:-1], names
        for name, value in want.items():
            assert abs(float(row[name]) - value) < 1e-4, (k, name, row[name], value)


def check_same(a, b, tensor, *keys):
    (tensors_a, metadata_a), (tensors_b, metadata_b) = load(a), load(b)
    for tensors, metadata in ((tensors_a, metadata_a), (tensors_b, metadata_b)):
        tensors.pop(tensor, None)
        for key in keys:
            metadata.pop(key, None)
    assert tensors_a == tensors_b and metadata_a == metadata_b, (metadata_a, metadata_b)


def main(command, *rest):
    if command == "make":
        make(rest[0], **dict(item.split("=", 1) for item in rest[1:]))
    else:
        {"sdf": check_sdf, "metrics": check_metrics, "same-but": check_same, "fixture": fixture}[command](*rest)


if __name__ == "__main__":
    main(*sys.argv[1:])
