"""Errors observed on subjects that the fit did not see."""

import numpy as np
import pytest
import torch

from calibration_cohorts import cohort, constant
from segtrust import calibrators as c
from segtrust.decisions import LabelRule
from segtrust.errors import ShapeError


@pytest.mark.parametrize(
    ("fit", "honest"),
    [(c.fit_pooled_temperature, True), (lambda *_, **__: c.Identity(), False)],
    ids=["temperature", "over-confident"],
)
def test_a_calibrated_chance_is_the_rate_that_is_observed(fit, honest):
    counts = c.cross_fitted_errors(cohort(constant(2.0), n=4000), fit)
    middle = (np.arange(300) + 0.5) / 300
    stated = (counts.voxels * middle)[15:].sum() / counts.voxels[15:].sum()
    assert (abs(counts.rate(0.05, 1.0) - stated) < 0.02) == honest


def test_every_subject_is_judged_without_it():
    scans, seen = cohort(constant(2.0), n=200), []

    def fit(inside, *, least):
        seen.append(({scan.subject for scan in inside}, least))
        return c.Identity()

    counts = c.cross_fitted_errors(scans, fit)
    everyone = {scan.subject for scan in scans}
    assert sorted(len(everyone - inside) for inside, _ in seen) == [1] * len(everyone)
    assert {least for _, least in seen} == {4}
    assert counts.scans == len(scans)
    assert counts.voxels.sum() == pytest.approx(sum(scan.weight.sum() for scan in scans))


def test_a_voxel_is_wrong_if_the_class_ahead_is_not_the_label():
    scans = cohort(constant(1.0), n=300)
    counts = c.cross_fitted_errors(scans, lambda *_, **__: c.Identity())
    wrong = sum(s.weight[s.logits.argmax(1) != s.labels].sum() for s in scans)
    assert counts.errors.sum() == pytest.approx(wrong)


def test_four_subjects_are_too_few():
    scans = cohort(constant(2.0), subjects=4, n=50)
    assert c.cross_fitted_errors(scans, c.fit_pooled_temperature) is None


def test_a_rule_of_another_head_is_refused():
    flat = torch.zeros(2, 4).numpy()
    voxels = c.CalibrationVoxels(flat.T, np.zeros((4, 2), int), np.zeros(4), np.ones(4), "a")
    with pytest.raises(ShapeError, match="must be of the same head, got the rule of a softmax head"):
        c.cross_fitted_errors([voxels], c.fit_pooled_temperature)


def test_a_set_of_structures_is_wrong_where_one_of_them_is():
    # thresholds .3 and .7 on (.6, .8): both said to be there, right with .6 * .8
    p, rule = torch.tensor([[0.6], [0.8]]), LabelRule("sigmoid", (1, 2), (0.3, 0.7))
    truths = [(1, 1), (1, 0), (0, 1), (0, 0), (1, 1)]
    scans = [
        c.draw_voxels(
            p, torch.tensor(truth)[:, None], torch.zeros(1), subject=str(i), seed=0, head="sigmoid",
            threshold=rule.threshold,
        )
        for i, truth in enumerate(truths)
    ]  # fmt: skip
    counts = c.cross_fitted_errors(scans, lambda *_, **__: c.Identity(), rule)
    assert counts.errors.sum() == 3
    assert counts.rate(0.52 - 1 / 300, 0.52 + 1 / 300) == 3 / 5
