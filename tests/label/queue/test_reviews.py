"""Which slices of a label were looked at."""

import nibabel as nib
import numpy as np
import pytest

from segtrust.errors import SettingError
from segtrust.files import Grid
from segtrust.label.queue.reviews import reviewed_slices


@pytest.fixture
def label(tmp_path):
    """Four sagittal slices, 5 mm thick, of a label of 4 x 6 x 7 voxels."""
    path = tmp_path / "label.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((4, 6, 7), np.uint8), np.diag([5.0, 1, 1, 1])), path)
    return path


@pytest.mark.parametrize(
    ("told", "found"),
    [("all", ([0, 1, 2, 3], 4)), ([0, 3], ([0, 3], 4)), ([], ([], 4)), (None, None)],
    ids=["all", "some", "none", "not said"],
)
def test_slices_are_counted_along_the_thick_axis(label, told, found):
    assert reviewed_slices({"reviewed_slices": told}, label) == found


@pytest.mark.parametrize("told", [[4], [-1], [1.5], ["1"], [True], "some", 3])
def test_what_is_no_slice_is_refused(label, told):
    with pytest.raises(SettingError, match="must be 'all' or a list of whole numbers from 0 to 3"):
        reviewed_slices({"reviewed_slices": told}, label)


def test_slices_are_those_of_the_scan_where_the_label_is_stored_in_another_order(label):
    affine = np.array([[0, 5.0, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    scan = Grid((7, 4, 6), affine, (1.0, 5.0, 1.0))
    assert reviewed_slices({"reviewed_slices": "all"}, label, lambda: scan) == ([0, 1, 2, 3], 4)
    thin = Grid((7, 4, 9), np.diag([1.0, 1.0, 2.0, 1.0]), (1.0, 1.0, 2.0))
    with pytest.raises(SettingError, match="from 0 to 8"):
        reviewed_slices({"reviewed_slices": [9]}, label, lambda: thin)
