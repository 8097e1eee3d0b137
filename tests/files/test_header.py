"""The header decides: whatever lies in a file, it is read as its ending says, or refused in words."""

import bz2
import gzip
import os
import threading

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segtrust.errors import ScanError
from segtrust.files import FileLimits, StoppedError, read_claims, read_volume, stoppable, stopping, use_limits

NRRD = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 3 4\nencoding: raw\n"
MHA = b"ObjectType = Image\nNDims = 3\nDimSize = 2 3 4\nElementType = MET_UCHAR\nElementDataFile = "
VALUES = bytes(range(24))


def put(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def nifti(**changes):
    image = nib.Nifti1Image(np.arange(24, dtype=np.uint8).reshape(2, 3, 4), np.eye(4))
    content = bytearray(image.to_bytes())
    for place, value in changes.values():
        content[place : place + len(value)] = value
    return bytes(content)


GOOD = {
    "a.nii": nifti(),
    "a.nii.gz": gzip.compress(nifti()),
    "two streams.nii.gz": gzip.compress(nifti()[:360]) + gzip.compress(nifti()[360:]),
    "padded.nii.gz": gzip.compress(nifti()) + bytes(600),
    "a.nrrd": NRRD + b"\n" + VALUES,
    "crlf.nrrd": NRRD.replace(b"\n", b"\r\n") + b"\r\n" + VALUES,
    "a.seg.nrrd": NRRD + b"Segment0_Name:=front\n\n" + VALUES,
    "gzip.nrrd": NRRD.replace(b"raw", b"gzip") + b"\n" + gzip.compress(VALUES),
    "bzip2.nrrd": NRRD.replace(b"raw", b"bzip2") + b"\n" + bz2.compress(VALUES),
    "text.nrrd": NRRD.replace(b"raw", b"ascii") + b"\n" + b" ".join(b"%d" % n for n in VALUES),
    "a.mha": MHA + b"LOCAL\n" + VALUES,
}


@pytest.mark.parametrize("name", GOOD)
def test_each_way_to_store_values_is_read(tmp_path, name):
    volume = read_volume(put(tmp_path, name, GOOD[name]))
    assert volume.stored.shape == (2, 3, 4)
    if "nii" not in name:
        assert volume.stored.ravel(order="F").tolist() == list(VALUES)


BAD = {
    "data file": ("a.nrrd", NRRD + b"data file: /etc/passwd\n\n", "lie in another file"),
    "datafile": ("a.nrrd", NRRD + b"DataFile: /etc/passwd\n\n", "lie in another file"),
    "data_file": ("a.nrrd", NRRD + b"data_file: /etc/passwd\n\n", "lie in another file"),
    "list": ("a.nrrd", NRRD + b"data file: LIST\n/etc/passwd\n", "does not end|another file"),
    "unknown field": ("a.nrrd", NRRD + b"secret: 3\n\n" + VALUES, "unknown field"),
    "byte skip": ("a.nrrd", NRRD + b"byte skip: -1\n\n" + VALUES, "skips content"),
    "line skip": ("a.nrrd", NRRD + b"lineskip: 1\n\n" + VALUES, "skips content"),
    "a field twice": ("a.nrrd", NRRD + b"type: float\n\n" + VALUES, "twice"),
    "a lone carriage return": ("a.nrrd", NRRD + b"content: a\rdata file: x\n\n" + VALUES, "control"),
    "a NUL": ("a.nrrd", NRRD + b"content: a\0b\n\n" + VALUES, "control"),
    "mha elsewhere": ("a.mha", MHA + b"/etc/passwd\n" + VALUES, "lie in another file"),
    "mha list": ("a.mha", MHA + b"LIST\n/etc/passwd\n", "lie in another file"),
    "mha pattern": ("a.mha", MHA + b"/etc/%s 1 1 1\n", "lie in another file"),
    "mhd": ("a.mhd", MHA + b"LOCAL\n" + VALUES, "must end in"),
    "nhdr": ("a.nhdr", NRRD + b"\n" + VALUES, "must end in"),
    "pair": ("a.nii", nifti(magic=(344, b"ni1\0")), "in another file"),
    "analyze": ("a.nii", nifti(magic=(344, b"\0\0\0\0")), "Analyze"),
    "nifti without end": ("a.nii", nifti()[:-1], "to its end"),
    "nifti with more": ("a.nii", nifti() + b"x", "more follow"),
    "gzip without end": ("a.nii.gz", gzip.compress(nifti())[:-9], "to its end"),
    "gzip with another check sum": ("a.nii.gz", gzip.compress(nifti())[:-8] + bytes(8), "damaged"),
    "gzip with more": ("a.nii.gz", gzip.compress(nifti() + b"x"), "more follow"),
    "gzip with rubbish behind": ("a.nii.gz", gzip.compress(nifti()) + b"rubbish", "damaged"),
    "nrrd in nii": ("a.nii", NRRD + b"\n" + VALUES, "looks like NRRD"),
    "mha in nrrd": ("a.nrrd", MHA + b"LOCAL\n" + VALUES, "looks like MetaImage"),
    "gzip in nii": ("a.nii", gzip.compress(nifti()), "looks like gzip"),
    "plain in nii.gz": ("a.nii.gz", nifti(), "must be compressed"),
    "png": ("a.nrrd", b"\x89PNG\r\n\x1a\n", "looks like a PNG"),
    "hdf5": ("a.nrrd", b"\x89HDF\r\n\x1a\n", "looks like HDF5"),
    "vtk": ("a.nii", b"# vtk DataFile Version 3.0\n", "looks like VTK"),
    "dicom": ("a.nii", bytes(128) + b"DICM", "looks like DICOM"),
    "par": ("a.mha", b"# CLINICAL TRYOUT", "looks like Philips"),
    "nothing": ("a.nrrd", b"", "it is empty"),
    "gipl": ("a.gipl", b"\0" * 256, "must end in"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_not_what_it_seems_is_refused_in_words(tmp_path, case):
    name, content, words = BAD[case]
    with pytest.raises(ScanError, match=words):
        read_volume(put(tmp_path, name, content))


@pytest.mark.parametrize("name", ["pipe.nii", "pipe.nrrd", "pipe.mha", "pipe.nii.gz"])
def test_a_pipe_is_refused_at_once(tmp_path, name):
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    os.mkfifo(tmp_path / name)
    with pytest.raises(ScanError, match="must be a regular file"):
        read_volume(tmp_path / name)


@pytest.mark.parametrize("name", ["folder.nii", "nothing.nii", "\0.nii"])
def test_what_is_no_file_is_refused(tmp_path, name):
    (tmp_path / "folder.nii").mkdir()
    with pytest.raises(ScanError):
        read_volume(tmp_path / name)


@pytest.mark.parametrize(
    ("bound", "name"),
    [("max_voxels", "a.nii"), ("max_voxels", "a.nrrd"), ("max_voxels", "a.mha"), ("max_voxels", "a.nii.gz")],
)
def test_a_breach_names_bound_claim_and_setting(tmp_path, bound, name):
    path = put(tmp_path, name, GOOD[name])
    with use_limits(FileLimits(**{bound: 23})), pytest.raises(ScanError) as refused:
        read_claims(path)
    assert refused.value.code == "scan_too_large"
    for word in ("at most 23 voxels", "claims 24", f"`{bound}`"):
        assert word in str(refused.value)


def test_decompression_stops_at_the_claimed_size(tmp_path, monkeypatch):
    # 200 MB of zeros behind a header that claims 24 bytes
    path = put(tmp_path, "bomb.nii.gz", gzip.compress(nifti() + bytes(200 << 20), 9))
    import tracemalloc  # noqa: PLC0415

    tracemalloc.start()
    with pytest.raises(ScanError, match="more follow"):
        read_volume(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_a_claim_that_so_small_a_file_cannot_hold_costs_nothing(tmp_path):
    sizes = b"\x03\0" + (600).to_bytes(2, "little") * 3
    path = put(tmp_path, "a.nii.gz", gzip.compress(nifti(dim=(40, sizes))))
    with pytest.raises(ScanError, match="cannot be read to its end"):
        read_claims(path)


def test_reading_ends_when_nobody_waits(tmp_path, monkeypatch):
    monkeypatch.setattr(stopping, "_PAUSE_S", 0)
    path = tmp_path / "big.nii.gz"
    nib.save(
        nib.Nifti1Image(np.random.default_rng(0).integers(0, 255, (300, 300, 300), np.uint8), np.eye(4)), path
    )
    with stoppable(lambda: True), pytest.raises(StoppedError):
        read_volume(path)


def test_a_reader_in_another_thread_goes_on(tmp_path):
    path, read = put(tmp_path, "a.nii", GOOD["a.nii"]), []
    with stoppable(lambda: True):
        thread = threading.Thread(target=lambda: read.append(read_volume(path)))
        thread.start()
        thread.join()
    assert read


def attempt(path):
    """The volume, or why it is refused."""
    try:
        return read_volume(path), None
    except ScanError as error:
        return None, error


FUZZ = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@given(
    name=st.sampled_from(sorted(GOOD)),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=8),
    cut=st.integers(0, 500),
)
@FUZZ
def test_no_header_makes_reading_fail_otherwise_than_with_a_reason(tmp_path, name, changes, cut):
    content = bytearray(GOOD[name])
    for place, value in changes:
        if place < len(content):
            content[place] = value
    path = put(tmp_path, name, bytes(content[: len(content) - cut % len(content)]))
    with use_limits(FileLimits(max_voxels=1 << 22, max_data_mb=64)):
        volume, refused = attempt(path)
    assert path.name in str(refused) if volume is None else np.isfinite(volume.header.affine).all()


@given(st.binary(max_size=600), st.sampled_from(["nii", "nii.gz", "nrrd", "mha"]))
@FUZZ
def test_noise_is_refused(tmp_path, content, ending):
    starts = {"nrrd": b"NRRD0004\n", "mha": b"ObjectType = Image\n"}
    with pytest.raises(ScanError):
        read_volume(put(tmp_path, f"a.{ending}", starts.get(ending, b"") + content))


@given(
    fields=st.lists(
        st.tuples(
            st.sampled_from(
                ["type", "sizes", "dimension", "encoding", "endian", "kinds", "space directions", "x"]
            ),
            st.text(st.characters(codec="utf-8"), max_size=30),
        ),
        max_size=6,
    )
)
@FUZZ
def test_any_text_as_fields_is_read_or_refused(tmp_path, fields):
    lines = [f"{key}: {value}".encode() for key, value in fields]
    path = put(tmp_path, "a.nrrd", NRRD + b"\n".join([*lines, b"", b""]) + VALUES)
    with use_limits(FileLimits(max_voxels=1 << 22)):
        volume, refused = attempt(path)
    assert volume is not None or "a.nrrd" in str(refused)
