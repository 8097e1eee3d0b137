"""Which slices to open first."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrust.slices import expected_errors, review_axis, slices_to_review

NAMES = ("front", "back")


def hints(wrong, mask=None, near=None, **options):
    """Slices of a scan with one row of voxels per list of ``wrong`` and one structure besides the mask's."""
    wrong = np.asarray(wrong, np.float32).reshape(1, -1, np.shape(wrong)[-1])
    mask = np.ones(wrong.shape, np.uint8) if mask is None else np.asarray(mask, np.uint8).reshape(wrong.shape)
    near = np.ones(wrong.shape, bool) if near is None else np.asarray(near, bool).reshape(wrong.shape)
    probs = np.zeros((3, *wrong.shape), np.float32)
    np.put_along_axis(probs, mask[None], 1 - wrong[None], axis=0)
    np.put_along_axis(probs, ((mask + 2) % 3)[None], wrong[None], axis=0)  # 0 -> back, 1 -> 0, 2 -> front
    return slices_to_review(wrong, probs, mask, near, NAMES, **{"audit": 0, **options})


def test_the_slice_with_most_expected_error_comes_first():
    # sums per slice: .3, .9, .6 of 1.8
    got = hints([[0.1, 0.5, 0.3], [0.2, 0.4, 0.3]])
    assert [(h.axis, h.index) for h in got] == [(2, 1), (2, 2), (2, 0)]
    assert [h.share for h in got] == pytest.approx([0.5, 1 / 3, 1 / 6], abs=1e-6)
    assert got[0].reason == "about 1 voxel is expected to be wrong here, 50% of all near the structures"


def test_error_far_from_the_prediction_does_not_count():
    assert [h.index for h in hints([[0.9, 0.1]], near=[[0, 1]])] == [1]


def test_slices_without_expected_error_are_not_listed():
    assert [h.index for h in hints([[0.0, 0.5, 0.0]])] == [1]
    assert hints([[0.0, 0.0]]) == []


def test_slices_are_counted_along_the_axis_asked_for():
    got = hints([[0.1, 0.5], [0.4, 0.4]], axis=1)
    assert [(h.axis, h.index) for h in got] == [(1, 1), (1, 0)]


def test_the_structure_that_is_missing_is_named_though_no_voxel_was_given_to_it():
    # the background of the slice is likely "back"; its one voxel of "front" is almost sure
    assert hints([[0.4], [0.1]], mask=[[0], [1]])[0].structure == "back"


def test_expected_errors_by_hand():
    # one voxel: front is predicted with .6; back has .3: .4 wrong about front, .3 about back
    probs = np.array([0.1, 0.6, 0.3]).reshape(3, 1, 1, 1)
    got = expected_errors(probs, np.ones((1, 1, 1), np.uint8), np.ones((1, 1, 1), bool), 2)
    assert got[:, 0] == pytest.approx([0.4, 0.3])


def test_errors_about_all_classes_are_twice_the_wrong_labels():
    # a wrong label is wrong about the class that is there and about the one that is not
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(3), (4, 5, 6)).transpose(3, 0, 1, 2)
    mask, near = probs.argmax(axis=0).astype(np.uint8), rng.random((4, 5, 6)) < 0.5
    wrong = np.where(near, 1 - probs.max(axis=0), 0).sum(axis=(0, 1))
    background = np.where(near, np.abs((mask == 0) - probs[0]), 0).sum(axis=(0, 1))
    both = expected_errors(probs, mask, near, 2).sum(axis=0) + background
    np.testing.assert_allclose(both, 2 * wrong)


def test_about_one_slice_in_ten_is_drawn_by_lot():
    drawn = [
        h.audit for seed in range(1000) for h in hints(np.arange(1, 21)[None] / 40, seed=seed, audit=0.1)
    ]
    assert len(drawn) == 3000
    assert np.mean(drawn) == pytest.approx(0.1, abs=0.015)  # three standard errors of 1000 coins of .3


def test_every_other_slice_is_drawn_equally_often():
    wrong = np.arange(1, 7)[None] / 10
    counts = np.bincount(
        [hints(wrong, budget=2, audit=0.5, seed=s)[1].index for s in range(1000)], minlength=6
    )
    assert counts[5] == 0  # the first slice is never drawn by lot
    np.testing.assert_allclose(counts[:5] / 1000, 0.2, atol=0.04)


def test_a_slice_drawn_by_lot_says_so_and_comes_last():
    got = hints([[0.1, 0.5, 0.3, 0.0]], budget=3, audit=0.5, seed=1)
    assert [h.audit for h in got][:1] == [False]
    assert [h.audit for h in got] == sorted(h.audit for h in got)
    assert any(h.audit for h in got)
    assert all(("by lot" in h.reason) == h.audit for h in got)


@given(
    st.lists(st.floats(0, 0.5), min_size=1, max_size=12),
    st.integers(1, 5), st.floats(0, 1), st.integers(0, 50),
)  # fmt: skip
def test_the_same_seed_gives_the_same_slices_none_twice_and_the_worst_first(errors, budget, audit, seed):
    one, two = (hints([errors], budget=budget, audit=audit, seed=seed) for _ in range(2))
    assert one == two
    places = [h.index for h in one]
    assert len(places) == len(set(places)) <= budget
    if one:
        assert errors[places[0]] == max(errors)
        assert not one[0].audit


@pytest.mark.parametrize(
    ("spacing", "axis"),
    [((1, 1, 1), 2), ((5, 0.5, 0.5), 0), ((0.9, 0.9, 0.6), 2), ((1, 1.4, 1), 2), ((1, 1.5, 1), 1), (None, 2)],
    ids=["cubes", "thick along the first", "thin slices", "nearly cubes", "half as long again", "unknown"],
)
def test_people_page_through_thick_slices(spacing, axis):
    assert review_axis(spacing) == axis
