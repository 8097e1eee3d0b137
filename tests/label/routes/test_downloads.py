"""Files that clients get: whole ones, also while they are replaced."""

import asyncio

import pytest

from segtrust.label.routes.downloads import send_file


def content(answer):
    async def read():
        return b"".join([piece async for piece in answer.body_iterator])

    return asyncio.run(read())


def test_a_file_that_is_replaced_before_it_is_read_comes_whole(tmp_path):
    path, other = tmp_path / "a.nii.gz", tmp_path / "other"
    path.write_bytes(b"old" * 100_000)
    answer = send_file(path)
    other.write_bytes(b"new")
    other.replace(path)
    assert content(answer) == b"old" * 100_000
    assert answer.headers["content-length"] == "300000"
    assert content(send_file(path)) == b"new"


@pytest.mark.parametrize(
    ("name", "shown"),
    [("a.nii", 'filename="a.nii"'), ("\u00e4 b.nii", "filename*=utf-8''%C3%A4%20b.nii")],
)
def test_it_has_its_own_name_and_goes_into_no_cache(tmp_path, name, shown):
    path = tmp_path / name
    path.write_bytes(b"x")
    answer = send_file(path)
    assert answer.headers["content-disposition"] == f"attachment; {shown}"
    assert answer.headers["cache-control"] == "no-store"
    assert content(answer) == b"x"


def test_a_file_that_is_not_there_is_an_error_before_an_answer_begins(tmp_path):
    with pytest.raises(FileNotFoundError):
        send_file(tmp_path / "nobody")
