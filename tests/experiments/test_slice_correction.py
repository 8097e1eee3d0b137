"""What correcting a few slices is worth."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from segtrust.experiments.crossfit import HeldOut
from segtrust.experiments.slice_correction import (
    CHOICES,
    SliceCounts,
    correct,
    evenly_spaced,
    summarise_slices,
)
from segtrust.inference import Predictor
from segtrust.metrics import dice_per_structure
from segtrust.models import open_version
from segtrust.training.cases import read_labelled, read_splits, read_subjects

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "hippocampus-slices.json"
SHIPPED = ROOT / "lib" / "segtrust" / "shipped" / "hippocampus"


def line(*labels):
    return np.array(labels, np.uint8).reshape(1, 1, -1)


def held_out(mask, labels, *, confidence, name="a", statistics=None):
    """One voxel per slice; ``confidence`` is the probability of the predicted label."""
    mask, labels = line(*mask), line(*labels)
    chance = torch.tensor(confidence).reshape(1, 1, 1, -1)
    first = torch.where(torch.from_numpy(mask)[None] == 0, chance, 1 - chance)
    probs = torch.cat([first, 1 - first])
    return HeldOut(0, name, name, (1.0, 1.0, 1.0), labels, mask, probs, np.ones(mask.shape, bool), statistics)


def test_dice_after_a_correction_by_hand():
    counts = SliceCounts.of(line(1, 1, 0, 0), line(1, 0, 1, 0), 1)
    assert counts.dice() == 0.5  # 2 * 1 / (2 + 2)
    assert counts.dice([1]) == pytest.approx(2 / 3)  # 2 * 1 / (1 + 2)
    assert counts.errors_left([1]) == 0.5
    assert (counts.dice([1, 2]), counts.errors_left([1, 2])) == (1.0, 0.0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_dice_after_a_correction_is_that_of_the_corrected_mask(axis):
    rng = np.random.default_rng(axis)
    predicted, reference = (rng.integers(0, 3, (5, 6, 7)).astype(np.uint8) for _ in range(2))
    corrected = predicted.copy()
    where = (slice(None),) * axis + ([1, 3],)
    corrected[where] = reference[where]
    counts = SliceCounts.of(predicted, reference, 2, axis=axis)
    assert counts.dice([1, 3]) == pytest.approx(dice_per_structure(corrected, reference, 2).mean())
    left = np.count_nonzero(corrected != reference) / np.count_nonzero(predicted != reference)
    assert counts.errors_left([1, 3]) == pytest.approx(left)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 9, 20])
def test_evenly_spaced_slices_are_different_and_lie_in_the_middle(count):
    found = evenly_spaced(range(9), count)
    assert len(set(found)) == len(found) == min(count, 9)
    assert np.mean(found) == pytest.approx(4, abs=0.5)


def test_the_unsure_slice_is_corrected_first():
    # slices 2 and 4 are wrong; the model doubts 2 and is sure of 4
    scan = held_out((0, 1, 1, 1, 1, 0), (0, 1, 0, 1, 0, 0), confidence=[0.9, 0.9, 0.6, 0.9, 0.95, 0.9])
    found = correct(scan, 1, budgets=(1, 2))
    assert found.before == pytest.approx(2 / 3)  # 2 * 2 / (4 + 2)
    assert found.dice[1]["expected error"] == pytest.approx(0.8)  # 2 * 2 / (3 + 2)
    assert found.left[1]["expected error"] == 0.5
    assert found.stated[1] == pytest.approx(0.4 / 0.85, rel=1e-5)
    assert found.left[2]["true error"] == 0
    assert found.slices == (4, 6)
    # by lot: half of the four slices through the prediction are wrong; a third of all six
    assert found.left[1]["lot, predicted"] == pytest.approx(1 - 1 / 4, abs=0.08)
    assert found.left[1]["lot, all"] == pytest.approx(1 - 1 / 6, abs=0.08)


def test_an_empty_prediction_takes_no_part():
    assert correct(held_out((0, 0), (0, 1), confidence=[0.9, 0.9]), 1) is None


def test_differences_are_paired_and_counted_by_subject():
    scans = [
        correct(held_out((1, 1, 0), (1, 0, wrong), confidence=[0.9, 0.6, 0.8], name=name), 1, budgets=(1,))
        for name, wrong in (("a", 0), ("b", 1))
    ]
    found = json.loads(json.dumps(summarise_slices(scans), allow_nan=False))
    assert (found["scans"], found["subjects"]) == (2, 2)
    choices = found["budgets"]["1"]["choices"]
    assert set(choices) == set(CHOICES)
    for choice in choices.values():
        gap = choices["expected error"]["dice"]["value"] - choice["dice"]["value"]
        assert choice["less"]["value"] == pytest.approx(gap)
    assert choices["expected error"]["left"]["value"] == 0.25  # none of one, one of two


def doubted(rng, name, *, knows):
    """Thirty slices of one voxel, six of them wrong; the doubt lies on the wrong ones or anywhere."""
    wrong = rng.choice(range(3, 27), 6, replace=False)
    mask = np.array([0] * 3 + [1] * 24 + [0] * 3)
    labels = mask.copy()
    labels[wrong] = 0
    confidence = rng.uniform(0.85, 0.95, 30).astype(np.float32)
    confidence[wrong if knows else rng.choice(range(3, 27), 6, replace=False)] -= 0.3
    return held_out(mask.tolist(), labels.tolist(), confidence=confidence.tolist(), name=name)


@pytest.mark.parametrize("knows", [True, False], ids=["the model knows where", "it does not"])
def test_the_named_slices_beat_all_blind_choices_only_if_doubt_lies_on_errors(knows):
    rng = np.random.default_rng(5)
    scans = [correct(doubted(rng, f"p{i}", knows=knows), 1, budgets=(1, 3)) for i in range(32)]
    for budget in summarise_slices(scans)["budgets"].values():
        choices = budget["choices"]
        # all errors lie in predicted slices, so that even a blind choice among those beats one of all slices
        for name in ("even, predicted", "lot, predicted", *(("even, all", "lot, all") if knows else ())):
            assert (choices[name]["less"]["low"] > 0) is knows, name
        assert choices["true error"]["less"]["high"] <= 0


@pytest.mark.slow
def test_correcting_the_named_slices_of_real_scans_beats_evenly_spaced_ones(hippocampus_dir):
    predictor, people = Predictor(open_version(SHIPPED)), read_subjects(hippocampus_dir)
    found = []
    for name in read_splits(hippocampus_dir)["val"][:8]:
        scan, labels = read_labelled(hippocampus_dir, name, predictor.spec)
        prepared, statistics, _ = predictor.sample(scan)
        got = predictor.conclude(scan, prepared, statistics)
        one = HeldOut(
            0, name, people[name], scan.spacing, labels.numpy(), got.mask, torch.from_numpy(got.probs),
            got.valid, statistics,
        )  # fmt: skip
        found.append(correct(one, 2, budgets=(3,)))
    gains = {name: np.mean([f.dice[3][name] - f.before for f in found]) for name in CHOICES}
    assert gains["expected error"] > max(gains["even, predicted"], gains["lot, predicted"]) > 0
    left = {name: np.mean([f.left[3][name] for f in found]) for name in CHOICES}
    assert left["true error"] <= left["expected error"] < left["even, predicted"]
