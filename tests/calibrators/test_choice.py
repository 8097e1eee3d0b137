"""Choosing a calibrator by leaving out one subject at a time."""

import json

import numpy as np
import pytest
import torch

from calibration_cohorts import cohort, constant, small_structure
from segtrust import calibrators as c
from segtrust.decisions import LabelRule
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


IDENTITY = {"band": 0.2465, "volume": 0.0141}


@pytest.mark.parametrize(
    ("candidate", "wins"),
    [
        ({"band": 0.2473, "volume": 0.0138}, False),
        ({"band": 0.2440, "volume": 0.0142}, False),
        ({"band": 0.2460, "volume": 0.01409}, False),
        ({"band": 0.2450, "volume": 0.0141}, True),
        ({"band": 0.2465, "volume": 0.0140}, True),
        ({"band": None, "volume": None}, False),
    ],
    ids=[
        "seven hearts: band up .3 %, volume down 2 %",
        "volume up, band down 1 %",
        "both down by less than half a percent",
        "band down .6 %, volume as it was",
        "volume down .7 %, band as it was",
        "never measured",
    ],
)
def test_a_candidate_must_lower_one_figure_and_raise_neither(candidate, wins):
    expected = "t" if wins else "identity"
    assert c.name_of_best({"identity": IDENTITY, "t": candidate}) == expected


def test_of_two_that_help_the_one_with_the_larger_share_over_both_figures_is_taken():
    # relative to the identity: .9 + 1.0 against .95 + .94
    figures = {
        "identity": {"band": 1.0, "volume": 0.1},
        "near": {"band": 0.9, "volume": 0.1},
        "both": {"band": 0.95, "volume": 0.094},
    }
    assert c.name_of_best(figures) == "both"


def test_without_a_band_the_volume_decides():
    figures = {"identity": {"band": None, "volume": 0.1}, "t": {"band": None, "volume": 0.09}}
    assert c.name_of_best(figures) == "t"


@pytest.mark.parametrize("nothing", [0.0, None])
def test_where_nothing_is_to_be_gained_the_identity_stays(nothing):
    figures = {name: {"band": nothing, "volume": nothing} for name in ("identity", "t")}
    assert c.name_of_best(figures) == "identity"


def test_a_version_is_served_behind_what_helps_and_behind_nothing_else():
    helped = c.choose_served(cohort(constant(2.0), n=400))
    assert helped.name == helped.calibrator.name == "distance_temperature"
    assert helped.calibrator == c.fit_distance_temperature(cohort(constant(2.0), n=400))
    left = c.choose_served(cohort(constant(1.0), n=400))
    assert (left.name, left.calibrator) == ("identity", c.Identity())


def test_a_small_structure_is_calibrated_though_its_share_of_the_volume_is_one_in_a_million():
    scans = [small_structure(str(i), share=1e-6, temperature=3.0, near=800)[0] for i in range(5)]
    choice = c.choose_served(scans)
    assert choice.name == "distance_temperature"
    before, after = (choice.figures[name]["nll"] for name in ("identity", choice.name))
    assert after["band"] < 0.95 * before["band"]
    assert after["volume"] <= before["volume"] * (1 + 1e-9)


NESTED = LabelRule("sigmoid", (1, 2), (0.3, 0.7), "nested")


def nested_scan(subject, *, temperature, n=1500):
    """Nested structures of which each probability is the truth, and what a model says that is too sure."""
    rng = np.random.default_rng([7, int(subject)])
    limits = np.log([3 / 7, 7 / 3])
    inner = rng.normal(-1, 3, n)
    odds = np.stack([inner + rng.exponential(1, n), inner], axis=1)  # the outer one is never less likely
    truth = rng.random((n, 1)) < 1 / (1 + np.exp(-odds))  # one number for both: nested
    said = 1 / (1 + np.exp(-(limits + temperature * (odds - limits))))
    return c.draw_voxels(
        torch.from_numpy(said.T),
        torch.from_numpy(truth.T.astype(int)),
        torch.from_numpy(rng.uniform(0, 8, n)),  # all near: all are drawn
        subject=subject,
        seed=0,
        head="sigmoid",
        threshold=NESTED.threshold,
    )


def test_an_over_confident_model_of_nested_structures_gets_a_temperature_about_its_thresholds():
    scans = [nested_scan(str(i), temperature=2.0) for i in range(6)]
    choice = c.choose_served(scans, "pooled_temperature", rule=NESTED)
    # 9000 voxels of two structures, whose logarithm of T each tells within about 1: 1 % of noise
    assert choice.calibrator.temperature == pytest.approx(2.0, rel=0.05)
    before, after = (choice.figures[name] for name in ("identity", "pooled_temperature"))
    for region in ("band", "volume"):
        assert after["nll"][region] < before["nll"][region]
        assert after["ece"][region] < before["ece"][region] / 3
    assert c.choose_served([nested_scan(str(i), temperature=1.0) for i in range(6)], rule=NESTED).name == (
        "identity"
    )


def test_figures_of_structures_that_overlap_agree_with_a_slow_loop():
    scans = [nested_scan(str(i), temperature=2.0, n=60) for i in range(5)]
    figures = c.choose_calibrator(scans, {}, rule=NESTED).figures["identity"]
    nll, cells = 0.0, {}
    for scan in scans:
        p = 1 / (1 + np.exp(-(scan.logits.astype(np.float64) + scan.pivot)))
        for (outer, inner), truth in zip(p, scan.labels.tolist(), strict=True):
            for chance, there in zip((outer, inner), truth, strict=True):
                nll -= np.log(chance if there else 1 - chance) / len(p) / len(scans)
            if inner > 0.7:
                said, right = [1, 1], inner
            elif outer > 0.3:
                said, right = [1, 0], outer - inner
            else:
                said, right = [0, 0], 1 - outer
            cells.setdefault(int(np.ceil(right * 15)), []).append((said == truth) - right)
    assert figures["nll"]["volume"] == pytest.approx(nll, rel=1e-6)
    ece = sum(abs(sum(gaps)) for gaps in cells.values()) / 300
    assert figures["ece"]["volume"] == pytest.approx(ece, abs=1e-6)


def test_a_rule_of_another_head_and_kinds_that_change_the_label_are_refused():
    scans = [nested_scan(str(i), temperature=2.0, n=9) for i in range(5)]
    with pytest.raises(ShapeError, match="must be of the same head, got the rule of a softmax head"):
        c.choose_calibrator(scans)
    with pytest.raises(ShapeError, match="must be of pooled_temperature, distance_temperature, got top_cl"):
        c.choose_calibrator(scans, rule=NESTED)
