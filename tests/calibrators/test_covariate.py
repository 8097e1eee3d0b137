"""The distance that a calibrator depends on: in its own unit, to the parts that it was fitted with."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from calibration_cohorts import cohort, constant
from segtrust import calibrators as c
from segtrust.calibrators import covariate
from segtrust.calibrators.covariate import covariate_of
from segtrust.calibrators.voxels import calibrated_probs
from segtrust.decisions import LabelRule
from segtrust.errors import ModelError, ProbabilityError
from segtrust.regions import distance_to

MM = c.DistanceTemperature(math.log(2), 0.0, 4.0, 1.0)
VOXELS = replace(MM, unit="voxel")
PARTS = replace(MM, parts=0.05)


def labels(*ones, n=30):
    values = np.zeros(n, np.uint8)
    values[list(ones)] = 1
    return values


def test_millimetres_are_measured_by_the_spacing_and_voxels_without_it():
    mask = labels(0)
    assert covariate_of(MM, mask, (2.0,))[3].item() == 6
    assert covariate_of(VOXELS, mask, (2.0,))[3].item() == 3
    assert covariate_of(VOXELS, mask, None)[3].item() == 3


def test_a_calibrator_in_millimetres_leaves_a_scan_of_unknown_spacing_as_it_is():
    p = torch.tensor([[0.8], [0.2]])
    assert not c.has_unit(MM, None)
    assert c.calibrate_scan(MM, p, np.zeros(1, int), None) is p
    assert c.calibrate_scan(VOXELS, p, np.ones(1, int), None)[0].item() == pytest.approx(2 / 3, abs=1e-2)


@pytest.mark.parametrize("calibrator", [c.Identity(), c.PooledTemperature(2.0), VOXELS])
def test_other_calibrators_need_no_spacing(calibrator):
    assert c.has_unit(calibrator, None)


def test_a_speck_is_no_part_for_a_calibrator_that_was_fitted_to_parts():
    mask = labels(*range(10), 25)
    assert covariate_of(MM, mask, (1.0,))[25].item() == 0
    assert covariate_of(PARTS, mask, (1.0,))[25].item() == 25 - 9


def body():
    """A structure of 4 x 4 x 4 voxels in the corner of a grid."""
    mask = np.zeros((14, 9, 9), np.uint8)
    mask[1:5, 1:5, 1:5] = 1
    return mask


@given(x=st.integers(6, 13), y=st.integers(0, 8), z=st.integers(0, 8), structure=st.integers(1, 3))
def test_one_false_voxel_anywhere_moves_no_temperature(x, y, z, structure):
    clean, spoiled = body(), body()
    spoiled[x, y, z] = structure  # no neighbour of the structure, whose last slice is 4
    spacing = (1.0, 0.7, 2.0)
    before, after = (PARTS.temperature_at(covariate_of(PARTS, m, spacing)) for m in (clean, spoiled))
    assert torch.equal(before, after)
    # what calibrators of older versions do, and go on to do: T at the voxel itself is T inside
    old = MM.temperature_at(covariate_of(MM, spoiled, spacing))
    assert old[x, y, z].item() == pytest.approx(MM.temperature_at(torch.tensor(0.0)).item())


@st.composite
def scenes(draw):
    """Structures in the middle of a grid, and false islands of less than 8 voxels that touch nothing."""
    clean = np.zeros((16, 16, 16), np.uint8)
    inner = draw(hnp.arrays(np.uint8, (6, 6, 6), elements=st.sampled_from([0, 0, 1, 1, 2, 3])))
    clean[5:11, 5:11, 5:11] = inner
    spoiled = clean.copy()
    # one island at most in each corner of the grid, two voxels away from the middle and from the others
    for corner in draw(st.sets(st.tuples(*[st.sampled_from([0, 14])] * 3), min_size=1)):
        block = draw(hnp.arrays(np.uint8, (2, 2, 2), elements=st.integers(0, 4)))
        block[0, 0, 0] = 0  # 7 voxels at most
        spoiled[tuple(slice(at, at + 2) for at in corner)] = block
    return clean, spoiled


@given(scenes())
def test_false_islands_of_any_structures_move_no_temperature_where_something_of_eight_voxels_is_there(scene):
    clean, spoiled = scene
    parts, _ = ndimage.label(clean > 0, np.ones((3, 3, 3)))
    assume(np.bincount(parts[parts > 0], minlength=2).max() >= 8)
    spacing = (0.5, 1.0, 3.0)
    before, after = (covariate_of(PARTS, mask, spacing) for mask in (clean, spoiled))
    assert torch.equal(before, after)


@given(at=st.tuples(*[st.integers(0, 5)] * 3))
def test_a_false_voxel_that_touches_the_structure_moves_temperatures_by_no_more_than_its_size(at):
    clean, spoiled = body(), body()
    spoiled[at] = 1  # within the structure, beside it, or one voxel away
    spacing = (1.0, 0.7, 2.0)
    before, after = (PARTS.temperature_at(covariate_of(PARTS, m, spacing)) for m in (clean, spoiled))
    # a distance shrinks by at most the diagonal of a voxel, and ln T has slope (a - b) / 4 s at most
    bound = math.sqrt(1 + 0.49 + 4) * math.log(2) / 4
    assert (before.log() - after.log()).abs().max().item() <= bound + 1e-5


@given(mask=hnp.arrays(np.uint8, (5, 6, 4), elements=st.integers(0, 2)))
def test_the_distance_to_parts_is_never_below_that_to_the_foreground(mask):
    near, far = covariate_of(MM, mask, (1.0, 1.0, 1.0)), covariate_of(PARTS, mask, (1.0, 1.0, 1.0))
    assert (far >= near).all()
    assert torch.isinf(far).all() == (not mask.any())


@pytest.mark.parametrize("calibrator", [MM, VOXELS, PARTS], ids=["mm", "voxels", "parts"])
def test_unit_and_parts_come_back_from_json(calibrator):
    assert c.calibrator_from_json(calibrator.to_json()) == calibrator


def test_a_file_of_an_older_version_means_millimetres_to_all_of_the_foreground():
    old = c.calibrator_from_json({"name": "distance_temperature", "a": 0.7, "b": 0.0, "d0": 1.5, "s": 1.0})
    assert (old.unit, old.parts) == ("mm", None)
    assert set(old.to_json()) == {"name", "a", "b", "d0", "s"}


@pytest.mark.parametrize("more", [{"unit": "cm"}, {"parts": 0.0}, {"parts": 1.5}])
def test_another_unit_or_share_is_refused(more):
    with pytest.raises(ModelError, match="needs `unit` mm or voxel and `parts` in"):
        c.DistanceTemperature(0.7, 0.0, 1.5, 1.0, **more)


# --- fitting ---------------------------------------------------------------------------------------------


def test_a_fit_says_which_distance_it_was_given():
    scans = [replace(s, unit="voxel", covariate=s.distance, parts=0.05) for s in cohort(constant(2.0), n=300)]
    fitted = c.fit_distance_temperature(scans)
    assert (fitted.unit, fitted.parts) == ("voxel", 0.05)


def test_scans_in_millimetres_and_in_voxels_are_not_fitted_together():
    scans = cohort(constant(2.0), subjects=8, n=300)
    mixed = [replace(scans[0], unit="voxel"), *scans[1:]]
    assert c.fit_distance_temperature(scans) != c.Identity()
    assert c.fit_distance_temperature(mixed) == c.Identity()


def test_voxels_in_another_unit_than_the_calibrators_stay_as_they_are():
    scan = replace(cohort(constant(2.0), n=50)[0], unit="voxel")
    expected = torch.from_numpy(scan.logits).double().exp().T
    torch.testing.assert_close(calibrated_probs(MM, scan), expected / expected.sum(0))


def test_a_calibrator_sees_the_covariate_and_the_band_stays_where_it_is():
    # T = 3 within 4 mm of the parts; the foreground's distance is 0 everywhere and tells nothing
    scans = [
        replace(s, covariate=s.distance, distance=np.zeros_like(s.distance), parts=0.05)
        for s in cohort(lambda d: np.where(d < 4, 3.0, 1.0), n=800)
    ]
    fitted = c.fit_distance_temperature(scans)
    # 1300 voxels within 4 mm: 3 % of noise in T, and the edge is smooth
    assert fitted.temperature_at(torch.tensor(0.0)).item() == pytest.approx(3.0, rel=0.15)
    figures = c.choose_served(scans).figures["identity"]["nll"]
    assert figures["band"] == figures["volume"]


@pytest.mark.parametrize("parts", [None, 0.05])
def test_a_drawn_scan_has_both_distances_of_the_same_voxels(monkeypatch, parts):
    monkeypatch.setattr(covariate, "PARTS", parts)
    mask = np.zeros((12, 12, 12), np.uint8)
    mask[1:5, 1:5, 1:5], mask[11, 11, 11] = 1, 1
    p = torch.from_numpy(np.stack([1 - 0.9 * mask, 0.9 * mask])).float()
    drawn = c.draw_prediction(
        p, torch.from_numpy(mask.astype(int)), None, subject="s", seed=0, valid=np.ones(mask.shape, bool)
    )
    assert (drawn.unit, drawn.parts) == ("voxel", parts)
    speck = np.flatnonzero((drawn.distance == 0) & (drawn.seen > 0))
    assert len(speck) == (0 if parts is None else 1)
    if parts:
        assert drawn.seen[speck[0]] == pytest.approx(math.sqrt(3 * 7**2))
    assert set(drawn.distance) <= set(distance_to(mask > 0, None).ravel())


NESTED = LabelRule("sigmoid", threshold=(0.3, 0.7), structures="nested")


@given(hnp.arrays(np.float32, (2, 30), elements=st.floats(0, 1, width=32)))
def test_what_thresholds_decide_stays_decided_at_every_distance(values):
    p = torch.from_numpy(values)
    for calibrator in (MM, PARTS):
        got = c.calibrate_scan(calibrator, p, NESTED.labels(p).numpy(), (1.0,), rule=NESTED)
        assert torch.equal(NESTED.labels(got), NESTED.labels(p))
        assert torch.equal(NESTED.sets(got), NESTED.sets(p))


def test_the_threshold_itself_is_no_evidence_and_stays_where_it_is():
    # odds of .3 are 3/7, of .6 they are 3/2, 3.5 times as many; T = 2 inside leaves the root of 3.5
    p = torch.tensor([[0.6], [0.1]])
    got = c.calibrate_scan(replace(MM, b=MM.a), p, np.ones(1, np.uint8), (1.0,), rule=NESTED)
    odds = 3 / 7 * math.sqrt(3.5)
    assert got[0].item() == pytest.approx(odds / (1 + odds), abs=1e-6)


def test_voxels_of_a_sigmoid_head_are_drawn_with_sets_thresholds_and_distances():
    # .4 exceeds .3: the outer structure holds the first voxel; .8 exceeds .7: both hold the second
    p = torch.tensor([[0.4, 0.2, 0.1], [0.1, 0.8, 0.1]])
    drawn = c.draw_prediction(
        p, torch.tensor([1, 2, 0]), (2.0,), subject="s", seed=0, valid=np.ones(3, bool), rule=NESTED
    )
    assert drawn.labels.tolist() == [[1, 0], [1, 1], [0, 0]]
    assert drawn.distance.tolist() == [0, 0, 2]
    np.testing.assert_allclose(drawn.pivot, np.log([3 / 7, 7 / 3]), atol=1e-12)
    back = calibrated_probs(replace(MM, a=0.0), drawn)
    np.testing.assert_allclose(back, p, atol=1e-6)
    assert torch.equal(
        calibrated_probs(MM, replace(drawn, unit="voxel")), calibrated_probs(c.Identity(), drawn)
    )


@pytest.mark.parametrize("rule", [LabelRule(), NESTED], ids=["softmax", "sigmoid"])
def test_a_label_that_is_no_class_is_refused_where_it_takes_part_alone(rule):
    p = torch.tensor([[0.4, 0.2, 0.1], [0.6, 0.8, 0.9]])
    reference = torch.tensor([1, 255, -1])
    known = np.array([True, False, False])
    drawn = c.draw_prediction(p, reference, None, subject="s", seed=0, valid=known, rule=rule)
    assert len(drawn.weight) == 1
    with pytest.raises(ProbabilityError, match="255"):
        c.draw_prediction(p, reference, None, subject="s", seed=0, valid=~known, rule=rule)
