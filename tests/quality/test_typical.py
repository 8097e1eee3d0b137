"""Likeness to the calibration scans: exact p-values, and what each detector notices."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from phantoms import make_blob
from segtrust.errors import ModelError
from segtrust.quality import TypicalScans, Unlikeness, fit_typical_scans, scan_features
from segtrust.scores import ScanScores, StructureScores


def scores_of(*numbers):
    """Scores of a scan with one structure, whose members agree as far as the scan's do."""
    agreement = numbers[4]
    one = StructureScores(None, None, None, None, agreement, pooled_pairwise_dice=agreement)
    return ScanScores(*numbers, {}, {1: one})


SURE = scores_of(0.2, 0.05, 0.3, 0.1, 0.9, 0.9, 0.1)


def image(seed, change=lambda values: values):
    values = change(make_blob(seed=seed, radius=5 + 0.02 * (seed % 7)).data.numpy())
    return (values - values.mean()) / values.std()


@pytest.fixture(scope="module")
def scans():
    draw = np.random.default_rng(0)
    return [
        scan_features(
            image(seed),
            scores_of(0.2 + 0.01 * draw.normal(), 0.05, 0.3, 0.1, 0.9 + 0.01 * draw.normal(), 0.9, 0.1),
        )
        for seed in range(24)
    ]


@pytest.fixture(scope="module")
def typical(scans):
    return fit_typical_scans(scans)


def test_over_all_choices_of_the_new_subject_small_p_values_are_as_rare_as_they_say(scans):
    found = []
    for i in range(len(scans)):
        rest = fit_typical_scans(scans[:i] + scans[i + 1 :])
        found.append(rest.compare(scans[i]))
    for alpha in (0.05, 0.1, 0.25, 0.5):
        assert sum(f.p_value <= alpha for f in found) <= alpha * len(scans)
        for name in found[0].detectors:
            assert sum(f.detectors[name] <= alpha for f in found) <= alpha * len(scans)


@pytest.mark.parametrize(
    ("detector", "change"),
    [
        ("sharpness", lambda v: ndimage.gaussian_filter(v, (0, 1.5, 0, 0))),
        ("sharpness", lambda v: v + np.random.default_rng(9).normal(0, 15, v.shape)),
        ("brightness", np.sqrt),
    ],
    ids=["blur along one axis", "noise", "gamma"],
)
def test_a_changed_image_is_noticed_by_its_detector_and_by_the_combined_score(typical, detector, change):
    found = typical.compare(scan_features(image(3, change), SURE))
    assert found.p_value == found.detectors[detector] == pytest.approx(1 / 25)
    assert found.subjects == 24


def test_members_that_disagree_are_noticed_though_the_image_is_ordinary(typical):
    torn = scores_of(0.6, 0.4, 0.5, 0.9, 0.3, 0.5, 0.2)
    found = typical.compare(scan_features(image(3), torn))
    assert found.p_value == found.detectors["ensemble"] == pytest.approx(1 / 25)
    assert found.detectors["brightness"] > 0.1


def test_an_odd_image_is_somewhat_unlike_and_an_odd_prediction_too_is_unlike(typical):
    torn = scores_of(0.6, 0.4, 0.5, 0.9, 0.3, 0.5, 0.2)
    usual, image_alone, both = (
        typical.compare(scan_features(*case))
        for case in ((image(3), SURE), (image(3, np.sqrt), SURE), (image(3, np.sqrt), torn))
    )
    assert (usual.likeness, usual.unusual) == ("like", ())
    assert usual.sentence == f"Like the 24 calibration scans (p = {usual.p_value:.2g})."
    assert (image_alone.likeness, image_alone.unusual) == ("somewhat unlike", ("brightness", "sharpness"))
    assert image_alone.sentence == (
        "Somewhat unlike the 24 calibration scans (p = 0.04): unusual is its brightness and its sharpness "
        "(noise, blur or thick slices). The members are as sure, and agree as far, as on those scans."
    )
    assert both.likeness == "unlike"
    assert {"brightness", "ensemble"} <= set(both.unusual)
    assert "how sure the members are and how far they agree" in both.sentence
    assert both.to_json()["sentence"] == both.sentence


def test_with_few_subjects_the_strangest_of_all_is_not_like_them():
    assert Unlikeness(1 / 11, {"brightness": 1 / 11, "ensemble": 0.5}, 10).likeness == "somewhat unlike"
    assert Unlikeness(2 / 11, {"brightness": 2 / 11, "ensemble": 0.5}, 10).likeness == "not tested"


@pytest.mark.parametrize("subjects", [10, 19, 20])
def test_below_twenty_patients_an_answer_says_that_likeness_cannot_be_tested(subjects):
    usual = Unlikeness(0.4, {"brightness": 0.4, "ensemble": 0.5}, subjects).to_json()
    least = 1 / (subjects + 1)
    strangest = Unlikeness(least, {"brightness": least, "ensemble": 0.5}, subjects).to_json()
    assert usual["tested"] is strangest["tested"] is (least < 0.05)
    assert strangest["likeness"] == "somewhat unlike"
    reason = f"Whether a scan is like them cannot be tested with {subjects} patients: it takes 20."
    if usual["tested"]:
        assert (usual["likeness"], usual["reason"]) == ("like", None)
        assert "cannot be tested" not in strangest["sentence"]
    else:
        assert (usual["likeness"], usual["reason"]) == ("not tested", reason)
        assert usual["sentence"] == (
            f"The scan is not the strangest beside the {subjects} calibration scans (p = 0.4). {reason}"
        )
        assert strangest["sentence"].endswith(f"one in {subjects + 1} is as strange. {reason}")


def test_without_a_detector_of_the_prediction_an_odd_image_is_unlike():
    assert Unlikeness(0.03, {"brightness": 0.03}, 26).likeness == "unlike"


def test_where_no_single_detector_is_low_the_strangest_is_named():
    assert Unlikeness(0.03, {"brightness": 0.09, "ensemble": 0.3}, 26).unusual == ("brightness",)


def test_the_unit_of_brightness_does_not_matter_to_sharpness():
    one, two = (scan_features(k * image(0), SURE)["sharpness"] for k in (1, 7))
    assert one == pytest.approx(two, abs=1e-4)


EMPTY = ScanScores(None, None, 0.0, None, None, None, 0.0, {})


def test_an_empty_prediction_is_compared_by_its_image_and_is_not_called_like(typical, scans):
    usual = typical.compare(scan_features(image(0), EMPTY))
    alone = fit_typical_scans([{k: v for k, v in s.items() if k != "ensemble"} for s in scans])
    assert usual.p_value == alone.compare(scan_features(image(0), EMPTY)).p_value > 0.05
    assert (usual.likeness, usual.tested, usual.undefined) == ("not tested", False, ("ensemble",))
    assert usual.sentence == (
        "What can be compared is not the strangest beside the 24 calibration scans "
        f"(p = {usual.p_value:.2g}). "
        "Not defined for this scan: how sure the members are and how far they agree."
    )
    odd = typical.compare(scan_features(image(3, np.sqrt), EMPTY))
    assert (odd.p_value, odd.likeness) == (pytest.approx(1 / 25), "unlike")
    assert "brightness" in odd.unusual


NUMBERS = st.floats(allow_nan=True, allow_infinity=True) | st.floats(-3, 3)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["brightness", "sharpness", "ensemble"]), st.lists(NUMBERS, min_size=1, max_size=7)
    )
)
def test_whatever_the_numbers_of_a_scan_every_p_value_is_one_or_absent_with_a_reason(typical, numbers):
    compared = typical.compare({name: tuple(values) for name, values in numbers.items()})
    p_values = [*compared.detectors.values(), *([] if compared.p_value is None else [compared.p_value])]
    assert all(1 / 25 <= p <= 1 for p in p_values)
    assert set(compared.undefined) | set(compared.detectors) == set(typical.features)
    for name, values in numbers.items():
        if not np.isfinite(values).all():
            assert name in compared.undefined
    if compared.undefined:
        assert compared.reason
        assert compared.likeness in ("not tested", "unlike", "somewhat unlike")
    assert (compared.p_value is None) is (not compared.detectors)


def test_a_scan_of_which_nothing_is_a_number_says_why_it_is_not_compared(typical):
    values = np.full((1, 8, 8, 8), np.nan)
    features = scan_features(values, EMPTY)
    assert features == {}
    assert typical.compare(features).sentence == (
        "Not compared with the 24 calibration scans. No number of this scan can be compared with theirs."
    )


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 8, 8, 8)], ids=["one voxel", "constant"])
def test_an_image_without_contrast_has_numbers_all_the_same(shape):
    features = scan_features(np.zeros(shape), EMPTY)
    assert np.isfinite([v for values in features.values() for v in values]).all()


def test_a_detector_that_one_calibration_scan_lacks_or_has_no_number_for_takes_no_part(scans):
    broken = [{**scans[0], "sharpness": (math.nan,) * 6}, *scans[1:]]
    assert set(fit_typical_scans(broken).features) == {"brightness", "ensemble"}
    assert fit_typical_scans([{"ensemble": (math.inf,)}] * 12) is None


def test_a_number_that_all_scans_share_does_not_set_the_new_one_apart():
    draw = np.random.default_rng(0)
    shared = 1 / 3 + 5e-6 / 3  # loses 5e-6 where versions keep five digits
    scans = [{"brightness": (shared, float(draw.normal()))} for _ in range(11)]
    typical = fit_typical_scans(scans[:10])
    assert typical.compare({"brightness": (shared, scans[0]["brightness"][1])}).p_value == pytest.approx(
        typical.compare({"brightness": (round(shared, 5), scans[0]["brightness"][1])}).p_value
    )


@pytest.mark.parametrize("n", [5, 10, 19, 20, 50])
def test_small_p_values_are_as_rare_as_they_say_with_ties_and_with_several_scans_of_a_patient(n):
    """Share of 300 draws with p <= a is at most a, plus three standard errors of that share."""
    draw, draws = np.random.default_rng(n), 300
    p_values = []
    for _ in range(draws):
        patient = draw.integers(0, 3, (n + 1, 1, 2))  # three values: ties; scans of a patient are alike
        numbers = (patient + draw.integers(0, 2, (n + 1, 3, 2))).astype(float)
        rows = tuple(tuple(scans[draw.integers(3)]) for scans in numbers)
        flat = tuple((float(row[0] > 1),) for row in rows)
        typical = TypicalScans({"brightness": rows[:-1], "ensemble": flat[:-1]})
        p_values.append(typical.compare({"brightness": rows[-1], "ensemble": flat[-1]}).p_value)
    for a in {0.05, 0.1, 0.25, 0.5, 1 / (n + 1), 2 / (n + 1)}:
        assert np.mean(np.array(p_values) <= a + 1e-12) <= a + 3 * math.sqrt(a * (1 - a) / draws)


def test_a_single_member_has_detectors_for_the_image_only(scans):
    alone = [{k: v for k, v in scan.items() if k != "ensemble"} for scan in scans]
    assert set(fit_typical_scans(alone).compare(alone[0]).detectors) == {"brightness", "sharpness"}


def test_a_single_slice_has_no_sharpness_across_it():
    flat = scan_features(np.random.default_rng(0).normal(size=(1, 8, 9, 1)), SURE)["sharpness"]
    assert flat[4:] == (0.0, 0.0)


def test_nine_subjects_are_too_few(scans):
    assert fit_typical_scans(scans[:9]) is None


def test_it_survives_json_and_detectors_of_different_length_are_refused(typical):
    assert TypicalScans.from_json(typical.to_json()) == typical
    with pytest.raises(ModelError, match="one row per subject"):
        TypicalScans.from_json({"a": [[1.0]], "b": [[1.0], [2.0]]})
