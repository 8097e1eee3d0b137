"""Likeness to the calibration scans: exact p-values, and what each detector notices."""

import numpy as np
import pytest
from scipy import ndimage

from phantoms import make_blob
from segtrust.errors import ModelError
from segtrust.quality import TypicalScans, Unlikeness, fit_typical_scans, scan_features
from segtrust.scores import ScanScores

SURE = ScanScores(0.2, 0.05, 0.3, 0.1, 0.9, 0.9, 0.1, {})


def image(seed, change=lambda values: values):
    values = change(make_blob(seed=seed, radius=5 + 0.02 * (seed % 7)).data.numpy())
    return (values - values.mean()) / values.std()


@pytest.fixture(scope="module")
def scans():
    draw = np.random.default_rng(0)
    return [
        scan_features(
            image(seed),
            ScanScores(0.2 + 0.01 * draw.normal(), 0.05, 0.3, 0.1, 0.9 + 0.01 * draw.normal(), 0.9, 0.1, {}),
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
    torn = ScanScores(0.6, 0.4, 0.5, 0.9, 0.3, 0.5, 0.2, {})
    found = typical.compare(scan_features(image(3), torn))
    assert found.p_value == found.detectors["ensemble"] == pytest.approx(1 / 25)
    assert found.detectors["brightness"] > 0.1


def test_an_odd_image_is_somewhat_unlike_and_an_odd_prediction_too_is_unlike(typical):
    torn = ScanScores(0.6, 0.4, 0.5, 0.9, 0.3, 0.5, 0.2, {})
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
    assert Unlikeness(2 / 11, {"brightness": 2 / 11, "ensemble": 0.5}, 10).likeness == "like"


def test_without_a_detector_of_the_prediction_an_odd_image_is_unlike():
    assert Unlikeness(0.03, {"brightness": 0.03}, 26).likeness == "unlike"


def test_where_no_single_detector_is_low_the_strangest_is_named():
    assert Unlikeness(0.03, {"brightness": 0.09, "ensemble": 0.3}, 26).unusual == ("brightness",)


def test_the_unit_of_brightness_does_not_matter_to_sharpness():
    one, two = (scan_features(k * image(0), SURE)["sharpness"] for k in (1, 7))
    assert one == pytest.approx(two, abs=1e-4)


def test_an_empty_prediction_has_no_p_value(typical):
    empty = ScanScores(None, None, 0.0, None, None, None, 0.0, {})
    assert typical.compare(scan_features(image(0), empty)) is None


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
