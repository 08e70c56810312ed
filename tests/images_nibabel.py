"""NIfTI against nibabel, both ways; run in an empty folder with the programs on PATH."""

import itertools
import json
import subprocess
import sys

import nibabel
import numpy
from nibabel.orientations import aff2axcodes

sys.path.insert(0, __file__.rsplit("/", 1)[0])
import scans  # noqa: E402

random = numpy.random.default_rng(5)
SHAPE = (7, 6, 5)


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stderr)
    assert not done.stderr, (command, done.stderr)


def affine(codes="LPS"):
    return numpy.array(scans.affine_of(codes, (0.7, 1.3, 2.5), (20, -15, 8), (-31, 12.5, 60)))


def check(path, reference=None):
    """The case of a scan against nibabel's own turn to the closest canonical axes; of `reference` where nibabel cannot read the path."""
    run("dbisl-preprocess", "--normalize=none", "--compress=none", path, "-o", "c.st")
    tensors, meta = scans.read_record("c.st")
    wanted = nibabel.as_closest_canonical(nibabel.load(reference or path))
    assert aff2axcodes(wanted.affine) == ("R", "A", "S")
    _, shape, values = tensors["image"]
    assert tuple(shape) == (1, *wanted.shape), path
    numpy.testing.assert_allclose(numpy.array(values).reshape(wanted.shape), wanted.get_fdata(), rtol=2e-7, atol=1e-6, err_msg=path)
    numpy.testing.assert_allclose(json.loads(meta["affine"]), wanted.affine, rtol=1e-6, atol=1e-5, err_msg=path)


def types_and_orders():
    kinds = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
    images = (nibabel.Nifti1Image, nibabel.Nifti2Image)
    for i, (kind, order, image) in enumerate(itertools.product(kinds, "<>", images)):
        name = "s.nii.gz" if i % 3 == 0 else "s.nii"
        dtype = numpy.dtype(order + kind)
        if dtype.kind == "f":
            data = random.normal(size=SHAPE).astype(dtype)
        else:
            info = numpy.iinfo(dtype)
            data = random.integers(max(info.min, -(2**20)), min(info.max, 2**20), SHAPE).astype(dtype)
        header = image.header_class(endianness=order)
        header.set_data_dtype(dtype)
        scan = image(data, affine(random.choice(["LPS", "RAS", "SPL", "AIR"])), header)
        if dtype.kind != "f" and random.integers(2):
            scan.header.set_slope_inter(0.25, -17)
        nibabel.save(scan, name)
        assert nibabel.load(name).header.endianness == order and nibabel.load(name).get_data_dtype() == dtype
        check(name)
        if i % 5 == 0:
            back(name)


def raw_slope():
    """Slopes and offsets in the header, over data written as they are."""
    for slope, inter in ((2.5, -7), (-1, 0), (0, 9), (float("nan"), float("nan"))):
        scan = nibabel.Nifti1Image(random.integers(0, 99, SHAPE).astype("i2"), affine())
        nibabel.save(scan, "s.nii")
        with open("s.nii", "r+b") as file:
            file.seek(112)
            file.write(numpy.array([slope, inter], "<f4").tobytes())
        check("s.nii")


def pairs():
    data = random.integers(0, 99, SHAPE).astype(">i2")
    for image, ends in itertools.product((nibabel.Nifti1Pair, nibabel.Nifti2Pair), ((".hdr", ".img"), (".hdr.gz", ".img.gz"))):
        nibabel.save(image(data, affine("PSR")), "p" + ends[1])
        for end in ends:
            check("p" + end)
    nibabel.save(nibabel.Nifti1Pair(data, affine("PSR")), "q.img")
    subprocess.run(["gzip", "q.hdr"], check=True)
    check("q.img", "p.img.gz")
    subprocess.run(["tar", "-cf", "q.tar", "q.hdr.gz", "q.img"], check=True)
    check("q.tar:q.hdr.gz", "p.img.gz")


def places():
    """sform before qform before spacing; codes and affines of a written file are the source's."""
    data = random.integers(0, 99, SHAPE).astype("i2")
    for sform, qform in ((1, 0), (0, 1), (2, 4), (3, 0)):
        scan = nibabel.Nifti1Image(data, None)
        scan.header.set_zooms((0.7, 1.3, 2.5))
        scan.set_sform(affine("LAS"), sform)
        scan.set_qform(affine("PSR"), qform)
        nibabel.save(scan, "s.nii")
        check("s.nii")
        back("s.nii")
    scan = nibabel.Nifti1Image(data, None)
    scan.header.set_zooms((0.7, 1.3, 2.5))
    scan.header["qform_code"] = scan.header["sform_code"] = 0
    nibabel.save(scan, "s.nii")
    run("dbisl-preprocess", "--normalize=none", "--compress=none", "s.nii", "-o", "c.st")
    assert json.loads(scans.read_record("c.st")[1]["spacing"]) == [numpy.float32(0.7), numpy.float32(1.3), 2.5]
    back("s.nii")
    for units, factor in (("meter", 1000), ("micron", 0.001), ("mm", 1), ("unknown", 1)):
        scan = nibabel.Nifti1Image(data, affine("RAS") / factor)
        scan.header.set_xyzt_units(units)
        nibabel.save(scan, "s.nii")
        run("dbisl-preprocess", "--normalize=none", "--compress=none", "s.nii", "-o", "c.st")
        numpy.testing.assert_allclose(json.loads(scans.read_record("c.st")[1]["spacing"]), (0.7, 1.3, 2.5), rtol=1e-6)
        back("s.nii")


def back(path):
    """A label in the scan's grid, written by us, read by nibabel."""
    source = nibabel.load(path)
    label = random.integers(0, 3, SHAPE).astype("u1")
    label[0, 0, 0] = 2
    nibabel.save(type(source)(label, source.affine, source.header, dtype="u1"), "l.nii.gz")
    run("dbisl-preprocess", "--label", "l.nii.gz", path, "-o", "c.st.zst")
    run("dbisl-restore", "c.st.zst", "-o", "r.nii.gz")
    result = nibabel.load("r.nii.gz")
    assert isinstance(result, nibabel.Nifti2Image if isinstance(source, nibabel.Nifti2Image) else nibabel.Nifti1Image)
    assert result.get_data_dtype() == "u1" and numpy.array_equal(numpy.asarray(result.dataobj), label), path
    numpy.testing.assert_allclose(result.affine, source.affine, rtol=1e-6, atol=1e-5)
    for field in ("sform_code", "qform_code"):
        assert result.header[field] == source.header[field], field
    if source.header["qform_code"] > 0:
        numpy.testing.assert_allclose(result.get_qform(), source.get_qform(), rtol=1e-6, atol=1e-6)
    numpy.testing.assert_array_equal(result.header.get_zooms(), source.header.get_zooms())
    assert result.header.get_xyzt_units()[0] == source.header.get_xyzt_units()[0]


types_and_orders()
raw_slope()
pairs()
places()
