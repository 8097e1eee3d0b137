"""Error detection from histograms."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from torchmetrics.functional.classification import binary_average_precision

from segtrust.errors import ShapeError
from segtrust.metrics import ErrorHistogram, detection_limits, error_aupr, error_auroc, error_fpr


def auroc(uncertainty, wrong):
    return error_auroc(ErrorHistogram.of(torch.as_tensor(uncertainty), torch.as_tensor(wrong)))


def test_auroc_by_hand():
    # wrong: .9, .4; right: .1, .6. Pairs won: (.9,.1) (.9,.6) (.4,.1) of four
    assert auroc([0.9, 0.4, 0.1, 0.6], [True, True, False, False]) == 0.75


def test_ties_count_half():
    assert auroc([0.5, 0.5], [True, False]) == 0.5


@pytest.mark.parametrize("wrong", [[True, True], [False, False]])
def test_without_both_kinds_there_is_no_number(wrong):
    assert math.isnan(auroc([0.1, 0.9], wrong))


@given(st.lists(st.tuples(st.integers(0, 4096), st.booleans()), min_size=2, max_size=40))
def test_auroc_agrees_with_counting_pairs(table):
    # values on the cells' own edges: no rounding
    wrong = [cell for cell, bad in table if bad]
    right = [cell for cell, bad in table if not bad]
    # cell edges 0 and 1/4096 share the first cell
    won = [
        1.0 if max(w, 1) > max(r, 1) else 0.5 if max(w, 1) == max(r, 1) else 0.0 for w in wrong for r in right
    ]
    got = auroc([cell / 4096 for cell, _ in table], [bad for _, bad in table])
    assert got == pytest.approx(sum(won) / len(won), abs=1e-12) if won else math.isnan(got)


def test_auroc_agrees_with_sklearn():
    rng = np.random.default_rng(0)
    uncertainty = rng.random(20_000)
    wrong = rng.random(20_000) < uncertainty**2
    # 4096 cells: ties inside a cell count half, a share of 1/4096 of the pairs at most
    assert auroc(uncertainty, wrong) == pytest.approx(roc_auc_score(wrong, uncertainty), abs=1.2e-4)


def test_added_histograms_are_the_histogram_of_all_voxels():
    rng = np.random.default_rng(1)
    uncertainty, wrong = rng.random(100), rng.random(100) < 0.3
    parts = [
        ErrorHistogram.of(torch.from_numpy(uncertainty[s]), torch.from_numpy(wrong[s]))
        for s in (slice(40), slice(40, None))
    ]
    assert error_auroc(parts[0] + parts[1]) == auroc(uncertainty, wrong)


def test_counts_past_the_last_whole_float32_stay_exact():
    wrong, right = np.zeros(2, np.int64), np.zeros(2, np.int64)
    wrong[1], right[0], right[1] = 1, 2**24, 1
    # the one wrong voxel beats 2^24 right ones and ties with one
    expected = (2**24 + 0.5) / (2**24 + 1)
    assert error_auroc(ErrorHistogram(wrong, right)) == expected


def test_a_histogram_comes_back_from_json():
    rng = np.random.default_rng(2)
    found = ErrorHistogram.of(torch.from_numpy(rng.random(50)), torch.from_numpy(rng.random(50) < 0.4))
    again = ErrorHistogram.from_json(json.loads(json.dumps(found.to_json())))
    assert np.array_equal(again.wrong, found.wrong)
    assert np.array_equal(again.right, found.right)


def histogram(uncertainty, wrong):
    return ErrorHistogram.of(torch.as_tensor(uncertainty), torch.as_tensor(wrong))


def exact(uncertainty, wrong):
    """AUROC, AUPR and FPR95 of scikit-learn from every voxel."""
    fpr, tpr, _ = roc_curve(wrong, uncertainty, drop_intermediate=False)
    return (
        roc_auc_score(wrong, uncertainty),
        average_precision_score(wrong, uncertainty),
        fpr[np.argmax(tpr >= 0.95)],
    )


def test_precision_and_false_alarms_by_hand():
    # least sure first: wrong, right, wrong, right: precisions 1 and 2/3; both are found after one
    # false alarm of two
    found = histogram([0.9, 0.8, 0.7, 0.6], [True, False, True, False])
    assert error_aupr(found) == pytest.approx((1 + 2 / 3) / 2, abs=1e-12)
    assert error_fpr(found) == 0.5
    assert error_fpr(found, recall=0.5) == 0.0


cells = st.lists(st.tuples(st.integers(1, 4096), st.booleans()), min_size=2, max_size=40)


@given(cells)
def test_on_the_edges_of_cells_all_three_agree_with_sklearn(table):
    uncertainty, wrong = np.array([cell / 4096 for cell, _ in table]), np.array([bad for _, bad in table])
    if 0 < wrong.sum() < len(wrong):
        found = histogram(uncertainty, wrong)
        got = error_auroc(found), error_aupr(found), error_fpr(found)
        assert got == pytest.approx(exact(uncertainty, wrong), abs=1e-12)


@given(st.lists(st.tuples(st.floats(0, 1 / 512), st.booleans()), min_size=2, max_size=40))
def test_an_exact_sort_lies_inside_the_limits(table):
    # eight cells only, so most voxels share one with others
    uncertainty, wrong = np.array([u for u, _ in table]), np.array([bad for _, bad in table])
    if 0 < wrong.sum() < len(wrong):
        limits = detection_limits(histogram(uncertainty, wrong))
        for (low, high), value in zip(limits, exact(uncertainty, wrong), strict=True):
            assert low - 1e-9 <= value <= high + 1e-9


def test_limits_are_reached_by_the_worst_and_the_best_order_of_a_cell():
    wrong = np.array([True] * 3 + [False] * 5)
    best, worst = np.arange(8)[::-1] / 8e4, np.arange(8) / 8e4
    limits = detection_limits(histogram(best, wrong))
    expected = list(zip(exact(worst, wrong), exact(best, wrong), strict=True))
    assert limits.auroc == pytest.approx(expected[0], abs=1e-9)
    assert limits.aupr == pytest.approx(expected[1], abs=1e-9)
    assert limits.fpr95 == pytest.approx(sorted(expected[2]), abs=1e-9)


def test_limits_are_narrow_where_cells_hold_little():
    rng = np.random.default_rng(0)
    uncertainty = rng.random(20_000)
    wrong = rng.random(20_000) < uncertainty**2
    found = detection_limits(histogram(uncertainty, wrong))
    assert all(high - low < 1e-3 for low, high in found)
    assert error_aupr(histogram(uncertainty, wrong)) == pytest.approx(
        binary_average_precision(torch.from_numpy(uncertainty), torch.from_numpy(wrong).long()).item(),
        abs=5e-4,
    )


@pytest.mark.parametrize("wrong", [[True, True], [False, False]], ids=["all wrong", "all right"])
def test_without_both_kinds_there_are_no_false_alarms(wrong):
    found = histogram([0.1, 0.9], wrong)
    assert math.isnan(error_fpr(found))
    assert math.isnan(detection_limits(found).auroc[0])
    assert error_aupr(found) == 1 if wrong[0] else math.isnan(error_aupr(found))


def test_maps_of_another_size_are_refused():
    with pytest.raises(ShapeError, match="`uncertainty` and `wrong` must have the same shape"):
        histogram([0.1, 0.9], [True])
