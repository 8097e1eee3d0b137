"""The second organ of the benchmarks: what is cut, and whose scan it is."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from segtrust.inference.members import build_network
from segtrust.training.cases import read_pair, read_subjects

HERE = Path(__file__).parents[2] / "benchmarks" / "papers"


@pytest.fixture(scope="module")
def heart():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        import heart  # noqa: PLC0415

        yield heart


@pytest.fixture
def made_up(tmp_path):
    """Two frames of two patients; a block of 3 in the middle of slices of two sizes."""
    splits = {"train": ["p1_frame01", "p1_frame09"], "val": ["p2_frame01"], "test": ["p2b_frame02"]}
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
        for scan in [s for role in splits.values() for s in role]:
            shape = (176, 256, 7) if scan.startswith("p1") else (256, 216, 9)
            values = np.zeros(shape, np.int16)
            x, y = (n // 2 for n in shape[:2])
            values[x - 20 : x + 20, y - 30 : y + 30] = 3
            nib.save(nib.Nifti1Image(values, np.diag([1.5, 1.5, 10, 1])), tmp_path / kind / f"{scan}.nii.gz")
    (tmp_path / "splits.json").write_text(json.dumps({"splits": splits}))
    return tmp_path


def test_the_middle_is_kept_and_the_patient_is_the_subject(heart, made_up, tmp_path):
    folder = heart.prepare(made_up, tmp_path / "work")
    assert read_subjects(folder) == {
        "p1_frame01": "p1",
        "p1_frame09": "p1",
        "p2_frame01": "p2",
        "p2b_frame02": "p2b",
    }
    first = heart.cases(folder, "train")[0]
    assert first.subject == "p1"
    scan, labels = read_pair(first, heart.spec_of())
    assert labels.shape == (80, 80, 7)
    assert scan.spacing == (1.0, 1.0, 1.0)  # one voxel is one unit
    # 40 x 60 pixels of 256 are 20 x 30 of 128, in the middle
    assert int((labels == 3).sum()) == 20 * 30 * 7
    where = np.argwhere(labels.numpy() == 3)
    assert np.abs(where.mean(axis=0)[:2] - 39.5).max() <= 0.5


def test_what_is_there_is_kept(heart, made_up, tmp_path):
    folder = heart.prepare(made_up, tmp_path / "work")
    (made_up / "images" / "p1_frame01.nii.gz").unlink()
    assert heart.prepare(made_up, tmp_path / "work") == folder


def test_the_network_never_joins_slices_and_takes_other_arguments(heart):
    spec = heart.spec_of(dropout=0.2, channels=[4, 8, 16])
    assert all(stride[2] == 1 for stride in spec.network["strides"])
    assert spec.network["dropout"] == 0.2
    assert sum(p.numel() for p in build_network(spec).parameters()) < sum(
        p.numel() for p in build_network(heart.spec_of()).parameters()
    )
