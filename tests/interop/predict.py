"""Sliding windows, heads, labels and uncertainty written down a second time, in numpy, to compare dbisl-predict's records with.

    predict.py checkpoint FILE [KEY=VALUE...]       the weights of tests/fixtures/network.safetensors as a checkpoint
    predict.py fixture FILE                         the fixture's two images as cases
    predict.py evaluated PREDICTION                 are logits and distances those that PyTorch gave for these images?
    predict.py public FILE                          the weights of tests/fixtures/decoders.safetensors, as a public network with two decoders
    predict.py decoded PREDICTION                   are its two decoders' logits and distances those that PyTorch gave for these images?
    predict.py returned CHECKPOINT PUBLIC           has the checkpoint the public one's tensors, in their order?
    predict.py meta IN OUT [KEY=VALUE...]           the same records with other metadata; an empty value removes the key
    predict.py drop IN OUT NAME                     without a tensor
    predict.py spoil IN OUT NAME VALUE              with one other value in a tensor
    predict.py retype IN OUT NAME                   with one tensor as bytes
    predict.py double IN OUT                        with a second channel, the first one upside down
    predict.py pad IN OUT N                         with N voxels of air on each side of the image
    predict.py padded PREDICTION PADDED N           the same, and nothing in the N voxels on each side?
    predict.py cut CASE OUT WINDOW STRIDE           a stream of one case per window, as the sliding windows cut them
    predict.py mean WINDOWS PREDICTION WINDOW STRIDE uniform|gaussian K   is PREDICTION the mean of the predictions of the windows?
    predict.py formulas PREDICTION HEAD THRESHOLD K  do probability, label and uncertainty follow from logits and distances?
    predict.py same A B [NAME...]                   the same tensors, whatever the metadata
    predict.py near A B TOLERANCE                   tensors that differ by no more
    predict.py mixed FILE                           a label with every value from 0 to the number of classes
    predict.py largest ALL LARGEST                  is LARGEST the largest component of each class of ALL?
    predict.py place SCAN OUT                       NIfTI files of one shape, affine and codes (nibabel)
    predict.py peak COMMAND...                      the command's largest resident memory, in MB
"""

import itertools
import os
import resource
import subprocess
import sys

import numpy
import records

NUMPY = {"F32": "<f4", "U8": "u1", "I64": "<i8"}


def load(path):
    """[(tensors as arrays, metadata)]"""
    return [
        ({name: numpy.frombuffer(data, NUMPY[dtype]).reshape(shape) for name, (dtype, shape, data) in tensors.items()}, metadata)
        for tensors, metadata in records.read(path)
    ]


def save(path, all_records):
    names = {numpy.dtype(v): k for k, v in NUMPY.items()}
    with open(path, "wb") as file:
        for tensors, metadata in all_records:
            file.write(records.encode([(n, names[a.dtype], list(a.shape), a.tobytes()) for n, a in tensors.items()], metadata))


def changed(metadata, settings):
    metadata = dict(metadata)
    for setting in settings:
        key, value = setting.split("=", 1)
        metadata.pop(key, None)
        if value:
            metadata[key] = value
    return metadata


FIXTURE = os.path.join(os.path.dirname(__file__), "..", "fixtures", "network.safetensors")
DECODERS = os.path.join(os.path.dirname(__file__), "..", "fixtures", "decoders.safetensors")


def state(path):
    return {name[6:]: array for name, array in load(path)[0][0].items() if name.startswith("state.")}


def checkpoint(path, *settings):
    save(path, [(state(FIXTURE), changed({}, settings))])


def fixture(path):
    images = load(FIXTURE)[0][0]["image"]
    save(path, [({"image": image}, {"kind": "case", "id": f"image{i}"}) for i, image in enumerate(images)])


def evaluated(prediction):
    wanted, seen = load(FIXTURE)[0][0], load(prediction)
    assert len(seen) == len(wanted["image"])
    for name in ("logits", "sdf"):
        there = numpy.stack([tensors[name] for tensors, _ in seen])
        assert numpy.linalg.norm(there - wanted["eval." + name]) < 1e-4 * numpy.linalg.norm(wanted["eval." + name]), name


def public(path):
    save(path, [(state(DECODERS), {})])


def decoded(prediction):
    """The fixture has every second voxel of the first image."""
    wanted, ((seen, _), *_) = load(DECODERS)[0][0], load(prediction)
    for name in ("logits", "sdf"):
        there = numpy.stack([seen[f"{name}.{decoder}"][:, ::2, ::2, ::2] for decoder in (1, 2)])
        assert numpy.linalg.norm(there - wanted["eval." + name]) < 1e-4 * numpy.linalg.norm(wanted["eval." + name]), name


def returned(path, public):
    ((ours, _),), ((theirs, _),) = load(path), load(public)
    ours = {n: a for n, a in ours.items() if not n.endswith("num_batches_tracked") and not n.startswith("momentum.")}
    assert list(ours) == list(theirs), set(ours) ^ set(theirs)
    for name, array in theirs.items():
        assert numpy.array_equal(ours[name], array), name


def meta(path, out, *settings):
    save(out, [(tensors, changed(metadata, settings)) for tensors, metadata in load(path)])


def drop(path, out, name):
    save(out, [({n: a for n, a in tensors.items() if n != name}, metadata) for tensors, metadata in load(path)])


def spoil(path, out, name, value):
    all_records = load(path)
    for tensors, _ in all_records:
        array = tensors[name].copy()
        array.flat[array.size // 3] = float(value)
        tensors[name] = array
    save(out, all_records)


def retype(path, out, name):
    save(out, [(tensors | {name: tensors[name].astype("u1")}, metadata) for tensors, metadata in load(path)])


def double(path, out):
    all_records = load(path)
    for tensors, _ in all_records:
        tensors["image"] = numpy.concatenate([tensors["image"], tensors["image"][..., ::-1]])
    save(out, all_records)


def pad(path, out, n):
    (tensors, metadata), n = load(path)[0], int(n)
    image = tensors["image"]
    air = numpy.random.default_rng(1).uniform(0, 0.1, [image.shape[0]] + [m + 2 * n for m in image.shape[1:]]) + image.min() - 1
    air[:, n:-n, n:-n, n:-n] = image
    save(out, [({"image": air.astype("<f4")}, metadata)])


def padded(small, large, n):
    small, large, n = load(small)[0][0], load(large)[0][0], int(n)
    assert small.keys() == large.keys() and len(small) == 5
    outside = {"logits": -20, "sdf": -1}
    for name, a in large.items():
        inner = (..., slice(n, -n), slice(n, -n), slice(n, -n))
        assert numpy.array_equal(a[inner], small[name]), name
        a = a.copy()
        a[inner] = outside.get(name, 0)
        assert (a == outside.get(name, 0)).all(), name


def three(text):
    return [int(t) for t in text.split(",")]


def starts(extent, window, stride):
    """First voxels of the windows along one axis: by strides, then one that ends with the scan; a larger window lies round the scan."""
    if extent <= window:
        return [-((window - extent) // 2)]
    found = []
    while not found or found[-1] + window < extent:
        found.append(min(len(found) * stride, extent - window))
    return found


def places(shape, window, stride):
    return list(itertools.product(*(starts(*axis) for axis in zip(shape, window, stride))))


def cut(path, out, window, stride):
    ((tensors, metadata),) = load(path)
    window, stride, image, cases = three(window), three(stride), tensors["image"], []
    padded = numpy.pad(image, [(0, 0)] + [(w, w) for w in window], mode="edge")
    for place in places(image.shape[1:], window, stride):
        part = tuple(slice(p + w, p + 2 * w) for p, w in zip(place, window))
        cases.append(({"image": numpy.ascontiguousarray(padded[(slice(None),) + part])}, {"kind": "case", "id": "window"}))
    save(out, cases)


def profile(size, kind):
    z = (numpy.arange(size) - (size - 1) / 2) / (size / 8)
    return numpy.exp(-z * z / 2) if kind == "gaussian" else numpy.ones(size)


def sigmoid(x):
    return 1 / (1 + numpy.exp(-x))


def mean(windows, prediction, window, stride, kind, k):
    ((wanted, _),) = load(prediction)
    window, stride, k = three(window), three(stride), float(k)
    classes, *shape = wanted["prob"].shape
    px, py, pz = (profile(w, kind) for w in window)
    weight = px[:, None, None] * py[None, :, None] * pz[None, None, :]
    total, sums = numpy.zeros(shape), {name: numpy.zeros([classes] + shape) for name in ("seg", "step", "logits", "sdf")}
    seen = load(windows)
    all_places = places(shape, window, stride)
    assert len(seen) == len(all_places) > 1
    for (tensors, _), place in zip(seen, all_places):
        inside = tuple(slice(max(0, -p), min(w, e - p)) for p, w, e in zip(place, window, shape))
        there = tuple(slice(max(0, p), min(e, p + w)) for p, w, e in zip(place, window, shape))
        logits, sdf = (tensors[name].astype(float) for name in ("logits", "sdf"))
        for name, value in (("seg", sigmoid(logits)), ("step", sigmoid(k * sdf)), ("logits", logits), ("sdf", sdf)):
            sums[name][(slice(None),) + there] += (weight * value)[(slice(None),) + inside]
        total[there] += weight[inside]
    for name in sums:
        sums[name] /= total
    for name in ("logits", "sdf"):
        assert numpy.abs(sums[name] - wanted[name]).max() < 1e-5, name
    assert numpy.abs((sums["seg"] + sums["step"]) / 2 - wanted["prob"]).max() < 1e-5
    assert numpy.ptp(wanted["prob"]) > 1e-3


def entropy(p):
    with numpy.errstate(divide="ignore", invalid="ignore"):
        return numpy.nan_to_num(-(p * numpy.log2(p) + (1 - p) * numpy.log2(1 - p)))


def formulas(path, head, threshold, k):
    ((t, _),) = load(path)
    seg, step = sigmoid(t["logits"].astype(float)), sigmoid(float(k) * t["sdf"].astype(float))
    p = {"seg": seg, "sdf": step, "both": (seg + step) / 2}[head]
    assert numpy.abs(p - t["prob"]).max() < 1e-5
    unsure = (1 - (1 - entropy(p)) * (1 - abs(seg - step))).mean(0)
    assert numpy.abs(unsure - t["uncertainty"]).max() < 1e-4
    assert t["uncertainty"].min() >= 0 and t["uncertainty"].max() <= 1
    above = t["prob"].max(0) > float(threshold)
    assert (t["label"] == numpy.where(above, t["prob"].argmax(0) + 1, 0)).all()
    assert 0 < above.mean() < 1, "all voxels are alike: a test of nothing"


def same(a, b, *names):
    first, second = load(a), load(b)
    assert len(first) == len(second)
    for (x, _), (y, _) in zip(first, second):
        for name in names or sorted(x.keys() | y.keys()):
            assert x[name].shape == y[name].shape and x[name].tobytes() == y[name].tobytes(), name


def near(a, b, tolerance):
    for (x, _), (y, _) in zip(load(a), load(b)):
        assert x.keys() == y.keys()
        for name in x:
            assert numpy.abs(x[name].astype(float) - y[name]).max() <= float(tolerance), name


def mixed(path):
    for tensors, metadata in load(path):
        assert set(numpy.unique(tensors["label"])) == set(range(int(metadata["classes"]) + 1)), numpy.unique(tensors["label"])


def largest(every, kept):
    from scipy import ndimage

    for (x, _), (y, _) in zip(load(every), load(kept)):
        for value in range(1, x["label"].max() + 1):
            parts, count = ndimage.label(x["label"] == value, numpy.ones((3, 3, 3)))
            sizes = numpy.bincount(parts.flat)[1:]
            assert count > 1, "one component: a test of nothing"
            assert ((parts == 1 + sizes.argmax()) == (y["label"] == value)).all()


def place(scan, out):
    import nibabel

    a, b = nibabel.load(scan), nibabel.load(out)
    assert a.shape == b.shape and numpy.allclose(a.affine, b.affine, atol=1e-5), (a.shape, b.shape, a.affine, b.affine)
    assert a.header["sform_code"] == b.header["sform_code"] and a.header["qform_code"] == b.header["qform_code"]
    print(b.get_data_dtype(), float(numpy.asarray(b.dataobj).min()), float(numpy.asarray(b.dataobj).max()))


def peak(*command):
    subprocess.run(command, check=True)
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 // 10**6)


COMMANDS = (checkpoint, fixture, evaluated, public, decoded, returned, meta, drop, spoil, retype, double, pad, padded, cut, mean, formulas, same, near, mixed, largest, place,
            peak)

if __name__ == "__main__":
    command = {c.__name__: c for c in COMMANDS}.get(sys.argv[1] if len(sys.argv) > 1 else "")
    if not command:
        sys.exit(__doc__)
    command(*sys.argv[2:])
