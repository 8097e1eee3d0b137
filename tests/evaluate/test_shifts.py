"""Shift suite v1: eight corruptions of a scan, three strengths each."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phantoms import make_blob
from segtrust.errors import SettingError
from segtrust.evaluate.shifts import SHIFT_SUITE, corrupt, shift_seed

PROTOCOL = Path(__file__).parents[2] / "benchmarks" / "protocol.json"
NAMES = list(SHIFT_SUITE)


def ball():
    return make_blob((24, 20, 22), radius=6.0).data.numpy()


def line(*values):
    return np.array(values, np.float32).reshape(1, -1, 1, 1)


def test_the_suite_has_eight_corruptions_of_three_rising_strengths():
    assert len(SHIFT_SUITE) == 8
    assert all(c.strengths == tuple(sorted(set(c.strengths))) for c in SHIFT_SUITE.values())


def test_the_protocol_holds_the_suite_as_it_is_coded():
    suite = {name: {"parameter": c.parameter, "strengths": [*c.strengths]} for name, c in SHIFT_SUITE.items()}
    assert json.loads(PROTOCOL.read_text("utf-8"))["shifts"]["corruptions"] == suite


@pytest.mark.parametrize("name", NAMES)
def test_shape_and_type_are_kept_and_the_scan_is_not_touched(name):
    scan = ball()
    before = scan.copy()
    got = corrupt(scan, name, 3, 7)
    assert (got.shape, got.dtype) == (scan.shape, np.float32)
    assert np.isfinite(got).all()
    assert np.array_equal(scan, before)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_volume(name):
    assert np.array_equal(corrupt(ball(), name, 2, 7), corrupt(ball(), name, 2, 7))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", NAMES)
def test_a_stronger_shift_changes_more(name, seed):
    scan = ball().astype(np.float64)
    effect = [np.square(corrupt(ball(), name, s, seed) - scan).mean() for s in (1, 2, 3)]
    assert 0 < effect[0] < effect[1] < effect[2]


@pytest.mark.parametrize("name", NAMES)
@given(st.floats(0.01, 1e5), st.floats(-1e3, 1e3))
def test_a_scan_in_other_units_is_corrupted_alike(name, factor, offset):
    # float32 holds the offset scan to 6e-8 of its largest value; the comparison is on the range of the scan
    scan = ball()[:, ::3, ::3, ::3]
    moved = (scan.astype(np.float64) * factor + offset).astype(np.float32)
    got, expected = corrupt(moved, name, 2, 3), corrupt(scan, name, 2, 3) * factor + offset
    assert np.abs(got - expected).max() <= 1e-4 * factor * 100 + 1e-6 * abs(offset)


def test_gamma_by_hand():
    # strength 2: squares of 0, 1/2 and 1 on the range 10..30
    np.testing.assert_allclose(corrupt(line(10, 20, 30), "gamma", 2, 0).ravel(), [10, 15, 30], rtol=1e-6)


def test_contrast_by_hand():
    # strength 2 and 99th percentile 1: .7 w + .3 * 4 w (1 - w): 0, .35 + .3, .7
    got = corrupt(line(0, 0.5, *[1] * 300), "contrast", 2, 0).ravel()
    np.testing.assert_allclose(got[:3], [0, 0.65, 0.7], rtol=1e-6)


def test_slabs_keep_a_straight_ramp_between_their_centres():
    ramp = np.broadcast_to(np.arange(12, dtype=np.float32)[:, None, None], (12, 12, 12))[None]
    got = corrupt(np.ascontiguousarray(ramp), "thick_slices", 1, 1)
    assert np.abs(got - ramp).max() <= 0.5 + 1e-5


def test_noise_on_nothing_is_rayleigh():
    # mean of a Rayleigh variable: sigma sqrt(pi / 2); one bright voxel sets the range to 1
    scan = np.zeros((1, 30, 30, 30), np.float32)
    scan[0, 0, 0, 0] = 1
    got = corrupt(scan, "noise", 2, 0)[0, 1:]
    # 26 100 voxels: one standard error is .4 % of the mean
    assert got.mean() == pytest.approx(0.1 * math.sqrt(math.pi / 2), rel=0.02)


def test_the_bias_field_reaches_its_largest_logarithm_and_not_beyond():
    scan = np.full((1, 16, 16, 16), 2.0, np.float32)
    scan[0, 8, 8, 8] = 1  # the range 1..2; the field multiplies v = 1 everywhere but here
    got = corrupt(scan, "bias_field", 2, 5)
    got[0, 8, 8, 8] = 2
    field = np.log(got - 1)
    assert np.abs(field).max() == pytest.approx(0.6, abs=1e-4)


@pytest.mark.parametrize("name", ["ghosting", "motion"])
def test_a_constant_line_has_no_lines_of_k_space_to_spoil(name):
    scan = np.ones((1, 16, 16, 16), np.float32)
    scan[0, :2, :2, :2] = 0
    got = corrupt(scan, name, 3, 2)
    # the mean, the centre of k-space, stays within what the magnitude folds up
    assert got.mean() == pytest.approx(scan.mean(), abs=0.01)


def test_seeds_differ_between_scans_and_shifts_and_not_between_calls():
    assert shift_seed(1, "a", "noise") == shift_seed(1, "a", "noise")
    assert len({shift_seed(s, i, n) for s in (1, 2) for i in "ab" for n in NAMES}) == 32


@pytest.mark.parametrize(
    ("name", "strength", "shape", "words"),
    [
        ("fog", 1, (1, 2, 2, 2), "one of noise, blur"),
        ("blur", 4, (1, 2, 2, 2), "1, 2 or 3, got 4"),
        ("blur", 1, (2, 2, 2), r"\(C, X, Y, Z\), got shape \(2, 2, 2\)"),
    ],
)
def test_what_the_suite_does_not_know_is_refused(name, strength, shape, words):
    with pytest.raises(SettingError, match=words):
        corrupt(np.zeros(shape, np.float32), name, strength, 0)
