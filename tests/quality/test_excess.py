"""The usual chance of error at each distance, and what is above it."""

import numpy as np
import pytest

from segtrust.errors import ModelError, ShapeError
from segtrust.quality import RimTotals, UsualError, border_distance, fit_usual_error

SPACING = (1.0, 1.0, 2.0)


def scan(seed, scale=1.0):
    """A block of 1 beside a block of 2 in background, and a chance of error that falls from the border."""
    draw = np.random.default_rng(seed)
    labels = np.zeros((14, 12, 8), np.uint8)
    labels[3:7, 3:9, 2:6], labels[7:11, 3:9, 2:6] = 1, 2
    chance = scale * 0.4 * np.exp(-border_distance(labels, SPACING)) * draw.uniform(0.5, 1.5, labels.shape)
    return chance.astype(np.float32), labels


def totals(chance, labels):
    return RimTotals.of(chance, labels, SPACING, np.ones(labels.shape, bool), n_structures=2)


@pytest.fixture(scope="module")
def fitted():
    return fit_usual_error([totals(*scan(seed)) for seed in range(6)])


def test_distances_by_hand():
    labels = np.array([[0, 0, 1], [0, 0, 1]])
    assert border_distance(labels, (1.0, 3.0)).tolist() == [[6, 3, 3], [6, 3, 3]]
    assert np.isinf(border_distance(np.ones((3, 3), int), (1.0, 1.0))).all()


def test_on_the_scans_it_was_learnt_from_the_excess_is_zero_on_average_at_every_distance(fitted):
    above = []
    for seed in range(6):
        chance, labels = scan(seed)
        difference = chance.astype(float) - fitted.at(labels, SPACING)
        part = totals(difference, labels)
        above.append(
            np.divide(part.chance, part.voxels, where=part.voxels > 0, out=np.zeros_like(part.voxels))
        )
    assert np.abs(np.mean(above, axis=0)).max() < 2e-6


def test_an_ordinary_rim_is_dark_and_a_patch_of_doubt_is_not(fitted):
    _, labels = scan(0)
    usual = fitted.at(labels, SPACING)
    assert fitted.excess(usual, labels, SPACING).max() == 0
    patch = usual.copy()
    patch[:, :6] += 0.25
    excess = fitted.excess(patch, labels, SPACING)
    assert excess[:, 0] == pytest.approx(0.25, abs=1e-4)  # 9 mm from the patch's end: all of it
    assert excess[:, -1] == pytest.approx(0, abs=1e-4)


def test_doubt_that_varies_around_the_usual_from_voxel_to_voxel_cancels(fitted):
    _, labels = scan(0)
    board = np.indices(labels.shape).sum(axis=0) % 2
    varied = (fitted.at(labels, SPACING) + 0.2 * (board - 0.5)).astype(np.float32)
    assert fitted.excess(varied, labels, SPACING).max() < 0.02


def test_less_doubt_than_usual_is_no_excess(fitted):
    chance, labels = scan(0)
    assert (fitted.excess(0 * chance, labels, SPACING) == 0).all()


def test_every_subject_counts_alike_however_many_voxels_it_has():
    small, large = scan(0), scan(1, scale=3.0)
    many = totals(*large)
    for _ in range(9):
        many = many + totals(*large)
    table = fit_usual_error([totals(*small)] * 4 + [many]).table
    rates = [t.chance[1, 1] / t.voxels[1, 1] for t in (totals(*small), many)]
    assert table[1][1] == pytest.approx((4 * rates[0] + rates[1]) / 5, abs=1e-6)


def test_a_distance_that_nobody_had_takes_the_value_of_the_next_one_towards_the_border(fitted):
    inside = fitted.table[1]
    assert inside[0] == inside[1]  # no voxel lies within half a millimetre: the next one outwards
    assert inside[-1] == inside[3] != inside[2]  # the blocks are 2 mm deep: cells up to (1.5, 2.0]


def test_four_subjects_are_too_few():
    assert fit_usual_error([totals(*scan(seed)) for seed in range(4)]) is None


def test_a_prediction_of_background_alone_has_no_border(fitted):
    nothing = np.zeros((4, 4, 4), np.uint8)
    assert np.unique(fitted.at(nothing, SPACING)).tolist() == [np.float32(fitted.table[0][-1])]


def test_it_survives_json_and_other_cells_are_refused(fitted):
    assert UsualError.from_json(fitted.to_json()) == fitted
    with pytest.raises(ModelError, match=r"must come in 20 cells of 0\.5 mm"):
        UsualError.from_json({**fitted.to_json(), "step_mm": 1.0})


def test_shapes_must_agree():
    with pytest.raises(ShapeError, match="must have the same shape"):
        RimTotals.of(np.zeros((2, 2)), np.zeros((2, 3), int), (1, 1), np.ones((2, 2), bool), n_structures=1)
