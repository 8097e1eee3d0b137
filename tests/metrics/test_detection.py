"""Error detection from histograms."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from segtrust.metrics import ErrorHistogram, error_auroc


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
