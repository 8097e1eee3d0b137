"""Choosing a calibrator by leaving out one subject at a time."""

import json

import numpy as np
import pytest
import torch

from calibration_cohorts import cohort, constant
from segtrust import calibrators as c
from segtrust.errors import ShapeError

FAST = {"pooled_temperature": c.fit_pooled_temperature, "top_label_isotonic": c.fit_top_label_isotonic}


@pytest.fixture(scope="module")
def choice():
    return c.choose_calibrator(cohort(constant(2.0), n=1500), FAST)


def test_an_over_confident_model_gets_a_temperature(choice):
    assert choice.name == "pooled_temperature"
    assert choice.calibrator.temperature == pytest.approx(2.0, rel=0.1)
    assert choice.subjects == 5


def test_figures_are_those_of_subjects_that_the_fit_did_not_see(choice):
    scans = cohort(constant(2.0), n=1500)
    per_subject = []
    for out in scans:
        fitted = c.fit_pooled_temperature([s for s in scans if s is not out], least=4)
        p = torch.from_numpy(out.logits).exp().T
        q = fitted.apply(p / p.sum(0), torch.from_numpy(out.distance))
        per_subject.append(-q.log()[out.labels, range(1500)].mean().item())
    got = choice.figures["pooled_temperature"]["nll"]["volume"]
    assert got == pytest.approx(np.mean(per_subject), abs=1e-5)


def test_the_volume_is_the_band_and_what_lies_outside(choice):
    scans = cohort(constant(2.0), n=1500)
    share = np.mean([(s.distance <= 5).mean() for s in scans])
    for name in ("identity", *FAST):
        nll = choice.figures[name]["nll"]
        assert nll["volume"] == pytest.approx(share * nll["band"] + (1 - share) * nll["outside"], abs=1e-9)


def test_calibration_lowers_the_error_in_every_region(choice):
    before, after = (choice.figures[name]["ece"] for name in ("identity", "pooled_temperature"))
    assert all(after[region] < before[region] for region in before)


def test_identity_stays_where_little_is_gained():
    assert c.choose_calibrator(cohort(constant(1.0), n=1500), FAST).name == "identity"


def test_four_subjects_are_too_few_to_choose():
    choice = c.choose_calibrator(cohort(constant(3.0), subjects=4, n=100), FAST)
    assert (choice.name, choice.calibrator, choice.figures) == ("identity", c.Identity(), {})


def test_two_scans_of_a_subject_are_left_out_together():
    seen = []

    def spy(scans, *, least=5):
        seen.append({s.subject for s in scans})
        return c.Identity()

    scans = cohort(constant(1.0), n=50)
    c.choose_calibrator([*scans, *scans], {"spy": spy})
    assert [len(subjects) for subjects in seen] == [4] * 5


def test_every_known_kind_can_be_a_candidate():
    choice = c.choose_calibrator(cohort(constant(2.0), n=400))
    assert set(choice.figures) == {"identity", *c.CANDIDATES}
    assert json.loads(json.dumps(choice.to_json()))["name"] == choice.name


def test_sigmoid_voxels_are_refused():
    scan = c.CalibrationVoxels(
        np.zeros((3, 2), np.float32), np.zeros((3, 2), np.int64), np.zeros(3, np.float32), np.ones(3), "a"
    )
    with pytest.raises(ShapeError, match="softmax head"):
        c.choose_calibrator([scan])
