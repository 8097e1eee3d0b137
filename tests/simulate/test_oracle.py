"""What a label costs."""

import nibabel as nib
import numpy as np
import pytest

from segtrust.simulate.folder import CORRUPTED, ReplayFolder
from segtrust.simulate.oracle import Cost, Effort, Oracle, total_cost


@pytest.fixture
def oracle(tmp_path):
    (tmp_path / "labels").mkdir()
    label = np.zeros((4, 5, 6), np.uint8)
    label[1:3, 1:3, 2:5] = 2  # 2 x 2 voxels in 3 slices
    nib.save(nib.Nifti1Image(label, np.eye(4)), tmp_path / "labels" / "a.nii.gz")
    folder = ReplayFolder(tmp_path, {"a": "a", "b": "b"}, {"c": "c"}, {"b": CORRUPTED})
    return Oracle(folder, Effort(scan=2.0, slice=0.5))


def test_a_label_costs_its_slices_and_voxels(oracle):
    assert oracle.cost("a") == Cost(scans=1, slices=3, foreground_voxels=12, minutes=3.5)


def test_a_corrupted_scan_costs_its_opening_and_gives_no_label(oracle):
    assert oracle.cost("b") == Cost(scans=1, slices=0, foreground_voxels=0, minutes=2.0)
    assert oracle.label("b") is None
    assert oracle.label("a").label.name == "a.nii.gz"


def test_costs_add_up(oracle):
    assert total_cost(map(oracle.cost, "ab")).to_json() == {
        "scans": 2,
        "slices": 3,
        "foreground_voxels": 12,
        "minutes": 5.5,
    }
