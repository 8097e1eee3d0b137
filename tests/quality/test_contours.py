"""Margins that hold for the next subject: the rank, each and joint, and when nothing is said."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrust.errors import ModelError, SettingError
from segtrust.quality import ContourRule, Contours, NeededMargins, conformal_bound, fit_contours

RULE = ContourRule(coverage=0.9, share=1.0)


def needed(outer, inner=0.0):
    return NeededMargins((0.0, outer / 2, outer), (0.0, inner / 2, inner))


def of(outers, inners=None):
    rows = zip(outers, inners or [0.0] * len(outers), strict=True)
    return Contours({1: tuple(needed(o, i) for o, i in rows)})


def test_each_margin_is_the_rank_of_the_conformal_bound():
    outers, inners = [float(i) for i in range(1, 20)], [float(2 * i) for i in range(19, 0, -1)]
    margins = of(outers, inners).margins(ContourRule(0.8, 1.0)).each[1]
    # 20 * .8: the 16th smallest of 19
    assert (margins.outer_mm, margins.inner_mm, margins.subjects) == (16.0, 32.0, 19)
    assert margins.outer_mm == conformal_bound(outers, 0.2)
    half = of(outers, inners).margins(ContourRule(0.8, 0.99)).each[1]
    assert (half.outer_mm, half.inner_mm) == (8.0, 16.0)


@pytest.mark.parametrize(("subjects", "given_"), [(8, False), (9, True)])
def test_nothing_is_said_with_fewer_subjects_than_the_coverage_needs(subjects, given_):
    margins = of([1.0] * subjects).margins(RULE)
    assert (bool(margins.each), bool(margins.joint)) == (given_, given_)


def test_joint_margins_are_worked_by_hand():
    # nine subjects, outer 1 but 3 for the last, inner 2: mean of the others 1.25 (or 1) and 2; the largest
    # of max(outer / its mean, inner / its mean) is 3 / 1 = 3; margins are 3 * 1.25 and 3 * 2
    margins = of([1.0] * 8 + [3.0], [2.0] * 9).margins(RULE).joint[1]
    assert (margins.outer_mm, margins.inner_mm, margins.subjects) == (3.75, 6.0, 9)


def test_a_margin_of_nothing_is_scaled_by_a_tenth_of_a_millimetre():
    margins = of([0.0] * 9).margins(RULE)
    assert (margins.joint[1].outer_mm, margins.each[1].outer_mm) == (0.0, 0.0)
    # the last needs 1 mm where all others need none: ten times the least scale, times a mean of 1 / 8
    assert of([0.0] * 8 + [1.0]).margins(RULE).joint[1].outer_mm == 1.25


def test_a_subject_counts_by_its_worst_scan_and_a_missing_structure_not_at_all():
    scans = [
        ("b", {1: needed(1.0, 5.0), 2: None}),
        ("a", {1: needed(9.0), 2: None}),
        ("b", {1: needed(3.0), 2: None}),
    ]
    fitted = fit_contours(scans, [1, 2])
    assert fitted.needed[1] == (needed(9.0), needed(3.0, 5.0))
    assert fitted.needed[2] == (None, None)
    assert fit_contours([("a", {1: None})], [1]) is None


def test_subjects_without_the_structure_do_not_count_for_it():
    rows = (*(needed(float(i)) for i in range(1, 10)), None, None)
    margins = Contours({1: rows, 2: (None,) * 11}).margins(RULE)
    assert (margins.each[1].outer_mm, margins.each[1].subjects) == (9.0, 9)
    assert 2 not in margins.each
    assert 2 not in margins.joint
    assert margins.joint[1].subjects == 9


def test_a_subject_without_any_margin_makes_the_bound_useless_only_where_its_rank_is_served():
    rows = tuple(needed(1.0) for _ in range(18))
    bad = NeededMargins((math.inf,) * 3, (0.0,) * 3)
    assert Contours({1: (*rows, bad)}).margins(RULE).each[1].outer_mm == 1.0
    assert Contours({1: (*rows, bad, bad)}).margins(RULE).each == {}
    assert Contours({1: (*rows, bad, bad)}).margins(RULE).joint == {}


MM = st.floats(0, 50).map(lambda mm: round(mm, 2))


@given(st.lists(st.tuples(MM, MM, MM, MM), min_size=11, max_size=11))
def test_over_all_choices_of_the_new_subject_contours_miss_as_rarely_as_promised(cohort):
    """Eleven subjects, each left out in turn: at a coverage of .8 at most 11 * .2 of them may be missed."""
    rule = ContourRule(0.8, 1.0)
    rows = {1: [needed(a, b) for a, b, _, _ in cohort], 2: [needed(c, d) for _, _, c, d in cohort]}
    missed = {"outer": 0, "inner": 0, "joint": 0}
    for i in range(len(cohort)):
        margins = Contours({k: tuple(own[:i] + own[i + 1 :]) for k, own in rows.items()}).margins(rule)
        outer, inner = margins.each[1].hold(rows[1][i], 1.0)
        missed["outer"] += not outer
        missed["inner"] += not inner
        missed["joint"] += not margins.hold_at_once({k: own[i] for k, own in rows.items()})
    assert max(missed.values()) <= 0.2 * len(cohort)


def test_simulated_subjects_are_covered_as_often_as_promised_and_hardly_more():
    rng, rule, held = np.random.default_rng(0), ContourRule(0.9, 1.0), []
    for _ in range(300):
        mm = rng.gamma(4.0, 0.5, (20, 4)) * (1, 2, 1, 3)
        rows = {1: [needed(*r[:2]) for r in mm], 2: [needed(*r[2:]) for r in mm]}
        margins = Contours({k: tuple(own[:-1]) for k, own in rows.items()}).margins(rule)
        new = {k: own[-1] for k, own in rows.items()}
        held.append((*margins.each[1].hold(new[1], 1.0), margins.hold_at_once(new)))
    outer, inner, joint = np.mean(held, axis=0)
    # 300 draws of .9: a standard error of .017; the joint margins are a little wider than they need to be
    assert 0.9 - 0.052 <= outer <= 0.9 + 0.052
    assert 0.9 - 0.052 <= inner <= 0.9 + 0.052
    assert 0.9 - 0.052 <= joint <= 0.98


def test_what_is_told_names_the_structures_and_says_what_holds():
    told = of([1.0] * 9).margins(ContourRule(0.9, 0.99)).to_json({1: "spleen"})
    assert told["each"] == {"spleen": {"outer_mm": 0.5, "inner_mm": 0.0, "subjects": 9}}
    assert (told["coverage"], told["share"]) == (0.9, 0.99)
    assert "wrong if less than 99 % of the true structure lies in it" in told["statement"]
    assert "At most 10 % of scans like the calibration scans have a wrong contour" in told["statement"]


def test_they_survive_json_and_strange_documents_are_refused():
    fitted = Contours({1: (needed(1.4143, 2.0), None), 2: (None, needed(3.0))})
    assert Contours.from_json(fitted.to_json()) == fitted
    with pytest.raises(ModelError, match="must be kept for the shares"):
        Contours.from_json({"shares": [0.5], "structures": {}})
    document = fitted.to_json()
    document["structures"]["1"].pop()
    with pytest.raises(ModelError, match="one row per subject"):
        Contours.from_json(document)


@pytest.mark.parametrize("rule", [(0.0, 0.99), (1.0, 0.99), (0.9, 0.98)])
def test_a_rule_that_cannot_be_kept_is_refused(rule):
    with pytest.raises(SettingError, match="`contour_coverage` must lie between 0 and 1"):
        ContourRule(*rule)
