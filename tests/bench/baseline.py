"""The other side of a comparison in turns, with the protocol of bench_work.c: prepare, warm up, print "ready VERSIONS", then one repetition and its
seconds for each line read; at "stop" or the end of the input "peak MB". "missing WHY" instead of "ready" where a library is not there.

usage: baseline.py step METHOD XxYxZ BATCH LABELED FILTERS   supervised or dtc, a PyTorch training step
       baseline.py infer XxYxZ FILTERS                       PyTorch
       baseline.py window XxYxZ WINDOW STRIDE FILTERS [N]    PyTorch, sliding window over a scan; N > 0: only the first N windows, scaled up to all
       baseline.py cascade CASE XxYxZ                        PyTorch, differentiable distance as a cascade of 3^3 convolutions, with gradient
       baseline.py sdf scipy|edt CASE                        exact signed distance of the label
       baseline.py score scipy|medpy CASE                    Dice, HD95, ASD of the label against itself moved by two voxels
       baseline.py h5 FILE                                   h5py, image and label of one scan into memory
       baseline.py makeh5 CASE FILE                          (no turns) the case as HDF5, compressed as the public left-atrium files are
A CASE is an uncompressed safetensors file. Threads: OMP_NUM_THREADS, else all cores.
"""
import json
import math
import os
import resource
import sys
import time

import numpy as np

THREADS = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count())


def size_of(text):
    return tuple(int(n) for n in text.split("x"))


def load(path):
    types = {"F32": np.float32, "U8": np.uint8}
    with open(path, "rb") as file:
        data = file.read()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    tensors = {}
    for name, at in header.items():
        if name != "__metadata__":
            begin, end = (8 + length + n for n in at["data_offsets"])
            tensors[name] = np.frombuffer(data[begin:end], types[at["dtype"]]).reshape(at["shape"])
    return tensors


def middle(mask, size):
    """The part of this size round the middle of the mask's box."""
    at = []
    for axis, n in enumerate(size):
        on = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        start = (on[0] + on[-1] + 1 - n) // 2 if len(on) else 0
        start = min(max(start, 0), mask.shape[axis] - n)
        at.append(slice(start, start + n))
    return mask[tuple(at)]


def moved(mask):
    out = np.zeros_like(mask)
    out[2:] = mask[:-2]
    return out


def ball(shape):
    grids = np.meshgrid(*[np.arange(n) - n / 2 + 0.5 for n in shape], indexing="ij")
    return min(shape) / 3 - np.sqrt(sum(g**2 for g in grids))


def torch_module():
    import torch

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    return torch, f"PyTorch {torch.__version__}"


def step(method, size, batch, labeled, filters):
    torch, version = torch_module()
    from dualvnet import DualVNet

    shape, batch, labeled = size_of(size), int(batch), int(labeled)
    distance = torch.from_numpy(ball(shape).astype(np.float32))
    y = (distance > 0).float().expand(labeled, 1, *shape)
    r = torch.clamp(distance / 10, -1, 1).expand(labeled, 1, *shape)
    x = 0.2 * torch.randn(batch, 1, *shape) + (distance > 0).float()
    net = DualVNet(filters=int(filters), dropout=0.5)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)

    def run():
        sdf, logits = net(x)
        p = torch.sigmoid(logits)
        q = p[:labeled]
        loss = 1 - (2 * (q * y).sum() + 1e-5) / ((q * q).sum() + (y * y).sum() + 1e-5) + 0.3 * ((sdf[:labeled] - r) ** 2).mean()
        if method == "dtc":
            loss = loss + ((torch.sigmoid(-1500 * sdf) - p) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return run, version


def infer(size, filters):
    torch, version = torch_module()
    from dualvnet import DualVNet

    net = DualVNet(filters=int(filters)).eval()
    x = torch.randn(1, 1, *size_of(size))

    def run():
        with torch.no_grad():
            net(x)

    return run, version


def window(size, patch, stride, filters, first=0):
    """As the field's test code goes over a scan: probabilities added up, divided by how often a voxel was seen."""
    torch, version = torch_module()
    from dualvnet import DualVNet

    net = DualVNet(filters=int(filters)).eval()
    shape, patch, stride = size_of(size), size_of(patch), size_of(stride)
    padded = tuple(max(n, w) for n, w in zip(shape, patch))
    x = torch.randn(1, 1, *padded)
    starts = [sorted({min(i, n - w) for i in range(0, n - w + s, s)}) for n, w, s in zip(padded, patch, stride)]
    places = [(a, b, c) for a in starts[0] for b in starts[1] for c in starts[2]]
    some = places[: int(first) or len(places)]
    if len(some) < len(places):
        version += f", {len(some)} of {len(places)} windows"

    def run(places=some):
        begin = time.perf_counter()
        with torch.no_grad():
            score, count = np.zeros(padded, np.float32), np.zeros(padded, np.float32)
            for place in places:
                at = tuple(slice(o, o + w) for o, w in zip(place, patch))
                score[at] += torch.sigmoid(net(x[(..., *at)])[1])[0, 0].numpy()
                count[at] += 1
            score / np.maximum(count, 1)
        return (time.perf_counter() - begin) * len(starts[0]) * len(starts[1]) * len(starts[2]) / len(places)

    run.warm_up = lambda: run(places[:1])
    return run, version


def cascade(case, size, h=0.35):
    """Distance to the mask, ring after ring: -h log of a 3^3 convolution with exp(-distance/h), the reached voxels set to 1."""
    torch, version = torch_module()
    mask = torch.from_numpy((middle(load(case)["label"] == 1, size_of(size))).astype(np.float32))[None, None]
    g = torch.arange(3.0) - 1
    kernel = torch.exp(-torch.sqrt(g[:, None, None] ** 2 + g[None, :, None] ** 2 + g[None, None] ** 2) / h)[None, None]

    def distance(reached):
        out = torch.zeros_like(reached)
        for ring in range(max(reached.shape[2:])):
            around = torch.nn.functional.pad(reached, [1] * 6, mode="replicate")
            d = torch.nan_to_num(-h * torch.log(torch.nn.functional.conv3d(around, kernel)), posinf=0.0)
            new = (d > 0).float()
            if not new.any():
                break
            out, reached = out + (ring + d) * new, torch.where(new > 0, torch.ones_like(reached), reached)
        return out

    def run():
        p = mask.clone().requires_grad_(True)
        distance(p).sum().backward()

    run.warm_up = lambda: None
    return run, version


def sdf(library, case):
    mask = load(case)["label"] == 1
    if library == "edt":
        import edt
        from importlib.metadata import version

        inside, outside = np.ascontiguousarray(mask), np.ascontiguousarray(~mask)

        def run():
            edt.edt(inside, parallel=THREADS) - edt.edt(outside, parallel=THREADS)

        return run, f"edt {version('edt')}"
    import scipy
    from scipy import ndimage

    def run():
        ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)

    return run, f"scipy {scipy.__version__}"


def score(library, case):
    b = load(case)["label"] == 1
    a = moved(b)
    if library == "medpy":
        from importlib.metadata import version
        from medpy.metric import binary

        def run():
            binary.dc(a, b), binary.hd95(a, b), binary.asd(a, b)

        return run, f"MedPy {version('medpy')}"
    import scipy
    from scipy import ndimage

    cross = ndimage.generate_binary_structure(3, 1)

    def run():
        edge_a, edge_b = (m ^ ndimage.binary_erosion(m, cross) for m in (a, b))
        ab = ndimage.distance_transform_edt(~edge_b)[edge_a]
        ba = ndimage.distance_transform_edt(~edge_a)[edge_b]
        np.percentile(np.hstack([ab, ba]), 95), ab.mean(), 2 * (a & b).sum() / (a.sum() + b.sum())

    return run, f"scipy {scipy.__version__}"


def h5(path):
    import h5py

    def run():
        with h5py.File(path, "r") as file:
            file["image"][:], file["label"][:]

    return run, f"h5py {h5py.__version__}"


def make_h5(case, path):
    import h5py

    tensors = load(case)
    with h5py.File(path, "w") as file:
        for name in ("image", "label"):
            data = tensors[name].reshape(tensors[name].shape[-3:])
            file.create_dataset(name, data=data, compression="gzip")


def main(work, *arguments):
    works = {"step": step, "infer": infer, "window": window, "cascade": cascade, "sdf": sdf, "score": score, "h5": h5}
    if work == "makeh5":
        return make_h5(*arguments)
    try:
        run, version = works[work](*arguments)
    except ImportError as error:
        return print(f"missing {error}")
    getattr(run, "warm_up", run)()
    print(f"ready {version}", flush=True)
    for line in iter(sys.stdin.readline, ""):
        if line == "stop\n":
            break
        begin = time.perf_counter()
        took = run()
        print(f"{took if took is not None and math.isfinite(took) else time.perf_counter() - begin:.6f}", flush=True)
    print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.1f}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
