"""compare.py A B fp32|tf32|bf16: two tensor files hold the same, within the precision: floats by relative error of whole tensors, labels by the share of voxels."""

import json
import struct
import subprocess
import sys

import numpy as np

LIMITS = {"fp32": 1e-4, "tf32": 1e-3, "bf16": 2e-2}


def read(name):
    blob = open(name, "rb").read()
    if blob[:4] == b"\x28\xb5\x2f\xfd":
        blob = subprocess.run(["zstd", "-dcq", name], check=True, stdout=subprocess.PIPE).stdout
    at, found = 0, []
    while at < len(blob):
        (length,) = struct.unpack_from("<Q", blob, at)
        header = json.loads(blob[at + 8 : at + 8 + length])
        start, end, tensors = at + 8 + length, 0, {}
        for key, value in header.items():
            if key == "__metadata__":
                continue
            low, high = value["data_offsets"]
            end = max(end, high)
            kind = {"F32": "<f4", "U8": "u1", "I64": "<i8"}[value["dtype"]]
            tensors[key] = np.frombuffer(blob[start + low : start + high], kind).reshape(value["shape"]).astype(np.float64)
        found.append(tensors)
        at = start + end
    return found


def main(first, second, precision):
    limit, bad = LIMITS[precision], 0
    a, b = read(first), read(second)
    if len(a) != len(b) or any(x.keys() != y.keys() for x, y in zip(a, b)):
        sys.exit("not the same tensors")
    for x, y in zip(a, b):
        for key in x:
            if key == "label":
                error, most = np.mean(x[key] != y[key]), 10 * limit
            else:
                error, most = np.linalg.norm(x[key] - y[key]) / max(np.linalg.norm(x[key]), 1e-30), limit
            if not error <= most:
                print(f"{key}: {error:.3g} > {most:.3g}", file=sys.stderr)
                bad = 1
    sys.exit(bad)


main(*sys.argv[1:])
