"""Experiments inside train: who is trained on what, and what is judged by whom."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from phantoms import TINY_NETWORK, make_blob, spec_of, write_scan
from segtrust.calibrators import Identity
from segtrust.calibrators.covariate import PARTS
from segtrust.errors import SettingError
from segtrust.evaluate.probabilities import KeptSource
from segtrust.evaluate.protocol import Protocol
from segtrust.experiments.crossfit import CALIBRATOR, CrossFit, system_name
from segtrust.experiments.findings import findings, system_figures
from segtrust.experiments.folds import Cell, Experiment, Folds, read_experiments
from segtrust.inference.members import build_network, save_weights
from segtrust.metrics import dice_per_structure, voxel_totals
from segtrust.models import Head, Label
from segtrust.stochastic import n_channels
from segtrust.training.cache import train_members
from segtrust.training.loop import Budget

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SPEC = spec_of(labels=(Label("ball", 1, 1),), patch=(16, 16, 16), network={**TINY_NETWORK, "out_channels": 2})
SUBJECTS = {f"{subject}{side}": subject for subject in "abcdefgh" for side in ("L", "R")}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Two scans of each of eight subjects."""
    folder = tmp_path_factory.mktemp("cohort")
    for name in ("images", "labels"):
        (folder / name).mkdir()
    for seed, name in enumerate(SUBJECTS):
        scan = make_blob((12, 12, 12), radius=3 + seed % 3, seed=seed)
        write_scan(scan, folder / "images" / f"{name}.nii.gz")
        labels = (scan.data[0].numpy() > 50).astype(np.uint8)
        nib.save(nib.Nifti1Image(labels, scan.affine), folder / "labels" / f"{name}.nii.gz")
    splits = {"train": list(SUBJECTS), "val": [], "test": []}
    (folder / "splits.json").write_text(json.dumps({"splits": splits}))
    rows = "".join(f"{scan},{subject}\n" for scan, subject in SUBJECTS.items())
    (folder / "subjects.csv").write_text(f"case,subject\n{rows}")
    return folder


@pytest.fixture(scope="module")
def folds(cohort):
    return Folds.read(cohort, Protocol.read(BENCHMARKS / "protocol.json"))


@pytest.fixture(scope="module")
def experiment():
    cells = tuple(Cell(loss, SPEC, Budget(epochs=1, loss=loss, average=0)) for loss in ("dice_ce", "ce"))
    return Experiment("small", cells, (0, 1), 2, (1, 2), ("ce", 2), (2, 5))


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Folder in which members and their probabilities are kept."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def judged(experiment, folds, kept):
    runs = experiment.runs(folds)
    weights = dict(zip(((r.name, r.seed) for r in runs), train_members(runs, kept / "members"), strict=True))
    members = {
        (cell.name, fold): [weights[r.name, r.seed] for r in cell.runs(folds, fold, 2)]
        for cell in experiment.cells
        for fold in (0, 1)
    }
    return list(CrossFit(experiment, folds, members, kept / "probabilities").judged())


def test_no_subject_is_trained_on_and_judged_in_one_fold(folds):
    for fold in range(5):
        inside, outside = ({SUBJECTS[s] for s in part(fold)} for part in (folds.inside, folds.held_out))
        assert not inside & outside
        assert inside | outside == set("abcdefgh")


def test_every_scan_is_held_out_once(folds):
    assert sorted(s for fold in range(5) for s in folds.held_out(fold)) == sorted(SUBJECTS)


def test_no_two_ensembles_share_a_member(experiment, folds):
    runs = experiment.runs(folds)
    assert len({(run.name, run.seed) for run in runs}) == len(runs) == 8
    first, second = ({r.seed for r in experiment.cells[0].runs(folds, fold, 2)} for fold in (0, 1))
    assert not first & second


def test_every_scan_of_the_folds_is_judged_under_every_system(judged, experiment, folds):
    assert [j.record.id for j in judged] == [s for f in (0, 1) for s in folds.held_out(f)]
    sizes = [(cell.name, size) for cell in experiment.cells for size in (1, 2)]
    raw = {system_name(*s) for s in sizes} | {system_name(*s, CALIBRATOR) for s in sizes}
    assert raw < set(judged[0].record.totals)
    assert system_name("ce", 2, "top_label_isotonic") in judged[0].record.totals
    assert system_name("dice_ce", 2, "top_label_isotonic") not in judged[0].record.totals


def test_all_systems_of_a_scan_are_measured_in_the_same_voxels(judged):
    for j in judged:
        assert len({totals["band"].n for totals in j.record.totals.values()}) == 1


def test_the_score_at_5_mm_is_the_default_score(judged):
    for j in judged:
        assert j.entropies["mean 5 mm"] == pytest.approx(j.record.scores.entropy, rel=1e-6)


def test_findings_are_plain_numbers_with_a_row_per_system(experiment, judged):
    found = json.loads(json.dumps(findings(experiment, judged), allow_nan=False))
    name = system_name("ce", 2, CALIBRATOR)
    assert set(found["systems"]) == set(judged[0].record.totals)
    assert len(found["systems"][name]["dice"]["folds"]) == 2
    assert found["differences"]["base"] == system_name("dice_ce", 2, CALIBRATOR)
    assert set(found["differences"]["systems"]) == {name}
    one, two = (found["systems"][n]["nll_band"]["value"] for n in (name, found["differences"]["base"]))
    assert found["differences"]["systems"][name]["nll_band"]["value"] == pytest.approx(one - two)


def test_held_out_predictions_are_those_that_were_judged_and_train_nothing(experiment, folds, judged, kept):
    said = []
    fit = CrossFit.of_cell(experiment, folds, "ce", 2, kept, said.append)
    found = list(fit.predictions())
    assert not [line for line in said if "epoch" in line]
    assert [(scan.fold, scan.id, scan.subject) for scan in found] == [
        (j.fold, j.record.id, j.record.subject) for j in judged
    ]
    for scan, j in zip(found, judged, strict=True):
        dice = dice_per_structure(scan.mask, scan.labels, 1)
        np.testing.assert_array_equal(dice, j.record.dice[system_name("ce", 2)])
        valid = torch.from_numpy(scan.valid)
        nll = voxel_totals(scan.probs, torch.from_numpy(scan.labels), valid).nll
        assert nll == pytest.approx(j.record.totals[system_name("ce", 2, CALIBRATOR)]["volume"].nll)
    # without a mirror there is one view: what the first member sees
    assert (fit.views(found[0], (0, 1)).n_samples, fit.views(found[0], ()).n_samples) == (4, 1)


def test_calibrators_are_fitted_with_the_distance_of_a_served_version(
    experiment, folds, judged, kept, monkeypatch
):
    seen = []
    spy = {CALIBRATOR: lambda voxels: seen.extend(voxels) or Identity()}
    monkeypatch.setattr("segtrust.experiments.crossfit.CANDIDATES", spy)
    next(CrossFit.of_cell(experiment, folds, "ce", 2, kept, print).predictions())
    assert {(voxels.unit, voxels.parts) for voxels in seen} == {("mm", PARTS)}


def test_what_a_member_answered_once_is_read_again_bit_by_bit(tmp_path):
    calls = []

    def slide(network, image):
        calls.append(network)
        return torch.softmax(network(image[None]), dim=1)[0]

    experiment_spec = replace(SPEC, patch=(8, 8, 8))
    member = tmp_path / "member.safetensors"
    save_weights(build_network(experiment_spec).eval(), member)
    image = torch.rand(1, 8, 8, 8)
    source = KeptSource(experiment_spec, [member], tmp_path / "kept")
    first, second = (next(source.samples(image, slide)) for _ in range(2))
    assert len(calls) == 1
    assert torch.equal(first, second)
    assert first.sum(dim=0).sub(1).abs().max() < 1e-6
    # half precision of the logarithm: a relative error of 2^-11 of ln p
    exact = torch.softmax(calls.pop()(image[None]), dim=1)[0]
    assert torch.allclose(first, exact, atol=2e-3)
    next(source.samples(image + 1, slide))
    assert len(calls) == 1


def test_a_sure_probability_keeps_its_small_chance_of_error(tmp_path):
    member = tmp_path / "member.safetensors"
    save_weights(build_network(SPEC), member)
    sure = torch.tensor([0.9999, 0.0001]).reshape(2, 1, 1, 1)
    source = KeptSource(SPEC, [member], tmp_path / "kept")
    kept = next(source.samples(torch.zeros(1, 1, 1, 1), lambda _network, _image: sure))
    assert 1 - float(kept[0]) == pytest.approx(1e-4, rel=2e-3)


def test_the_shipped_experiments_can_be_read():
    found = read_experiments(BENCHMARKS / "experiments.json")
    assert found["choices"].cells[0].name == "base"
    facts = found["facts"]
    assert len(facts.cells) == 6
    assert {cell.budget.loss for cell in facts.cells} == {"dice", "ce", "dice_ce"}
    assert {cell.spec.network["norm"] for cell in facts.cells} == {"batch", "instance"}
    assert facts.is_scored("dice_ce, instance", 5)


def test_a_cell_may_change_the_head():
    found = read_experiments(BENCHMARKS / "papers" / "extra_members.json")
    (cell,) = found["losses stochastic"].cells
    assert cell.spec.head == Head(rank=10)
    # 3 classes, each a mean, a variance and ten factors
    assert cell.spec.network["out_channels"] == n_channels(3, 10) == 36
    assert {c.spec.head.rank for c in found["losses dropout"].cells} == {None}


def test_figures_of_a_system_are_those_of_its_totals(judged):
    records = [j.record for j in judged]
    name = system_name("ce", 2)
    found = system_figures(records, name, ("volume",))
    assert set(found) == {"dice", "nll_volume", "brier_volume", "ece_volume", "error_auroc_band"}
    voxels = sum(r.totals[name]["volume"].n for r in records)
    want = sum(r.totals[name]["volume"].brier for r in records) / voxels
    assert found["brier_volume"](range(len(records))) == pytest.approx(want)


def test_the_volume_is_the_band_and_what_is_outside(judged):
    for j in judged:
        for totals in j.record.totals.values():
            assert totals["volume"].n == totals["band"].n + totals["outside"].n
            whole = totals["band"].brier + totals["outside"].brier
            assert totals["volume"].brier == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize(
    "change",
    [{"cells": {"x": {"weights": 1}}}, {"cells": {"x": {"budget": {"epoch": 1}}}}, {"folds": None}],
    ids=["unknown part", "unknown field", "no folds"],
)
def test_an_experiment_of_another_form_is_refused(tmp_path, change):
    part = {"folds": [0], "members": 1, "sizes": [1], "base": {}, "cells": {}} | change
    (tmp_path / "e.json").write_text(json.dumps({"recipe": "hippocampus", "one": part}))
    with pytest.raises(SettingError, match=r"a cell may change|must hold experiments"):
        read_experiments(tmp_path / "e.json")
