"""Figures of a simulation whose records are made up."""

import json
import math

import nibabel as nib
import numpy as np
import pytest

from segtrust.simulate.folder import ReplayFolder
from segtrust.simulate.summary import summarise_simulation
from simulation_result import PLAN, SUBJECTS, make_replays


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A pool of 8 scans with 20 foreground voxels each."""
    data = tmp_path_factory.mktemp("data")
    (data / "labels").mkdir()
    label = np.zeros((3, 3, 4), np.uint8)
    label.reshape(-1)[:20] = 1
    pool = {f"s{i}": f"p{i}" for i in range(8)}
    for scan in pool:
        nib.save(nib.Nifti1Image(label, np.eye(4)), data / "labels" / f"{scan}.nii.gz")
    return ReplayFolder(data, pool, SUBJECTS, {"s0": "corrupted"})


@pytest.fixture(scope="module")
def result(folder):
    return summarise_simulation(PLAN, folder, make_replays([0.5, 0.6, 0.7], [0.5, 0.7, 0.8]))


def test_area_and_its_difference_to_uniform(result):
    # half the budget each at .55 and .65 for uniform, at .6 and .75 for entropy
    uniform, entropy = (result["strategies"][name] for name in ("uniform", "entropy"))
    assert uniform["area"]["value"] == pytest.approx(0.6)
    assert entropy["area"]["value"] == pytest.approx(0.675)
    assert entropy["area_less_baseline"]["value"] == pytest.approx(0.075)
    assert entropy["area_less_baseline"]["low"] is None  # of two subjects
    assert uniform["area_less_baseline"]["value"] == 0


def test_scans_to_reach_uniforms_last_dice(result):
    entropy = result["strategies"]["entropy"]
    assert entropy["scans_to_reach_baseline"] == pytest.approx(4.0)
    assert entropy["scans_to_reach_baseline_by_seed"] == pytest.approx([4.0, 4.0])
    assert result["strategies"]["uniform"]["scans_to_reach_baseline"] == pytest.approx(6.0)


def test_efficiency_counts_foreground_as_a_share_of_the_pool(result):
    # 20, 40 and 60 of 160 voxels; Dice .9 - .4 exp(-g (x - .125)) through .6 and .7: between ln(4/3) and
    # ln(2) / 2 per eighth, that is 2.30 and 2.77
    found = result["strategies"]["uniform"]["efficiency"]
    assert 8 * math.log(4 / 3) < found < 8 * math.log(2) / 2
    assert result["pool"]["foreground_voxels"] == 160


def test_calibration_is_pooled_over_voxels(result):
    # confidence .9, 8 of 10 right
    band = result["strategies"]["uniform"]["rounds"][0]["calibration"]["band"]
    assert band == {"nll": pytest.approx(0.5), "ece": pytest.approx(0.1)}


def test_cost_junk_and_labels_are_means_over_seeds(result):
    last = result["strategies"]["entropy"]["rounds"][-1]
    assert last["cost"] == {"scans": 6, "slices": 18, "foreground_voxels": 60, "minutes": 15}
    assert (last["opened"], last["labelled"], last["junk"]) == (6, 5, {"corrupted": 1})


def test_two_subjects_advise_nothing(folder):
    flat = summarise_simulation(PLAN, folder, make_replays([0.5, 0.6, 0.602], [0.5, 0.6, 0.7]))
    assert flat["strategies"]["uniform"]["stop"]["opened"] is None


def test_advice_follows_the_rule(folder, monkeypatch):
    # the made-up subjects are alike, so that two give the interval that thirty would
    monkeypatch.setattr("segtrust.simulate.figures.LEAST_SUBJECTS", 2)
    flat = summarise_simulation(PLAN, folder, make_replays([0.5, 0.6, 0.602], [0.5, 0.6, 0.7]))
    assert flat["strategies"]["uniform"]["stop"]["opened"] == 6
    assert flat["strategies"]["entropy"]["stop"]["opened"] is None


def test_scans_of_a_subject_count_as_one(folder):
    replays = make_replays([0.5, 0.6, 0.7], [0.5, 0.7, 0.8])
    for records in replays:
        for record in records:
            for scan in record["judged"]:
                if scan["subject"] == "e2":
                    scan["dice"] = [0.0]
    found = summarise_simulation(PLAN, folder, replays)["strategies"]["uniform"]["rounds"][0]["dice"]
    assert found["value"] == pytest.approx(0.25)
    assert found["subjects"] == 2


def test_a_structure_in_neither_mask_counts_1_so_that_all_strategies_have_the_same_scans(folder):
    replays = make_replays([0.5, 0.6, 0.7], [0.5, 0.7, 0.8])
    for records in replays:
        for record in records:
            record["judged"][0]["dice"] = [None, 0.1]
    found = summarise_simulation(PLAN, folder, replays)["strategies"]["uniform"]["rounds"][0]["dice"]
    assert found["value"] == pytest.approx(((1.0 + 0.1) / 4 + 0.5 / 2 + 0.5) / 2)


def test_result_is_plain_json(result):
    again = json.loads(json.dumps(result, allow_nan=False))
    assert again["curves"]["dice"]["entropy"] == [[[0.5, 0.5], [0.7, 0.7], [0.8, 0.8]]] * 2
    assert again["penalties"]["entropy"]["uniform"] == pytest.approx(2 / 3)  # all budgets but the first
    assert again["whole_pool"]["value"] == pytest.approx(0.9)
