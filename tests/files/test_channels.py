"""One file per channel: which files are one scan, and what is missing."""

from pathlib import Path

import pytest

from segtrust.errors import ScanError
from segtrust.files.channels import channel_files, group_channels, split_channel


def touch(folder, *names):
    for name in names:
        (folder / name).touch()
    return folder / names[0]


def test_files_of_all_channels_are_taken_in_order(tmp_path):
    first = touch(tmp_path, "a_0000.nii.gz", "a_0002.nii.gz", "a_0001.nii.gz", "b_0001.nii.gz")
    assert [p.name for p in channel_files(first, 3)] == ["a_0000.nii.gz", "a_0001.nii.gz", "a_0002.nii.gz"]
    assert channel_files(first, 1) == (first,)


def test_one_file_may_hold_all_channels(tmp_path):
    first = touch(tmp_path, "a_0000.nii.gz", "b_0001.nii.gz")
    assert channel_files(first, 2) == (first,)


def test_missing_channel_is_named(tmp_path):
    first = touch(tmp_path, "a_0000.nii.gz", "a_0002.nii.gz")
    with pytest.raises(ScanError, match=r"each of its 3 channels, 'a_0001\.nii\.gz' is missing"):
        channel_files(first, 3)


def test_numbered_files_are_one_scan_only_from_0000_on():
    names = ["a_0000.nrrd", "a_0001.nrrd", "b_0003.nrrd", "c_12.nii.gz", "notes_0000.txt", "d_0000.nii.gz"]
    groups = group_channels(map(Path, names))
    assert {scan: [p.name for p in files] for scan, files in groups.items()} == {
        "a": ["a_0000.nrrd", "a_0001.nrrd"],
        "b_0003": ["b_0003.nrrd"],
        "c_12": ["c_12.nii.gz"],
        "d": ["d_0000.nii.gz"],
    }


@pytest.mark.parametrize("name", ["_0000.nii.gz", "a_000.nii.gz", "a_00000.nii.gz", "a_0000.txt", "a_0000"])
def test_other_names_are_none_of_a_channel(name):
    assert split_channel(name) is None
