"""NIfTI files and plain records written and read with nothing but Python's standard library, for the tests of scans.

scans.py make OUT [KEY=VALUE...]     writes a scan or a label, see make()
scans.py dice A B                    Dice of the foreground of two NIfTI labels
scans.py place A B                   fails unless both headers put the same grid into the same place by the same codes
scans.py equal A B                   fails unless the voxels are equal
scans.py probability IN OUT          adds to a plain record `prob` (its label as 0 and 1 per class) and `sdf` (prob - 1/2)
scans.py ramp RECORD|NIFTI EDGE      fails unless every voxel EDGE or more from all sides has the value that kind=ramp gives its place, by the file's affine
scans.py image-as-prob IN OUT        adds to a plain record `prob`, its image
scans.py values RECORD NIFTI         fails unless the record's image holds the scan's values at the same places
"""

import gzip
import json
import math
import struct
import sys

TYPES = {2: "B", 4: "h", 8: "i", 16: "f", 64: "d", 256: "b", 512: "H", 768: "I", 1024: "q", 1280: "Q"}


def rotation(degrees):
    """About x, y and z, one after another."""
    product = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    for axis, angle in enumerate(degrees):
        c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        turn = [[float(i == j) for j in range(3)] for i in range(3)]
        i, j = [a for a in range(3) if a != axis]
        turn[i][i] = turn[j][j] = c
        turn[i][j], turn[j][i] = -s, s
        product = [[sum(turn[r][k] * product[k][q] for k in range(3)) for q in range(3)] for r in range(3)]
    return product


def affine_of(axes, spacing, degrees, origin):
    """axes: three letters, where the voxel axes point to, as in LPS."""
    turn = rotation(degrees)
    affine = [[0.0] * 3 + [origin[i]] for i in range(3)] + [[0.0, 0.0, 0.0, 1.0]]
    for column, letter in enumerate(axes):
        row, sign = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}[letter]
        for i in range(3):
            affine[i][column] = sign * spacing[column] * turn[i][row]
    return affine


def voxel(kind, classes, x, y, z, n):
    """An ellipsoid off the centre, with a second class inside it; the image is a smooth function with an edge."""
    u, v, w = (x + 0.5) / n[0] - 0.45, (y + 0.5) / n[1] - 0.5, (z + 0.5) / n[2] - 0.55
    r = (u / 0.3) ** 2 + (v / 0.35) ** 2 + (w / 0.3) ** 2
    if kind == "label":
        return (2 if classes > 1 and r < 0.3 else 1) if r < 1 else 0
    if kind == "zero":
        return 0
    return int(100 * math.sin(5 * u) + 80 * math.cos(4 * v + w) + (150 if r < 1 else 0) + 7 * ((x * 5 + y * 3 + z) % 4))


def ramp(affine, *at):
    return sum(weight * sum(row[a] * (*at, 1)[a] for a in range(4)) for weight, row in zip((2, -3, 1), affine))


def check_ramp(path, edge):
    with open(path, "rb") as file:
        nifti = file.read(4) == struct.pack("<i", 348)
    if nifti:
        scan = read(path)
        affine, n, values = scan["affine"], scan["dims"], scan["values"]
    else:
        tensors, meta = read_record(path)
        affine, n, values = json.loads(meta["affine"]), tensors["image"][1][1:], tensors["image"][2]
    checked = 0
    for x in range(edge, n[0] - edge):
        for y in range(edge, n[1] - edge):
            for z in range(edge, n[2] - edge):
                value = values[x + n[0] * (y + n[1] * z) if nifti else (x * n[1] + y) * n[2] + z]
                assert abs(value - ramp(affine, x, y, z)) < 2e-3, (x, y, z, value, ramp(affine, x, y, z))
                checked += 1
    assert checked > 100, checked


def header1(n, affine, spacing, datatype, extra):
    h = bytearray(352)
    width = struct.calcsize(TYPES[datatype])
    dims = [3, *n, 1, 1, 1, 1]
    if "volumes" in extra:
        dims = [4, *n, int(extra["volumes"]), 1, 1, 1]
    struct.pack_into("<i", h, 0, 348)
    struct.pack_into("<8h", h, 40, *dims)
    struct.pack_into("<hh", h, 70, datatype, 8 * width)
    struct.pack_into("<8f", h, 76, 1, *spacing, 1, 1, 1, 1)
    struct.pack_into("<3f", h, 108, float(extra.get("offset", 352)), float(extra.get("slope", 1)), float(extra.get("inter", 0)))
    h[123] = 2
    struct.pack_into("<hh", h, 252, 0, int(extra.get("code", 1)))
    for i in range(3):
        struct.pack_into("<4f", h, 280 + 16 * i, *affine[i])
    h[344:348] = b"n+1\0"
    return h


def make(out, settings):
    """kind=image|label|zero|ramp (linear in the place in space), shape, axes, spacing, degrees, origin, type, classes; pixdim, slope, inter, offset, code, volumes put into the header as they are;
    set=X,Y,Z,VALUE,... changes one voxel, and with more values those that follow it; singular=1 makes two columns of the affine equal; short=N drops N bytes."""
    kind = settings.get("kind", "image")
    n = [int(v) for v in settings.get("shape", "30,24,20").split(",")]
    spacing = [float(v) for v in settings.get("spacing", "1,1.2,1.5").split(",")]
    degrees = [float(v) for v in settings.get("degrees", "0,0,0").split(",")]
    origin = [float(v) for v in settings.get("origin", "-11,7,-30").split(",")]
    affine = affine_of(settings.get("axes", "RAS"), spacing, degrees, origin)
    if "singular" in settings:
        for i in range(3):
            affine[i][1] = affine[i][0]
    datatype = int(settings.get("type", "2" if kind == "label" else "4"))
    pixdim = [float(v) for v in settings["pixdim"].split(",")] if "pixdim" in settings else spacing
    values = [ramp(affine, x, y, z) if kind == "ramp" else voxel(kind, int(settings.get("classes", 1)), x, y, z, n) for z in range(n[2]) for y in range(n[1]) for x in range(n[0])]
    if "set" in settings:
        x, y, z, *some = settings["set"].split(",")
        first = (int(z) * n[1] + int(y)) * n[0] + int(x)
        values[first : first + len(some)] = [float(v) if datatype in (16, 64) else int(v) for v in some]
    values *= int(settings.get("volumes", 1))
    data = bytes(header1(n, affine, pixdim, datatype, settings)) + struct.pack(f"<{len(values)}{TYPES[datatype]}", *values)
    data = data[: len(data) - int(settings.get("short", 0))]
    opened = gzip.open(out, "wb", compresslevel=1) if out.endswith(".gz") else open(out, "wb")
    with opened as file:
        file.write(data)


def read(path):
    """Header fields and voxels, x fastest, of a little-endian NIfTI-1 file."""
    with (gzip.open(path) if path.endswith(".gz") else open(path, "rb")) as file:
        h = file.read()
    dims = struct.unpack_from("<8h", h, 40)
    datatype = struct.unpack_from("<h", h, 70)[0]
    slope, inter = struct.unpack_from("<2f", h, 112)
    count = math.prod(dims[1 : dims[0] + 1])
    values = struct.unpack_from(f"<{count}{TYPES[datatype]}", h, int(struct.unpack_from("<f", h, 108)[0]))
    assert len(h) == 352 + struct.calcsize(TYPES[datatype]) * count, "file size"
    return {
        "dims": dims[1 : dims[0] + 1],
        "place": (struct.unpack_from("<3f", h, 80), h[123], h[252:256], h[256:280], h[280:328]),
        "affine": [struct.unpack_from("<4f", h, 280 + 16 * i) for i in range(3)],
        "type": datatype,
        "values": values if slope in (0, 1) and inter == 0 else [slope * v + inter for v in values],
    }


def read_record(path):
    with open(path, "rb") as file:
        data = file.read()
    length = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8 : 8 + length])
    meta = header.pop("__metadata__")
    body = data[8 + length :]
    tensors = {}
    for name, t in header.items():
        code = {"F32": "f", "U8": "B"}[t["dtype"]]
        first, last = t["data_offsets"]
        tensors[name] = (t["dtype"], t["shape"], struct.unpack(f"<{math.prod(t['shape'])}{code}", body[first:last]))
    return tensors, meta


def write_record(path, tensors, meta):
    header, body = {"__metadata__": meta}, b""
    for name, (dtype, shape, values) in tensors.items():
        data = struct.pack(f"<{len(values)}{ {'F32': 'f', 'U8': 'B'}[dtype]}", *values)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + body)


def probability(source, target):
    tensors, meta = read_record(source)
    _, shape, label = tensors["label"]
    classes = int(meta["classes"])
    prob = [float(v == k) for k in range(1, classes + 1) for v in label]
    tensors["prob"] = ("F32", [classes, *shape], prob)
    tensors["sdf"] = ("F32", [classes, *shape], [p - 0.5 for p in prob])
    write_record(target, tensors, meta)


def values(record, scan):
    """Every case voxel, taken to the world by the case's affine and from there to the nearest voxel of the scan, has the scan's value; so the turn is right,
    whatever way it was done. The nearest centre has to be within a thousandth of a millimetre. For --normalize=none without resampling."""
    tensors, meta = read_record(record)
    _, shape, image = tensors["image"]
    affine, nifti = json.loads(meta["affine"]), read(scan)
    n, world = nifti["dims"], {}
    for i, value in enumerate(nifti["values"]):
        at = (i % n[0], i // n[0] % n[1], i // (n[0] * n[1]), 1)
        world[tuple(round(sum(row[a] * at[a] for a in range(4)), 2) for row in nifti["affine"])] = value
    near = [(a, b, c) for a in (0, 0.01, -0.01) for b in (0, 0.01, -0.01) for c in (0, 0.01, -0.01)]
    i = 0
    for x in range(shape[1]):
        for y in range(shape[2]):
            for z in range(shape[3]):
                place = [sum(row[a] * (x, y, z, 1)[a] for a in range(4)) for row in affine[:3]]
                keys = (tuple(round(place[a] + d[a], 2) for a in range(3)) for d in near)
                found = next((world[k] for k in keys if k in world), None)
                assert found is not None and abs(found - image[i]) <= 1e-4 * max(1, abs(found)), (x, y, z, found, image[i])
                i += 1
    for a in range(3):
        column = [affine[i][a] for i in range(3)]
        assert max(range(3), key=lambda i: abs(column[i])) == a and column[a] > 0, "not canonical"


def dice(a, b):
    a, b = read(a)["values"], read(b)["values"]
    assert len(a) == len(b), "sizes"
    return 2 * sum(1 for p, q in zip(a, b) if p == q != 0) / max(1, sum(p != 0 for p in a) + sum(q != 0 for q in b))


def main(command, *args):
    if command == "make":
        make(args[0], dict(a.split("=", 1) for a in args[1:]))
    elif command == "dice":
        print(f"{dice(*args):.6f}")
    elif command == "place":
        a, b = read(args[0]), read(args[1])
        assert a["dims"] == b["dims"][:3] and a["place"] == b["place"], (a["dims"], a["place"], b["dims"], b["place"])
    elif command == "equal":
        a, b = read(args[0]), read(args[1])
        assert a["dims"] == b["dims"] and list(a["values"]) == list(b["values"]), "voxels differ"
    elif command == "probability":
        probability(*args)
    elif command == "ramp":
        check_ramp(args[0], int(args[1]))
    elif command == "image-as-prob":
        tensors, meta = read_record(args[0])
        tensors["prob"] = tensors["image"]
        write_record(args[1], tensors, meta)
    elif command == "values":
        values(*args)
    else:
        sys.exit(f"scans.py: no command {command}")


if __name__ == "__main__":
    main(*sys.argv[1:])
