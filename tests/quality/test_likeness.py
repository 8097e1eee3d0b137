"""Coverage of intervals by grade of likeness, over made-up calibration sets: what holds, and what cannot."""

from dataclasses import dataclass

import numpy as np
import pytest

from segtrust.quality import Rows, TypicalScans, fit_regression

SETS, NEW = 60, 30
COVERAGE = 0.9


@dataclass(frozen=True)
class World:
    """How new scans differ: image (standard deviations), size of errors, how far the members notice."""

    image: float = 0.0
    errors: float = 1.0
    noticed: float = 0.0


LIKE = World()
GROUP = World(image=4.0)
WORSE = World(image=4.0, errors=2.0, noticed=4.0)
UNNOTICED = World(image=4.0, errors=2.0)


def features(draw, n, world):
    centres = {"brightness": (4, 0.0), "sharpness": (4, world.image), "ensemble": (2, world.noticed)}
    return {name: draw.normal(centre, size=(n, k)) for name, (k, centre) in centres.items()}


def judged(subjects, world, seed=0):
    """Grade, and whether the usual and the widest interval held, of new scans over many calibration sets."""
    draw, found = np.random.default_rng(seed), []
    for _ in range(SETS):
        rows = {name: tuple(map(tuple, f)) for name, f in features(draw, subjects, LIKE).items()}
        errors, names = draw.normal(size=subjects), [f"s{i:02d}" for i in range(subjects)]
        line = fit_regression(Rows(names, {}, errors, np.ones(subjects, bool)), ())
        ends = [line.interval({}, COVERAGE, width) for width in ("usual", "widest")]
        new, errors = features(draw, NEW, world), world.errors * draw.normal(size=NEW)
        for i, error in enumerate(errors):
            scan = {name: tuple(values[i]) for name, values in new.items()}
            grade = TypicalScans(rows).compare(scan).likeness
            found.append((grade, *(low <= error <= high for low, high in ends)))
    return found


def share(found, grade):
    return np.mean([row[0] == grade for row in found])


def coverage(found, *grades):
    """Of the usual and the widest interval."""
    return np.mean([row[1:] for row in found if row[0] in grades], axis=0)


def chance(found, *grades):
    """Four standard errors of a coverage of .9, if every calibration set counted once."""
    n = min(SETS, sum(row[0] in grades for row in found))
    return 4 * np.sqrt(COVERAGE * (1 - COVERAGE) / n)


@pytest.mark.slow
@pytest.mark.parametrize("subjects", [10, 20, 50])
def test_exchangeable_scans_are_seldom_unlike_and_intervals_hold_for_all_together(subjects):
    found = judged(subjects, LIKE)
    rare = max(0.05, 1 / (subjects + 1))
    ordinary, strange = "not tested" if subjects < 20 else "like", ("somewhat unlike", "unlike")
    assert share(found, ordinary) >= 1 - rare - 0.02
    assert coverage(found, ordinary, *strange)[0] >= COVERAGE - 0.03
    assert coverage(found, *strange)[1] >= COVERAGE - chance(found, *strange)


@pytest.mark.slow
@pytest.mark.parametrize("subjects", [10, 20, 50])
def test_a_group_with_ordinary_errors_is_somewhat_unlike_and_both_intervals_hold(subjects):
    found = judged(subjects, GROUP)
    assert share(found, "somewhat unlike") > 0.85
    usual, widest = coverage(found, "somewhat unlike")
    assert COVERAGE - 0.03 <= usual <= widest


@pytest.mark.slow
@pytest.mark.parametrize("subjects", [10, 20, 50])
def test_a_group_with_worse_errors_that_members_notice_is_unlike_and_no_interval_would_hold(subjects):
    found = judged(subjects, WORSE)
    assert share(found, "unlike") > 0.95
    assert max(coverage(found, "unlike")) < 0.85


@pytest.mark.slow
@pytest.mark.parametrize("subjects", [10, 20, 50])
def test_where_members_do_not_notice_worse_errors_the_grade_is_too_mild_and_the_widest_interval_errs_less(
    subjects,
):
    found = judged(subjects, UNNOTICED)
    assert share(found, "somewhat unlike") > 0.85
    usual, widest = coverage(found, "somewhat unlike")
    assert usual < 0.8  # no interval can hold here: nothing that is seen tells it
    assert widest >= usual
    assert widest > usual + 0.04 or subjects == 10  # of ten subjects the usual one is the widest
