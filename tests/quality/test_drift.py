"""The watch on drift: p-values that are even, bets that are fair, alarms that are rare and come in time."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from segtrust.errors import ModelError, SettingError
from segtrust.quality import TypicalScans
from segtrust.quality.drift import WATCHED, SeenScan, evidence, judge_stream, p_values

NUMBERS = ("entropy", "confidence", "predicted_dice")


def seen(draw, shift=0.0, coarse=False):
    rows = {name: draw.normal(shift, size=3) for name in ("brightness", "sharpness", "ensemble")}
    if coarse:
        rows = {name: np.round(row) for name, row in rows.items()}
    ensemble = rows["ensemble"]
    numbers = {"entropy": ensemble[0], "confidence": ensemble[-1], "predicted_dice": ensemble[1]}
    return SeenScan({name: tuple(row) for name, row in rows.items()}, numbers, draw.uniform(1e-9, 1 - 1e-9))


def calibration(draw, n, coarse=False):
    scans = [seen(draw, coarse=coarse) for _ in range(n)]
    return TypicalScans({name: tuple(scan.features[name] for scan in scans) for name in scans[0].features})


def watched(reference, scans):
    return [p_values(reference, scans[:number], scan) for number, scan in enumerate(scans)]


def test_p_values_by_hand():
    reference = TypicalScans({"ensemble": ((0.1, 0.0), (0.2, 0.0), (0.3, 0.0))})
    scan = SeenScan({}, {"entropy": 0.2}, 0.5)
    lot = (0.5 + 4 * (math.sqrt(5) - 1) / 2) % 1
    assert p_values(reference, [], scan) == {"entropy": pytest.approx((1 + lot * 2) / 4)}
    later = p_values(reference, [scan, SeenScan({}, {"entropy": 0.9}, 0.5)], scan)
    assert later == {"entropy": pytest.approx((2 + lot * 3) / 6)}


@pytest.mark.slow
@pytest.mark.parametrize("coarse", [False, True], ids=["fine", "ties"])
def test_p_values_are_even_and_independent_from_scan_to_scan(coarse):
    draw, found = np.random.default_rng(3), []
    for _ in range(200):
        scans = [seen(draw, coarse=coarse) for _ in range(3)]
        rows = watched(calibration(draw, 5, coarse), scans)
        found.append([[row[name] for name in WATCHED] for row in rows])
    values = np.array(found)
    for step, number in itertools.product(range(3), range(len(WATCHED))):
        assert stats.kstest(values[:, step, number], "uniform").pvalue > 1e-3 / 18  # 18 tests
    for number in range(len(WATCHED)):
        assert stats.spearmanr(values[:, 1, number], values[:, 2, number]).pvalue > 1e-3 / 6


@given(st.lists(st.one_of(st.floats(1e-6, 1), st.none()), min_size=1, max_size=6))
def test_evidence_is_the_mixture_over_change_points(ps):
    values = np.array([math.nan if p is None else p for p in ps])
    stakes = (0.05, 0.15, 0.3, 0.5, 0.75)
    expected = 1 / (len(ps) + 1)  # what has not begun to bet
    for begin in range(len(ps)):
        weight = 1 / ((begin + 1) * (begin + 2))
        expected += weight * np.mean(
            [math.prod(e * p ** (e - 1) for p in ps[begin:] if p is not None) for e in stakes]
        )
    assert evidence(values)[-1] == pytest.approx(expected, rel=1e-9)


def test_a_bet_is_fair():
    u = (np.arange(20_000) + 0.5) / 20_000
    grid, weight = u**20, 20 * u**19  # even p-values, told finely where the steepest bet gains
    for first in (0.3, math.nan):
        after = evidence(np.stack([np.full_like(grid, first), grid], axis=-1))
        assert (after[:, 1] * weight).mean() == pytest.approx(after[0, 0], rel=1e-6)


def test_of_a_thousand_streams_of_a_thousand_scans_fewer_than_one_in_twenty_has_an_alarm():
    draw, alarms = np.random.default_rng(11), 0
    for _ in range(10):
        numbers = draw.random((100, len(NUMBERS), 1000))
        both = (evidence(numbers) + evidence(1 - numbers)) / 2
        mean = np.concatenate([evidence(draw.random((100, 3, 1000))), both], axis=1).mean(axis=1)
        alarms += int((mean.max(axis=1) >= 40).sum())
    assert alarms <= 25  # the first stream has half of all false alarms: at most 1 in 40


@pytest.mark.slow
@pytest.mark.parametrize("subjects", [5, 10, 26])
def test_small_calibration_sets_have_no_more_false_alarms(subjects):
    draw = np.random.default_rng(subjects)
    alarms = sum(
        judge_stream(watched(calibration(draw, subjects), [seen(draw) for _ in range(30)])).alarm is not None
        for _ in range(25)
    )
    assert alarms <= 4  # of 25 at a chance of at most 1 in 40: more happens once in 3,000 times


@pytest.mark.slow
def test_a_change_is_noticed_when_it_comes_and_named():
    draw = np.random.default_rng(5)
    for start in (0, 30):
        scans = [seen(draw) for _ in range(start)] + [seen(draw, shift=4.0) for _ in range(20)]
        found = judge_stream(watched(calibration(draw, 26), scans))
        assert found.alarm is not None
        assert start < found.alarm <= start + 20
        assert set(found.unusual) <= set(WATCHED)
        assert f"at patient {found.alarm} of" in found.sentence


def test_an_alarm_stays():
    strange = [dict.fromkeys(WATCHED, 1e-4)] * 6
    usual = [dict.fromkeys(WATCHED, 0.9)] * 300
    alarm = judge_stream(strange).alarm
    assert alarm is not None
    assert judge_stream([*strange, *usual]).alarm == alarm


def test_later_streams_get_a_smaller_share_of_false_alarms():
    scans = [dict.fromkeys(WATCHED, 0.01)] * 4
    assert [judge_stream(scans, number=n).limit for n in (1, 2, 3)] == [40, 120, 240]
    assert judge_stream(scans, number=1).alarm is not None
    assert sum(1 / judge_stream([], number=n).limit for n in range(1, 500)) < 0.05


def test_what_is_not_defined_neither_wins_nor_loses():
    reference = calibration(np.random.default_rng(0), 12)
    empty = SeenScan({}, {}, 0.5)
    assert p_values(reference, [empty], empty) == {}
    assert judge_stream([{}, {}]).evidence == pytest.approx(1)
    infinite = SeenScan({"brightness": (math.inf, 0.0, 0.0)}, {}, 0.5)
    assert p_values(reference, [], infinite) == {}


def test_evidence_stays_finite():
    assert np.isfinite(evidence(np.full(2000, 1e-12))).all()


def test_what_was_kept_is_read_again_and_nothing_else():
    scan = seen(np.random.default_rng(1))
    assert SeenScan.from_json(scan.to_json()) == scan
    for wrong in ({}, {**scan.to_json(), "features": 3}, {**scan.to_json(), "lot": "x"}):
        with pytest.raises(ModelError, match="must have features"):
            SeenScan.from_json(wrong)
    with pytest.raises(SettingError, match="between 0 and 1"):
        SeenScan({}, {}, 1.0)
    with pytest.raises(SettingError, match="at least 1"):
        judge_stream([], number=0)
