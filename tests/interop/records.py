"""An independent implementation of dbisl's tensor files, from the format's description alone: struct, json and the zstd command.

    records.py write FILE N         N plain records with made-up contents, all types among them
    records.py list FILE            one JSON line per record, in the words of `dbisl-info --json`
    records.py match FILE           compares such lines on standard input with FILE
    records.py same A B             fails unless both hold the same records
    records.py hostile DIR          files that must be refused, NAME.st each
    records.py safetensors-write F  one record by the safetensors package
    records.py safetensors-read F   the same, read back by it
"""

import json
import math
import random
import struct
import subprocess
import sys

CODES = {"BOOL": "?", "U8": "B", "I8": "b", "U16": "H", "I16": "h", "F16": "e", "U32": "I", "I32": "i", "F32": "f", "U64": "Q", "I64": "q", "F64": "d"}
SIZES = {name: struct.calcsize("<" + code) for name, code in CODES.items()} | {"BF16": 2}


def encode(tensors, metadata):
    """tensors: [(name, dtype, shape, bytes)], laid out as listed; no padding, which the format does not ask for."""
    header, at = {}, 0
    for name, dtype, shape, data in tensors:
        header[name] = {"data_offsets": [at, at + len(data)], "shape": shape, "dtype": dtype}
        at += len(data)
    if metadata is not None:
        header["__metadata__"] = metadata
    text = json.dumps(header, indent=1).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(t[3] for t in tensors)


def decode(blob):
    """The records of a stream of plain bytes, as (tensors by name, metadata)."""
    records, at = [], 0
    while at < len(blob):
        (length,) = struct.unpack_from("<Q", blob, at)
        header = json.loads(blob[at + 8 : at + 8 + length])
        start = at + 8 + length
        metadata = header.pop("__metadata__", {})
        tensors, spans = {}, []
        for name, t in header.items():
            begin, end = t["data_offsets"]
            assert end - begin == math.prod(t["shape"]) * SIZES[t["dtype"]], name
            tensors[name] = (t["dtype"], t["shape"], blob[start + begin : start + end])
            spans.append((begin, end))
        used = 0
        for begin, end in sorted(spans):
            assert begin == used, "holes or overlaps"
            used = end
        at = start + used
        assert at <= len(blob), "torn"
        records.append((tensors, metadata))
    return records


def read(path):
    with open(path, "rb") as file:
        blob = file.read()
    if blob[:4] == b"\x28\xb5\x2f\xfd":
        blob = subprocess.run(["zstd", "-dcq", path], check=True, stdout=subprocess.PIPE).stdout
    return decode(blob)


def invent(number):
    """A record of every type with plain numbers, some of them not finite."""
    rng = random.Random(number)
    tensors = []
    for dtype, code in CODES.items():
        shape = [rng.randint(1, 4) for _ in range(rng.randint(0, 4))]
        count = math.prod(shape)
        if code in "efd":
            values = [rng.choice([rng.randint(-9, 9), rng.random(), math.inf, math.nan]) for _ in range(count)]
        elif code == "?":
            values = [rng.random() < 0.5 for _ in range(count)]
        else:
            values = [rng.randint(0 if code.isupper() else -100, 100) for _ in range(count)]
        tensors.append((f"{dtype.lower()}.t\u00e9st", dtype, shape, struct.pack(f"<{count}{code}", *values)))
    tensors.append(("half.b", "BF16", [2], struct.pack("<2H", 0x3F80, 0xC000)))
    tensors.append(("none", "F32", [3, 0], b""))
    tensors.append(("large", "F32", [40, 50, 7], struct.pack("<14000f", *(math.sin(i * (number + 1)) for i in range(14000)))))
    rng.shuffle(tensors)
    metadata = {"kind": "case", "id": f"case{number}", "affine": json.dumps([[1, 0], [0, 1]]), "note": 'a "quoted" line\nand \u00fc'}
    return tensors, metadata if number % 3 else None


def values_of(dtype, data):
    if dtype == "BF16":
        return [struct.unpack("<f", b"\0\0" + data[i : i + 2])[0] for i in range(0, len(data), 2)]
    return [float(v) for v in struct.unpack(f"<{len(data) // SIZES[dtype]}{CODES[dtype]}", data)]


def describe(records):
    for index, (tensors, metadata) in enumerate(records):
        lines = []
        for name, (dtype, shape, data) in tensors.items():
            values = values_of(dtype, data)
            finite = [v for v in values if math.isfinite(v)]
            line = {"name": name, "dtype": dtype, "shape": shape, "bytes": len(data), "nonfinite": len(values) - len(finite)}
            line |= {"min": min(finite, default=None), "max": max(finite, default=None), "mean": math.fsum(finite) / len(finite) if finite else None}
            lines.append(line)
        yield {"record": index, "tensors": lines, "metadata": metadata}


def match(path):
    shown = [json.loads(line) for line in sys.stdin]
    wanted = list(describe(read(path)))
    assert len(shown) == len(wanted), f"{len(shown)} records instead of {len(wanted)}"
    for a, b in zip(shown, wanted):
        assert a["record"] == b["record"] and a["metadata"] == b["metadata"], (a, b)
        assert list(a["metadata"]) == sorted(a["metadata"])
        assert len(a["tensors"]) == len(b["tensors"])
        for s, t in zip(a["tensors"], b["tensors"]):
            for key, value in t.items():
                close = key == "mean" and value is not None and math.isclose(s[key], value, rel_tol=1e-9, abs_tol=1e-12)
                assert close or s[key] == value, (key, s, t)


def hostile(folder):
    def put(name, text, data=b"", length=None):
        text = text if isinstance(text, bytes) else json.dumps(text).encode()
        with open(f"{folder}/{name}.st", "wb") as file:
            file.write(struct.pack("<Q", len(text) if length is None else length) + text + data)

    def tensor(shape, begin, end, dtype="F32"):
        return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}

    put("header-too-long", {}, length=100_000_001)
    put("header-largest-number", {}, length=2**64 - 1)
    put("header-torn", {}, length=1000)
    put("header-empty", b"")
    put("header-no-json", b"{nonsense}")
    put("header-deep", b'{"t":' + b"[" * 100_000)
    put("header-not-utf8", b'{"\xff":{}}')
    put("overlap", {"a": tensor([2], 0, 8), "b": tensor([2], 4, 12)}, bytes(12))
    put("hole", {"a": tensor([2], 0, 8), "b": tensor([2], 12, 20)}, bytes(20))
    put("hole-first", {"a": tensor([2], 4, 12)}, bytes(12))
    put("negative-shape", {"a": tensor([-2], 0, 8)}, bytes(8))
    put("negative-pair", {"a": tensor([-2, -1], 0, 8)}, bytes(8))
    put("overflowing-shape", {"a": tensor([2**32, 2**32], 0, 0)})
    put("overflowing-bytes", {"a": tensor([2**62], 0, 0)})
    put("offset-beyond-64-bits", {"a": tensor([2], 0, 2**64)}, bytes(8))
    put("offsets-reversed", {"a": tensor([2], 8, 0)}, bytes(8))
    put("size-and-offsets-differ", {"a": tensor([3], 0, 8)}, bytes(8))
    put("unknown-dtype", {"a": tensor([2], 0, 8, "Q7")}, bytes(8))
    put("dtype-a-number", {"a": tensor([2], 0, 8, 7)}, bytes(8))
    put("missing-shape", {"a": {"dtype": "F32", "data_offsets": [0, 8]}}, bytes(8))
    put("missing-offsets", {"a": {"dtype": "F32", "shape": [2]}}, bytes(8))
    put("duplicate", b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}', bytes(2))
    put("metadata-a-number", {"__metadata__": {"step": 3}})
    put("metadata-a-list", {"__metadata__": ["kind", "case"]})
    put("many-dimensions", {"a": tensor([1] * 9, 0, 4)}, bytes(4))
    put("claims-terabytes", {"a": tensor([2**40], 0, 2**42)}, bytes(100))
    put("claims-gigabyte", {"a": tensor([2**28], 0, 2**30)}, bytes(100))
    put("data-torn", {"a": tensor([2], 0, 8)}, bytes(7))
    put("data-after", {"a": tensor([2], 0, 8)}, bytes(9))


def package_write(path):
    import numpy
    from safetensors.numpy import save_file

    save_file({"image": numpy.arange(24, dtype="f4").reshape(2, 3, 4), "label": numpy.ones((3, 5), "u1")}, path, {"kind": "case", "id": "p"})


def package_read(path):
    from safetensors import safe_open

    with safe_open(path, "numpy") as file:
        assert file.metadata() == {"kind": "case", "id": "p"}
        assert file.get_tensor("image").sum() == 276 and file.get_tensor("label").shape == (3, 5)


def main(command, *args):
    if command == "write":
        with open(args[0], "wb") as file:
            file.write(b"".join(encode(*invent(n)) for n in range(int(args[1]))))
    elif command == "list":
        for line in describe(read(args[0])):
            print(json.dumps(line))
    elif command == "match":
        match(args[0])
    elif command == "same":
        assert read(args[0]) == read(args[1]), "the records differ"
    elif command == "hostile":
        hostile(args[0])
    elif command == "safetensors-write":
        package_write(args[0])
    elif command == "safetensors-read":
        package_read(args[0])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
