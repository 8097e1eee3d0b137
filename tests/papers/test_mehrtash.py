"""The benchmark of Mehrtash et al.: plans that were fixed, folds, and the paper's region."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from segtrust.calibrators import CANDIDATES
from segtrust.experiments.folds import read_experiments
from segtrust.training.cases import LabelledFiles

HERE = Path(__file__).parents[2] / "benchmarks" / "papers"


@pytest.fixture(scope="module")
def mehrtash():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        import mehrtash  # noqa: PLC0415

        yield mehrtash


def plan(name):
    return json.loads((HERE / name).read_text(encoding="utf-8"))


def test_every_fold_is_calibrated_by_all_others(mehrtash):
    assert mehrtash.other_folds([0, 1, 2]) == {"0": ("1", "2"), "1": ("0", "2"), "2": ("0", "1")}


def test_the_box_is_ten_voxels_wider_than_the_reference(mehrtash, tmp_path):
    labels = np.zeros((40, 30, 20), np.uint8)
    labels[20:22, 15, 5:9] = 1
    nib.save(nib.Nifti1Image(labels, np.diag([1.5, 1.5, 10, 1])), tmp_path / "label.nii.gz")
    files = LabelledFiles("a", "a", tmp_path / "image.nii.gz", tmp_path / "label.nii.gz")
    # 10 + 2 + 10 along x; 10 + 1 + 10 along y; along z 5..8 widened is cut at both ends: 0..18
    want = 22 * 21 * 19 / (40 * 30 * 20)
    assert mehrtash.box_share([files])["value"] == pytest.approx(want)


def test_the_plans_name_what_can_be_read(mehrtash):
    known = read_experiments(HERE.parent / "experiments.json")
    extra = read_experiments(HERE / "extra_members.json")
    first, table = plan("mehrtash.json"), plan("methods_table.json")
    facts = known[first["hippocampus"]["experiment"]]
    assert tuple(first["hippocampus"]["sizes"]) == facts.sizes
    assert first["shifts"]["cell"] in {cell.name for cell in facts.cells}
    assert {"dice", "ce"} == set(first["heart"]["losses"])
    dropout = extra[first["hippocampus"]["dropout"]["experiment"]]
    assert {f"{cell.name}, batch" for cell in dropout.cells} <= {cell.name for cell in facts.cells}
    assert table["base"][0] in {cell.name for cell in known[table["experiment"]].cells}
    assert table["base"][1] in table["sources"]
    assert set(table["calibrators"]) == set(CANDIDATES)
    for part in ("dropout", "stochastic"):
        cells = {cell.name for cell in extra[table[part]["experiment"]].cells}
        assert set(table[part]["losses"]) == cells


def test_members_with_dropout_differ_from_those_without_in_nothing_else():
    facts = {cell.name: cell for cell in read_experiments(HERE.parent / "experiments.json")["facts"].cells}
    for cell in read_experiments(HERE / "extra_members.json")["facts dropout"].cells:
        plain = facts[f"{cell.name}, batch"]
        assert {**plain.spec.network, "dropout": 0.1} == dict(cell.spec.network)
        assert (plain.budget, plain.spec.patch) == (cell.budget, cell.spec.patch)


def test_strengths_that_are_not_measured_now_stay_as_they_were(mehrtash):
    old = {
        "conditions": {"noise-2": {"dice": 0.7}, "noise-3": {"dice": 0.5}},
        "clean": {"dice": 0.8},
        "shifted_pooled": {"value": -0.9},
        "command": "old",
        "software": {},
    }
    kept = mehrtash.earlier_strengths(old, (1,))["earlier"]
    assert kept == old
    assert mehrtash.earlier_strengths(old, (1, 3))["earlier"]["conditions"] == {"noise-2": {"dice": 0.7}}
    assert mehrtash.earlier_strengths(old, (1, 2, 3)) == {}
    assert mehrtash.earlier_strengths(None, (1,)) == {}
    # strength 1 was measured in between: 2 and 3 are still those of before
    between = {**old, "command": "between", "conditions": {"noise-1": {"dice": 0.75}}, "earlier": old}
    assert mehrtash.earlier_strengths(between, (1,))["earlier"] == old
