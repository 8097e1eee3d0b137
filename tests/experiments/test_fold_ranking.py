"""Ranking inside folds: by hand, and on made-up subjects with members that never saw them."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from labelled_site import BALLS_AS_STORED, label_ball
from phantoms import publish_random_version
from segtrust.experiments.fold_ranking import FoldRanking, ScoredScan, within_folds
from segtrust.experiments.folds import Cell, Folds
from segtrust.experiments.trust import CLEAN, Condition
from segtrust.scores import ScanScores
from segtrust.training.loop import Budget

ROOT = Path(__file__).parents[2]
NOISE = Condition("noise", 1)


def scored(index, fold, dice, entropy):
    scores = ScanScores(entropy, None, 0.1, None, None, None, 0.1, {})
    return ScoredScan(f"s{index}", f"p{index}", fold, np.array([dice]), scores)


def test_scores_of_different_ensembles_are_not_compared():
    # in each fold entropy falls as Dice rises; the second ensemble is less sure of better scans
    scans = [scored(i, 0, 0.5 + i / 10, 0.4 - i / 100) for i in range(3)]
    scans += [scored(3 + i, 1, 0.8 + i / 100, 0.9 - i / 100) for i in range(3)]
    found = json.loads(json.dumps(within_folds({"clean": scans}), allow_nan=False))["conditions"]["clean"]
    assert found["spearman"]["entropy"]["value"] == pytest.approx(-1)
    assert found["spearman"]["pairwise_dice"]["value"] is None
    assert found["scans"]["entropy"] == 6
    assert found["scans"]["pairwise_dice"] == 0
    assert found["dice"] == pytest.approx((0.5 + 0.6 + 0.7 + 0.8 + 0.81 + 0.82) / 6)


def test_the_mean_counts_every_condition_the_same():
    rising = [scored(i, 0, i / 10, i / 10) for i in range(4)]
    falling = [scored(i, 0, i / 10, -i / 10) for i in range(4)]
    found = within_folds({"a": rising, "b": rising, "c": rising, "d": falling})
    assert found["mean"]["entropy"]["value"] == pytest.approx((3 - 1) / 4)
    assert found["mean"]["entropy"]["subjects"] == 4


def test_a_scan_without_a_score_takes_no_part():
    scans = [scored(i, 0, d, e) for i, (d, e) in enumerate([(0.1, 3), (0.2, 2), (0.3, 1), (0.9, None)])]
    found = within_folds({"clean": scans})["conditions"]["clean"]
    assert found["spearman"]["entropy"]["value"] == pytest.approx(-1)
    assert found["scans"]["entropy"] == 3


@given(st.data())
def test_one_fold_agrees_with_scipy(data):
    n = data.draw(st.integers(3, 9))
    tenths = st.integers(0, 9).map(lambda v: v / 10)
    entropies = data.draw(st.lists(st.none() | tenths, min_size=n, max_size=n))
    dice = data.draw(st.lists(tenths, min_size=n, max_size=n))
    scans = [scored(i, 0, d, e) for i, (d, e) in enumerate(zip(dice, entropies, strict=True))]
    found = within_folds({"clean": scans})["conditions"]["clean"]["spearman"]["entropy"]
    known = [(e, d) for e, d in zip(entropies, dice, strict=True) if e is not None]
    if len(known) < 3 or any(len(set(column)) == 1 for column in zip(*known, strict=True)):
        assert found["value"] is None
    else:
        assert found["value"] == pytest.approx(stats.spearmanr(known).statistic, abs=1e-9)
        assert (found["low"], found["interval"]) == (None, "n too small")


def test_the_interval_draws_subjects_inside_each_fold():
    # entropies of one fold lie far above those of the other: drawn together, most draws would mix them up
    rng = np.random.default_rng(0)
    scans = []
    for i in range(60):
        dice, noise = rng.uniform(0.5, 0.9), rng.normal(0, 0.1)
        scans.append(scored(i, i % 2, dice, 100 * (i % 2) - dice + noise))
    found = within_folds({"clean": scans})["conditions"]["clean"]["spearman"]["entropy"]
    # mean of two Fisher z of 30 scans each: standard error about 1.03 / sqrt(2 * 27) = .14
    z = np.arctanh([found["low"], found["value"], found["high"]])
    assert np.diff(z) == pytest.approx([1.96 * 0.14] * 2, rel=0.5)
    assert found["subjects"] == 60


@pytest.fixture
def ranking(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    names = {"a1": "a", "a2": "a", "b": "b", "c": "c"}
    for index, name in enumerate(names):
        scan = label_ball(tmp_path, name, seed=index)
        scan.image.rename(tmp_path / "images" / scan.image.name)
        scan.label.rename(tmp_path / "labels" / f"{name}.nii.gz")
    rows = ["case,subject", *(f"{scan},{subject}" for scan, subject in names.items())]
    (tmp_path / "subjects.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    members = {
        fold: publish_random_version(tmp_path / f"{fold}" / "balls", BALLS_AS_STORED, seed=fold).members
        for fold in (0, 1)
    }
    folds = Folds(tmp_path, {"a1": 0, "a2": 0, "b": 1, "c": 1})
    lines = []
    made = FoldRanking(
        Cell("balls", BALLS_AS_STORED, Budget()),
        folds,
        members,
        seed=1,
        cache=tmp_path / "kept",
        say=lines.append,
    )
    return made, lines


def test_one_scan_of_every_subject_is_predicted_by_members_that_never_saw_it(ranking):
    made, _ = ranking
    scans = made.scans(CLEAN)
    assert [(scan.scan_id, scan.fold) for scan in scans] == [("a1", 0), ("b", 1), ("c", 1)]
    # members of the other fold answer otherwise
    other = made._predictors[1].predict(made.folds.data / "images" / "a1.nii.gz")
    assert scans[0].scores.entropy != other.scores.entropy


def test_what_was_measured_is_read_again(ranking):
    made, lines = ranking
    first = made.scans(NOISE)
    said = len(lines)
    again = made.scans(NOISE)
    assert len(lines) == said > 0
    assert [fields(scan) for scan in first] == [fields(scan) for scan in again]
    assert all(scan.scores.details and scan.features and scan.truth for scan in first)


def fields(scan):
    """All that is read again; the scores of single structures take no part in a comparison of scores."""
    dice = [None if np.isnan(d) else d for d in scan.dice]
    truth = {value: part.to_json() for value, part in scan.truth.items()}
    return (scan.scan_id, dice, scan.scores, scan.scores.details, scan.features, truth)


def test_another_condition_is_measured_by_itself(ranking):
    made, _ = ranking
    assert [s.scores for s in made.scans(CLEAN)] != [s.scores for s in made.scans(NOISE)]
