"""Files of further channels are no scans of their own, as long as the first one lies beside them."""

import pytest

from numbered_labels import write_number
from writers import open_folder

FILES = ("a_0000.nii.gz", "a_0001.nii.gz", "a_0002.nii.gz", "b_0001.nii.gz", "c.nii.gz")


@pytest.fixture
def studies(tmp_path):
    (tmp_path / "studies").mkdir()
    for number, name in enumerate(FILES):
        write_number(tmp_path / "studies" / name, number)
    return tmp_path / "studies"


def opened(studies, channels):
    return open_folder(str(studies), str(studies.parent / "state.sqlite"), channels=channels)


@pytest.mark.parametrize(
    ("channels", "listed"),
    [
        (1, ["a_0000", "a_0001", "a_0002", "b_0001", "c"]),
        (2, ["a_0000", "a_0002", "b_0001", "c"]),
        (3, ["a_0000", "b_0001", "c"]),
    ],
)
def test_scans_are_listed_by_their_first_channel_if_a_model_has_several(studies, channels, listed):
    assert sorted(opened(studies, channels).list_images()) == listed


def test_scan_that_gets_its_first_channel_last_is_one_scan_then(studies, tmp_path):
    datastore = opened(studies, 2)
    assert "b_0001" in datastore.list_images()
    datastore.add_image("", str(write_number(tmp_path / "b_0000.nii.gz", 7)), {})
    assert sorted(datastore.list_images()) == ["a_0000", "a_0002", "b_0000", "c"]


def test_scan_goes_with_all_its_channels(studies):
    datastore = opened(studies, 3)
    datastore.remove_image("a_0000")
    assert sorted(path.name for path in studies.glob("*.nii.gz")) == ["b_0001.nii.gz", "c.nii.gz"]
    assert sorted(datastore.list_images()) == ["b_0001", "c"]
