"""Every figure by name and region, and against netcal and torch-uncertainty."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from segtrust._binning import bin_voxels
from segtrust.errors import ShapeError
from segtrust.metrics import (
    FINE_CELLS,
    ErrorHistogram,
    augrc,
    aurc,
    calibration_table,
    detection_limits,
    maximum_calibration_error,
    voxel_totals,
)

OTHERS = json.loads((Path(__file__).parents[1] / "data" / "other_libraries.json").read_text("utf-8"))
PROBS = torch.tensor(OTHERS["probs"], dtype=torch.float64)
LABELS = torch.tensor(OTHERS["labels"])
NETCAL, TORCH_UNCERTAINTY = OTHERS["netcal"], OTHERS["torch_uncertainty"]


def test_example_of_the_reference_page_runs():
    page = (Path(__file__).parents[2] / "docs" / "reference" / "metrics.md").read_text("utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    names = {}
    exec(compile(block, "documentation", "exec"), names)
    assert 0 < names["table"]["nll_band"] < 5


def fine(probs, labels, mask=None):
    return voxel_totals(probs, labels, mask, cells=FINE_CELLS, class_cells=FINE_CELLS)


@pytest.fixture(scope="module")
def ours():
    return calibration_table({"volume": fine(PROBS.T, LABELS)})


@pytest.mark.parametrize("name", ["ece", "ace", "ece_equal_mass"])
def test_figure_agrees_with_netcal(ours, name):
    assert ours[f"{name}_volume"] == pytest.approx(NETCAL[name], abs=1e-6)


@pytest.mark.parametrize("name", ["ece", "ece_equal_mass", "classwise_ece", "brier", "nll"])
def test_figure_agrees_with_torch_uncertainty(ours, name):
    assert ours[f"{name}_volume"] == pytest.approx(TORCH_UNCERTAINTY[name], abs=1e-6)  # theirs: float32


def test_largest_gap_and_ranking_of_errors_agree_with_mapie(ours):
    # MAPIE moves confidences by up to 1e-9, so that none are equal
    assert ours["ks_volume"] == pytest.approx(OTHERS["mapie"]["voxels"]["ks"], abs=1e-6)
    confidence, winner = PROBS.max(1)
    low, high = detection_limits(ErrorHistogram.of(1 - confidence, winner != LABELS)).auroc
    assert low - 1e-9 <= OTHERS["mapie"]["voxels"]["auroc"] <= high + 1e-9
    assert high - low < 0.01  # cells that right and wrong voxels share


def test_maximum_agrees_with_both_once_small_bins_count():
    # they take bins of one voxel too; our table asks for 1000
    confidence, winner = PROBS.max(1)
    bins = bin_voxels(confidence, winner == LABELS, cells=FINE_CELLS)
    found = maximum_calibration_error(bins.coarsen(15), least=1)
    assert found == pytest.approx(NETCAL["mce"], abs=1e-6)
    assert found == pytest.approx(TORCH_UNCERTAINTY["mce"], abs=1e-6)
    equal_mass = maximum_calibration_error(bins.equal_mass(15), least=1)
    assert equal_mass == pytest.approx(TORCH_UNCERTAINTY["mce_equal_mass"], abs=1e-6)


def test_false_alarms_of_torch_uncertainty_lie_inside_our_limits():
    confidence, winner = PROBS.max(1)
    low, high = detection_limits(ErrorHistogram.of(1 - confidence, winner != LABELS)).fpr95
    assert low - 1e-6 <= TORCH_UNCERTAINTY["fpr95"] <= high + 1e-6
    # the cell at the threshold holds one right voxel at most
    assert high - low <= 1 / int((winner == LABELS).sum()) + 1e-12


def test_areas_under_risk_curves_differ_from_torch_uncertainty_by_their_ends():
    # theirs: trapezoids over coverages from 1/N to 1, divided by 1 - 1/N; ours: the mean of the N points
    # (AURC) and trapezoids from 0 (AUGRC), which alone meets the closed form of Traub et al.
    confidence, winner = PROBS.max(1)
    wrong = (winner != LABELS).double()
    n, first, last = len(wrong), float(wrong[confidence.argmax()]), float(wrong.mean())
    mean = aurc((1 - confidence).tolist(), wrong.tolist())
    assert (n * mean - (first + last) / 2) / (n - 1) == pytest.approx(TORCH_UNCERTAINTY["aurc"], abs=1e-6)
    general = augrc((1 - confidence).tolist(), wrong.tolist())
    expected = TORCH_UNCERTAINTY["augrc"] * (1 - 1 / n) + first / (2 * n**2)
    assert general == pytest.approx(expected, abs=1e-6)


def test_every_name_ends_in_its_region():
    half = torch.arange(len(LABELS)) < 100
    regions = {"band": fine(PROBS.T, LABELS, half), "outside": fine(PROBS.T, LABELS, ~half)}
    table = calibration_table(regions)
    names = {name.removesuffix("_band") for name in table if name.endswith("_band")}
    assert names == {name.removesuffix("_outside") for name in table if name.endswith("_outside")}
    assert len(table) == 2 * len(names)
    assert {"nll", "ks", "classwise_ece_equal_mass", "brier_resolution"} <= names


def test_parts_of_the_brier_score_add_up(ours):
    total = sum(
        sign * ours[f"brier_{part}_volume"]
        for sign, part in ((1, "reliability"), (-1, "resolution"), (1, "uncertainty"), (1, "within"))
    )
    assert total == pytest.approx(ours["brier_volume"], abs=1e-12)
    assert abs(ours["brier_within_volume"]) < 3 * 0.5 / FINE_CELLS + 1e-6


def test_regions_added_are_the_volume(ours):
    half = torch.arange(len(LABELS)) < 100
    both = fine(PROBS.T, LABELS, half) + fine(PROBS.T, LABELS, ~half)
    found = calibration_table({"volume": both})
    for name, value in ours.items():
        np.testing.assert_allclose(found[name], value, atol=1e-12, err_msg=name)


def test_an_empty_region_has_no_figures():
    table = calibration_table({"band": fine(PROBS.T, LABELS, torch.zeros(len(LABELS), dtype=torch.bool))})
    assert all(math.isnan(value) for value in table.values())


def test_tables_that_are_no_multiple_of_15_bins_are_refused():
    with pytest.raises(ShapeError, match="100 cells cannot be joined to 15"):
        calibration_table({"band": voxel_totals(PROBS.T, LABELS, cells=100)})
