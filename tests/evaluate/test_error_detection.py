"""Do flags find the wrong voxels? Counts of a scan, figures over scans."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_score, recall_score, roc_auc_score

from segtrust.error_flags import FlagRule, probability_scores
from segtrust.evaluate.error_detection import count_errors, detection_figures, flag_figures
from segtrust.evaluate.error_table import error_tables

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "hippocampus-error-flags.json"


def scan(scores, predicted, reference, name="a", fold=0):
    """A line of voxels of 1 mm; the band reaches five voxels from the prediction."""
    doubt, found, truth = (np.array(part).reshape(-1, 1, 1) for part in (scores, predicted, reference))
    return count_errors(name, name, {"doubt": doubt}, found, truth, (1.0, 1.0, 1.0), fold=fold)


@pytest.fixture(scope="module")
def noise():
    """Three scans of 400 voxels whose scores know something about the errors."""
    rng = np.random.default_rng(0)
    found = []
    for fold, name in enumerate("abc"):
        probs = rng.dirichlet((1.0, 1.0, 1.0), (20, 20, 1)).transpose(3, 0, 1, 2)
        predicted = probs.argmax(axis=0)
        chance = np.cumsum(probs, axis=0)
        reference = (rng.random((20, 20, 1)) > chance[:-1]).sum(axis=0)
        scores = probability_scores(probs)
        counted = count_errors(name, name, scores, predicted, reference, (1.0, 1.0, 1.0), fold=fold)
        found.append((counted, scores, predicted != reference))
    return found


def test_counts_by_hand():
    # predicted 0..2, the rest is band up to voxel 7; wrong are 2 (flagged), 3 (not) and 9, outside the band
    one = scan(
        [0.1, 0.2, 0.9, 0.3, 0.8, 0, 0, 0, 0, 0.9],
        [1, 1, 1, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0, 0, 0, 1],
    )
    assert one.missed == (1, 2)
    counts = one.flags("doubt", FlagRule("fixed", 0.5))
    assert (counts.voxels, counts.flagged, counts.wrong, counts.hits) == (8, 2, 1, 1)
    assert counts.figures() == {"recall": 1.0, "precision": 0.5, "flagged": 0.25}
    assert counts.kinds["boundary_1"] == (1, 1)


def test_recall_and_precision_agree_with_scikit_learn(noise):
    for one, scores, wrong in noise:
        counts = one.flags("entropy", FlagRule.parse("mean"))
        flagged = scores["entropy"] > scores["entropy"].mean()
        assert counts.voxels == wrong.size  # the band is all of it
        assert counts.figures()["recall"] == pytest.approx(recall_score(wrong.ravel(), flagged.ravel()))
        assert counts.figures()["precision"] == pytest.approx(precision_score(wrong.ravel(), flagged.ravel()))


def test_pooled_figures_are_those_of_all_voxels_together(noise):
    found = detection_figures([one for one, _, _ in noise])["margin"]["band"]
    score = np.concatenate([scores["margin"].ravel() for _, scores, _ in noise])
    wrong = np.concatenate([bad.ravel() for _, _, bad in noise])
    assert found["auroc"]["pooled"]["value"] == pytest.approx(roc_auc_score(wrong, score), abs=1e-3)
    assert found["aupr"]["pooled"]["value"] == pytest.approx(average_precision_score(wrong, score), abs=5e-3)
    assert found["wrong"] == pytest.approx(wrong.mean())
    each = [roc_auc_score(bad.ravel(), scores["margin"].ravel()) for _, scores, bad in noise]
    assert found["auroc"]["scans"] == pytest.approx(np.mean(each), abs=1e-3)
    assert found["auroc"]["worst"] == pytest.approx(min(each), abs=1e-3)  # a tenth of three is one


def test_a_calibrated_threshold_is_learnt_from_other_folds(noise):
    scans = [one for one, _, _ in noise]
    found = flag_figures(scans, "entropy", FlagRule("calibrated", 0.8))
    recalls = []
    for own in scans:
        learnt = sum(o.histograms["entropy"]["band"].wrong for o in scans if o.fold != own.fold)
        recalls.append(own.flags("entropy", FlagRule("calibrated", 0.8), learnt).figures()["recall"])
    assert found["recall"]["scans"] == pytest.approx(np.mean(recalls))
    assert found["recall"]["pooled"]["value"] == pytest.approx(0.8, abs=0.1)


def test_the_worst_flagged_share_is_the_largest():
    calm, wild = scan([0.0] * 3 + [0.9], [1, 1, 1, 1], [1, 1, 1, 0]), scan([0.9] * 4, [1] * 4, [1] * 4, "b")
    found = flag_figures([calm, wild], "doubt", FlagRule("fixed", 0.5))
    assert (found["flagged"]["scans"], found["flagged"]["worst"]) == (0.625, 1.0)
    assert found["recall"]["scans"] == 1.0  # the scan without errors takes no part
    assert found["kinds"]["class_swap"] == {"voxels": 0, "recall": None}
    json.dumps(found, allow_nan=False)


def test_an_empty_prediction_counts_what_it_missed():
    one = scan([0.1, 0.1], [0, 0], [1, 0])
    assert one.missed == (1, 1)
    assert one.flags("doubt", FlagRule.parse("otsu")).voxels == 0


@pytest.fixture(scope="module")
def population():
    """Thirty scans of 900 voxels in five folds; a voxel is wrong with the chance that its model gives it."""
    rng = np.random.default_rng(7)
    scans = []
    for index in range(30):
        probs = rng.dirichlet((0.3, 0.3), (30, 30, 1)).transpose(3, 0, 1, 2)
        predicted = probs.argmax(axis=0)
        reference = (rng.random((30, 30, 1)) < probs[1]).astype(int)
        scores = {**probability_scores(probs), "lot": rng.random((30, 30, 1))}
        name = str(index)
        scans.append(count_errors(name, name, scores, predicted, reference, None, fold=index % 5))
    return scans


def test_scores_of_a_model_that_knows_its_chances_find_its_errors_and_a_lot_does_not(population):
    figures = detection_figures(population)
    for score in ("entropy", "margin", "variation_ratio", "gini"):
        assert figures[score]["band"]["auroc"]["pooled"]["low"] > 0.8
    blind = figures["lot"]["band"]["auroc"]["pooled"]
    assert blind["low"] < 0.5 < blind["high"]


@pytest.mark.parametrize("goal", [0.8, 0.9, 0.95])
def test_a_threshold_learnt_elsewhere_finds_the_share_of_errors_it_is_set_to(population, goal):
    flags, blind = (
        flag_figures(population, score, FlagRule("calibrated", goal)) for score in ("entropy", "lot")
    )
    # of some 4,000 wrong voxels; twice the standard error is .013 at .8, also for the threshold
    assert flags["recall"]["pooled"]["value"] == pytest.approx(goal, abs=0.02)
    assert blind["flagged"]["pooled"]["value"] == pytest.approx(goal, abs=0.02)
    assert flags["flagged"]["pooled"]["value"] < blind["flagged"]["pooled"]["value"] - 0.1


def test_the_page_holds_the_measured_tables():
    page = (ROOT / "docs" / "explanation" / "error-flags.md").read_text("utf-8")
    for system in json.loads(RESULTS.read_text("utf-8"))["systems"].values():
        assert error_tables(system) in page


def test_the_example_of_the_page_flags_anybodys_probabilities(tmp_path, monkeypatch):
    page = (ROOT / "docs" / "explanation" / "error-flags.md").read_text("utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    monkeypatch.chdir(tmp_path)
    # a sure voxel, two sides of a border, a doubtful voxel
    first = np.array([1.0, 0.9, 0.1, 0.45]).reshape(4, 1, 1)
    np.save("probabilities.npy", np.stack([first, 1 - first]))
    names = {}
    exec(compile(code, "documentation", "exec"), names)
    assert names["flags"].ravel().tolist() == [False, False, False, True]
