"""Files that come with a request."""

import io
import stat

import pytest

from segtrust.label.routes.uploads import receive


def test_a_file_lives_as_long_as_its_request_and_nobody_else_can_read_it():
    with receive(io.BytesIO(b"abc"), "scan.nii") as path:
        assert path.read_bytes() == b"abc"
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.parent.exists()


def test_it_is_gone_after_an_error_too():
    with pytest.raises(RuntimeError), receive(io.BytesIO(b"abc"), "scan.nii") as path:
        raise RuntimeError
    assert not path.exists()


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("scan.nii.gz", "scan.nii.gz"),
        ("scan.seg.nrrd", "scan.seg.nrrd"),
        ("../../etc/x.nii", "_.._etc_x.nii"),
        ("C:\\x y.NRRD", "C__x_y.NRRD"),
        ("scan", "scan.nii.gz"),
        ("run.py", "run.py.nii.gz"),
        ("", "upload.nii.gz"),
        (None, "upload.nii.gz"),
    ],
    ids=str,
)
def test_the_name_of_a_client_becomes_a_plain_one(name, kept):
    with receive(io.BytesIO(b""), name) as path:
        assert path.name == kept


def test_without_a_file_there_is_no_path():
    with receive(None, None) as path:
        assert path is None
