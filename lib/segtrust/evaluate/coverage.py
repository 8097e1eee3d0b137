"""Do intervals of the Dice hold the true Dice? Each scan is judged by scans of other subjects alone."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats
from scipy.special import expit

from segtrust.evaluate.cases import CaseRecord
from segtrust.evaluate.protocol import subject_folds
from segtrust.quality import COVERAGE, conformal_bound, logit_dice
from segtrust.quality.line import Line, Rows, fit_line
from segtrust.quality.line_scores import LINE_SCORES, line_scores
from segtrust.quality.log_odds import dice_range
from segtrust.scores import StructureScores

__all__ = ["LEAST_SUBJECTS", "dice_coverage"]

LEAST_SUBJECTS = 30
"""With fewer, the half of four fifths that makes the bound is too few for 90 %."""
_FOLDS = 5
_KEY = "segtrust-coverage-1"


def dice_coverage(records: Sequence[CaseRecord], structures: Sequence[str], *, main: str) -> dict[str, Any]:
    """Predict the Dice of every structure with a 90 % interval, and count how often the interval is right.

    Five folds of subjects: of the other four, one half fits a line from the scores of the structure to the
    logit of its Dice, the other half makes the bound, and the fold is judged.

    Args:
        records: scans whose scores have details.
        structures: names in order of their values.
        main: the system whose Dice is predicted.

    Returns:
        Structure -> ``inside`` of ``scans``, the range ``expected`` of ``inside`` in 95 % of repetitions if
        the coverage is exactly 90 %, ``median_width``, ``marginal_width`` (5th to 95th percentile of the true
        Dice), and ``points`` ``[predicted, low, high, true]``. A structure with fewer than 30 subjects that
        have it is absent.

    Source:
        Lei et al. 2018, split conformal prediction; Vovk 2012 for the distribution of the coverage.
    """
    intervals = {}
    for index, name in enumerate(structures):
        rows = {
            i: (details, float(r.dice[main][index]))
            for i, r in enumerate(records)
            if r.scores is not None
            and (details := r.scores.details.get(index + 1)) is not None
            and details.entropy is not None
            and not math.isnan(r.dice[main][index])
        }
        subjects = {i: records[i].subject for i in rows}
        if len(set(subjects.values())) >= LEAST_SUBJECTS:
            intervals[name] = _one(rows, subjects)
    return intervals


def _one(rows: Mapping[int, tuple[StructureScores, float]], subjects: Mapping[int, str]) -> dict[str, Any]:
    folds = subject_folds(subjects.values(), count=_FOLDS, key=_KEY)
    halves = subject_folds(subjects.values(), count=2, key=_KEY + "-halves")
    points, likely = [], np.zeros(20_000, np.int64)
    rng = np.random.default_rng(0)
    for fold in range(_FOLDS):
        judged = [i for i, s in subjects.items() if folds[s] == fold]
        fitted = [i for i, s in subjects.items() if folds[s] != fold and halves[s] == 0]
        bounding = [i for i, s in subjects.items() if folds[s] != fold and halves[s] == 1]
        line = _line({i: rows[i] for i in fitted}, subjects)
        misses: dict[str, float] = {}
        for i in bounding:
            miss = abs(_at(line, rows[i][0]) - logit_dice(rows[i][1]))
            misses[subjects[i]] = max(miss, misses.get(subjects[i], 0.0))
        width = conformal_bound(list(misses.values()), 1 - COVERAGE)
        rank = math.ceil((len(misses) + 1) * COVERAGE - 1e-9)
        chance = stats.beta.rvs(rank, len(misses) + 1 - rank, size=len(likely), random_state=rng)
        likely += rng.binomial(len(judged), chance)
        for i in judged:
            centre = _at(line, rows[i][0])
            low, high = dice_range(centre - width, centre + width)
            points.append([float(expit(centre)), low, high, rows[i][1]])
    true = [point[3] for point in points]
    low, high = np.quantile(true, [0.05, 0.95])
    return {
        "scans": len(points),
        "inside": sum(lower <= dice <= upper for _, lower, upper, dice in points),
        "expected": np.quantile(likely, [0.025, 0.975]).astype(int).tolist(),
        "nominal": COVERAGE,
        "median_width": float(np.median([upper - lower for _, lower, upper, _ in points])),
        "marginal_width": float(high - low),
        "points": points,
    }


def _line(rows: Mapping[int, tuple[StructureScores, float]], subjects: Mapping[int, str]) -> Line:
    scores = [line_scores(details) for details, _ in rows.values()]
    inputs = {
        name: np.array([np.nan if s[name] is None else s[name] for s in scores], np.float64)
        for name in LINE_SCORES
    }
    target = np.array([logit_dice(dice) for _, dice in rows.values()])
    whole = Rows([subjects[i] for i in rows], inputs, target, np.ones(len(rows), bool))
    return fit_line(whole, LINE_SCORES)


def _at(line: Line, details: StructureScores) -> float:
    value = line.at(line_scores(details))
    return line.level if value is None else value
