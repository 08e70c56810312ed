#!/usr/bin/env python3
"""A stage of one's own, in Python: signed distances as dbisl-sdf makes them, by scipy.

    make -f pipelines/demo/Makefile RUNS=runs/mine SDF=examples/my-sdf.py

The whole file format in thirty lines: a safetensors blob (8 bytes with the header's length, a JSON header, raw tensors) in a zstd frame.
"""
import json
import os
import struct
import subprocess
import sys

import numpy
from scipy.ndimage import distance_transform_edt

TYPES = {"F32": "<f4", "U8": "u1"}


def read(path):
    blob = subprocess.run(["zstd", "-dcq", path], stdout=subprocess.PIPE, check=True).stdout
    (length,) = struct.unpack("<Q", blob[:8])
    header = json.loads(blob[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    data = blob[8 + length :]
    tensors = {
        name: numpy.frombuffer(data[slice(*entry["data_offsets"])], TYPES[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in header.items()
    }
    return tensors, metadata


def write(path, tensors, metadata):
    header, data = {"__metadata__": metadata}, b""
    for name, tensor in tensors.items():
        kind = next(k for k, v in TYPES.items() if numpy.dtype(v) == tensor.dtype)
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + tensor.nbytes]}
        data += tensor.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    part = path + ".part"
    with open(part, "wb") as file:
        subprocess.run(["zstd", "-q", "-c"], input=struct.pack("<Q", len(text)) + text + data, stdout=file, check=True)
    os.rename(part, path)


def signed_distance(mask, limit):
    if not mask.any():
        return numpy.full(mask.shape, -1, "<f4")
    if mask.all():
        return numpy.full(mask.shape, 1, "<f4")
    distance = distance_transform_edt(mask) - distance_transform_edt(~mask)
    return numpy.clip(distance / limit, -1, 1).astype("<f4")


def main():
    source, target, limit = sys.argv[-3], sys.argv[-1], 10.0  # ... CASE -o CASE
    tensors, metadata = read(source)
    label = tensors["label"]
    tensors["sdf"] = numpy.stack([signed_distance(label == k, limit) for k in range(1, int(metadata["classes"]) + 1)])
    metadata["sdf"] = '{"normalize":"clip:10","transform":"exact"}'
    write(target, tensors, metadata)


main()
