"""What a prediction says about itself."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from phantoms import spec_of
from segtrust.error_flags import FlagRule
from segtrust.errors import SettingError
from segtrust.inference import MAP_NAMES
from segtrust.inference.prediction import Flag, Prediction, SliceHint, StructureSummary
from segtrust.models import Head
from segtrust.quality import (
    Assessment,
    ConfidentIntervals,
    ContourMargins,
    ContourRule,
    FineRule,
    Margins,
    StructureAssessment,
    UsualError,
)
from segtrust.scores import ScanScores, StructureScores


def prediction(probs, **changes):
    """Probabilities ``(C, X)`` as a prediction of a row of voxels."""
    probs = np.asarray(probs, dtype=np.float32)[:, :, None, None]
    shape = probs.shape[1:]
    fields = {
        "spec": spec_of(),
        "version_id": "0001",
        "digest": "d" * 64,
        "affine": np.eye(4),
        "spacing": (1.0, 1.0, 1.0),
        "mask": np.zeros(shape, np.uint8),
        "probs": probs,
        "valid": np.ones(shape, dtype=bool),
        "members": 2,
        "calibration": "identity",
        "precision": "fp32",
        "device": "cpu",
        "scores": ScanScores(0.3, None, 0.4, None, None, None, 0.1, {1: 0.3, 2: None}),
        "structures": (
            StructureSummary("front", 1, 7, None, 0.3, False),
            StructureSummary("back", 2, 0, 0.0, None, True),
        ),
        "flags": (Flag("structure_missing", "back was not found"),),
        "slices": (SliceHint(2, 0, 1.0, "front", "about 2 voxels are expected to be wrong here"),),
        "member_maps": {
            name: np.full(shape, 0.5, np.float32)
            for name in ("between_member", "within_member", "variance", "votes")
        },
    }
    return Prediction(**{**fields, **changes})


EVEN = [[1 / 3], [1 / 3], [1 / 3]]
CERTAIN = [[1.0], [0.0], [0.0]]


@pytest.mark.parametrize(("name", "even"), [("entropy", 1.0), ("chance_of_error", 2 / 3), ("margin", 1.0)])
def test_maps_of_certainty_and_of_an_even_distribution(name, even):
    assert prediction(EVEN).map(name).item() == pytest.approx(even, abs=1e-6)
    assert prediction(CERTAIN).map(name).item() == 0


@pytest.mark.parametrize("name", MAP_NAMES)
def test_every_map_has_the_scans_shape_and_lies_in_the_unit_interval(name):
    got = prediction(np.tile(EVEN, 4)).map(name)
    assert (got.shape, got.dtype) == ((4, 1, 1), np.float32)
    assert 0 <= got.min() <= got.max() <= 1


def test_a_sigmoid_head_shows_its_least_sure_channel():
    spec = spec_of(head=Head("sigmoid", (1, 2)))
    got = prediction([[0.99], [0.5]], spec=spec)
    assert got.map("entropy").item() == pytest.approx(1, abs=1e-6)
    # the set of both is right with a chance of .99 * .5
    assert got.map("chance_of_error").item() == pytest.approx(1 - 0.99 * 0.5, abs=1e-6)


def test_the_excess_is_what_the_chance_of_error_has_above_the_usual():
    usual = UsualError(((0.25,) * 20, (0.0,) * 20, (0.0,) * 20), 5)
    got = prediction([[0.5] * 3, [0.5] * 3, [0] * 3], usual_error=usual)
    assert got.map("excess") == pytest.approx(0.25, abs=1e-6)


@pytest.mark.parametrize("changes", [{}, {"spacing": None, "usual_error": UsualError(((0.0,) * 20,) * 3, 5)}])
def test_the_excess_is_refused_where_version_or_scan_do_not_allow_it(changes):
    with pytest.raises(SettingError, match="needs a version that knows the usual chance of error"):
        prediction(EVEN, **changes).map("excess")


def with_contours(**changes):
    """A row of voxels, the structure `front` on 3 to 7, with margins for it alone."""
    mask = np.zeros((10, 1, 1), np.uint8)
    mask[3:8] = 1
    each, joint = {1: Margins(1.0, 1.0, 9)}, {1: Margins(2.0, 2.0, 9)}
    known = Assessment({}, None, 9, FineRule(), None, ContourMargins(ContourRule(), each, joint))
    return prediction([[1.0] * 10, [0.0] * 10, [0.0] * 10], mask=mask, **{"assessment": known, **changes})


def test_contours_are_the_mask_shrunk_and_grown():
    inner, outer = with_contours().contours(1)
    assert np.flatnonzero(inner).tolist() == [4, 5, 6]
    assert np.flatnonzero(outer).tolist() == [2, 3, 4, 5, 6, 7, 8]
    inner, outer = with_contours(spacing=(0.5, 1.0, 1.0)).contours(1, "joint")
    # two millimetres are four voxels: nothing is so deep
    assert (inner.sum(), np.flatnonzero(outer).tolist()) == (0, list(range(10)))
    assert with_contours().contour_map("joint").ravel().tolist() == [0, 3, 3, 2, 2, 1, 2, 2, 3, 3]


def test_contours_of_nested_structures_are_those_of_all_their_voxels():
    ball, core = np.full(10, 0.1), np.full(10, 0.1)
    ball[1:9], core[3:7] = 0.9, 0.9
    mask = np.array([0, 1, 1, 2, 2, 2, 2, 1, 1, 0], np.uint8)[:, None, None]
    margins = {1: Margins(1.0, 1.0, 9), 2: Margins(1.0, 1.0, 9)}
    known = Assessment({}, None, 9, FineRule(), None, ContourMargins(ContourRule(), margins, {}))
    got = prediction(
        [ball, core],
        mask=mask,
        spec=spec_of(head=Head("sigmoid", (1, 2), structures="nested")),
        assessment=known,
    )
    inner, outer = got.contours(1)
    assert np.flatnonzero(inner).tolist() == [2, 3, 4, 5, 6, 7]
    assert outer.all()
    assert got.contour_map().ravel().tolist() == [3, 2, 1, 5, 4, 4, 5, 1, 2, 3]
    assert got.contour_map(only=(1,)).ravel().tolist() == [3, 2, 1, 1, 1, 1, 1, 1, 2, 3]


@pytest.mark.parametrize(
    ("value", "changes"),
    [(1, {"spacing": None}), (1, {"assessment": None}), (2, {})],
    ids=["voxels of unknown size", "a version without margins", "a structure without margins"],
)
def test_contours_are_refused_where_nothing_is_known(value, changes):
    got = with_contours(**changes)
    with pytest.raises(SettingError, match="contours need a version with margins from enough subjects"):
        got.contours(value)
    with pytest.raises(SettingError, match="Ask for bands"):
        got.contour_map(only=(value,))


def test_what_is_said_of_contours_is_absent_for_voxels_of_unknown_size():
    said = with_contours().params()["contours"]
    assert said["each"] == {"front": {"outer_mm": 1.0, "inner_mm": 1.0, "subjects": 9}}
    assert "contours" not in with_contours(spacing=None).params()


def test_what_a_version_does_not_know_about_quality_is_absent():
    said = prediction(EVEN).params()
    assert not {"quality", "out_of_distribution"} & set(said)
    assert not {"predicted_dice", "verdict", "volume_interval_ml"} & set(said["structures"][0])


def test_an_open_upper_end_is_null_in_an_answer_and_what_cannot_be_compared_is_said():
    by = StructureAssessment(0.9, (0.8, 1.0), (0.5, math.inf), None, None, confident=None)
    known = Assessment({1: by}, None, 12, FineRule(), None)
    structure = StructureSummary("front", 1, 7, 2.0, 0.3, False).judged(by)
    said = prediction(
        [[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]], structures=(structure,), assessment=known
    ).params()
    assert said["structures"][0]["volume_interval_ml"] == [1.0, None]
    assert said["structures"][0]["predicted_dice_interval"] == [0.8, 1.0]
    assert json.loads(json.dumps(said, allow_nan=False)) == said
    compared = said["out_of_distribution"]
    assert (compared["tested"], compared["likeness"]) == (False, "not tested")
    assert compared["reason"] == (
        "Whether a scan is like them cannot be tested with 12 patients: it takes 20."
    )
    assert "take at least 29 patients" in said["quality"]["confident_statement"]


def test_what_is_said_of_a_structure_goes_into_its_summary():
    by = StructureAssessment(0.9, (0.8, 0.95), (0.5, 2.0), (0.3, 0.6), "probably fine")
    assert vars(StructureSummary("front", 1, 7, 2.0, 0.3, False).judged(by)) == {
        **vars(StructureSummary("front", 1, 7, 2.0, 0.3, False)),
        "predicted_dice": 0.9,
        "predicted_dice_interval": (0.8, 0.95),
        "volume_interval_ml": (1.0, 4.0),
        "border_interval_mm": (0.3, 0.6),
        "verdict": "probably fine",
    }
    assert StructureSummary("front", 1, 0, 0.0, None, True).judged(by).volume_interval_ml is None
    surer = replace(by, confident=ConfidentIntervals((0.7, 1.0), (0.25, math.inf), None))
    assert StructureSummary("front", 1, 7, 2.0, 0.3, False).judged(surer).confident_intervals == {
        "predicted_dice_interval": (0.7, 1.0),
        "volume_interval_ml": (0.5, math.inf),
    }
    unknown = StructureSummary("front", 1, 7, None, 0.3, False).judged(by)
    assert (unknown.volume_interval_ml, unknown.border_interval_mm) == (None, None)


def test_flags_take_their_threshold_from_the_band_and_hold_in_the_whole_scan():
    # chances of error .4, .2 in the predicted voxels, 0 up to 5 mm and beyond; .3 far away, in no band
    wrong = np.array([0.4, 0.2, *[0.0] * 5, 0.0, 0.3])
    mask = (np.arange(9) < 2).astype(np.uint8).reshape(-1, 1, 1)
    got = prediction([1 - wrong, wrong, 0 * wrong], mask=mask)
    flags, threshold = got.flagged("chance_of_error", FlagRule.parse("mean"))
    assert threshold == pytest.approx(0.6 / 7)  # two predicted voxels and five beside them
    assert np.flatnonzero(flags).tolist() == [0, 1, 8]
    assert flags.dtype == np.uint8


def test_an_empty_prediction_has_no_flags():
    flags, threshold = prediction(EVEN).flagged("entropy", FlagRule.parse("otsu"))
    assert (int(flags.sum()), threshold) == (0, math.inf)


def test_an_unknown_map_is_refused():
    with pytest.raises(SettingError, match=r"`map` must be one of entropy, .*, got 'aleatoric'"):
        prediction(EVEN).map("aleatoric")


def test_a_chance_equal_to_an_edge_belongs_to_the_band_above():
    # chances of error 0, .0625, .25, .5: powers of two, exact in float32
    first = np.array([1.0, 0.9375, 0.75, 0.5])
    got = prediction([first, 1 - first, np.zeros(4)]).bands((0.0625, 0.25, 0.4))
    assert got.ravel().tolist() == [0, 1, 2, 3]
    assert got.dtype == np.uint8


def test_just_below_an_edge_is_the_band_below():
    first = np.array([0.75 + 1e-6])
    assert prediction([first, 1 - first, [0.0]]).bands((0.0625, 0.25)).item() == 1


def test_what_is_not_known_is_absent():
    params = prediction(EVEN).params()
    assert "between_member" not in params["scores"]
    assert "volume_ml" not in params["structures"][0]
    assert "mean_entropy" not in params["structures"][1]
    assert params["structures"][1]["volume_ml"] == 0.0  # known to be nothing


def test_no_number_in_the_answer_is_nan():
    scores = ScanScores(math.nan, math.inf, 0.4, None, None, None, 0.1, {})
    params = prediction(EVEN, scores=scores).params()
    assert json.loads(json.dumps(params, allow_nan=False)) == params
    assert set(params["scores"]) == {"patch_maximum", "global_mean"}


def test_the_answer_says_what_it_rests_on_and_what_it_is_not_for():
    params = prediction(EVEN, steps=("one window at a time",)).params()
    assert (params["model"], params["version"], params["members"]) == ("tiny", "0001", 2)
    assert (params["calibration"], params["precision"], params["device"]) == ("identity", "fp32", "cpu")
    assert params["steps"] == ["one window at a time"]
    assert params["flags"] == [{"code": "structure_missing", "text": "back was not found"}]
    assert "not for diagnosis" in params["limits"]
    assert "never trained on" in params["limits"]


def test_strategies_read_facts_that_json_can_hold():
    details = {1: StructureScores(*[0.1] * 5, class_score=0.25), 2: StructureScores(*[None] * 5)}
    scores = ScanScores(0.3, None, 0.4, None, None, None, 0.1, {1: 0.3, 2: None}, details)
    facts = prediction(EVEN, scores=scores, features=(1 / 3, 123456.0)).selection_facts()
    assert facts == {
        "class_scores": {"1": 0.25},
        "foreground": {"1": 7, "2": 0},
        "features": [0.33333, 123460.0],
    }
    assert json.loads(json.dumps(facts)) == facts
    assert prediction(EVEN).selection_facts()["features"] == []


def test_a_prediction_knows_whether_it_is_calibrated():
    assert not prediction(EVEN).is_calibrated
    assert prediction(EVEN, calibration="distance_temperature").is_calibrated


def test_the_combined_view_takes_unsure_voxels_from_the_structures():
    # chances of error 0, .0625, .5 in structure 1, then 0 and .25 outside
    own = np.array([1.0, 0.9375, 0.5])
    probs = np.zeros((3, 5))
    probs[1, :3], probs[0, :3] = own, 1 - own
    probs[0, 3:], probs[1, 3:] = [1.0, 0.75], [0.0, 0.25]
    mask = np.array([1, 1, 1, 0, 0], np.uint8).reshape(5, 1, 1)
    got = prediction(probs, mask=mask).mask_with_bands((0.0625, 0.25, 0.4))
    assert got.ravel().tolist() == [1, 3, 5, 0, 4]
    assert got.dtype == np.uint8
