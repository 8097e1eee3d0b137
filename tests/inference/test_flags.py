"""Reasons to look at a scan."""

import numpy as np
import pytest
import torch

from phantoms import spec_of, store_otherwise
from segtrust.inference import read_scan
from segtrust.inference.flags import content_flags, input_flags, unlike_flags
from segtrust.inference.scan import Scan
from segtrust.quality import Assessment, FineRule, StructureAssessment, Unlikeness

RANGES = ((20.0, 30.0), (30.0, 40.0), (40.0, 50.0))


def box(*shape, spacing=(1.0, 1.0, 1.0), seed=0):
    data = torch.rand((1, *shape), generator=torch.Generator().manual_seed(seed)) + 1
    return Scan(data, np.diag([*(spacing or (1, 1, 1)), 1.0]), spacing)


def codes(scan, **changes):
    return [flag.code for flag in input_flags(scan, spec_of(**{"extent_mm": RANGES, **changes}))]


def test_a_scan_like_those_of_training_has_no_flag():
    assert codes(box(25, 35, 45)) == []


@pytest.mark.parametrize(
    ("shape", "flagged"),
    [((25, 35, 62), False), ((25, 35, 63), True), ((16, 35, 45), False), ((15, 35, 45), True)],
    ids=["longest 62 = 50 * 1.24", "63 = 50 * 1.26", "shortest 16 = 20 / 1.25", "15 < 20 / 1.25"],
)
def test_the_field_of_view_may_differ_by_a_quarter(shape, flagged):
    assert codes(box(*shape)) == (["field_of_view"] if flagged else [])


def test_the_field_of_view_is_measured_in_millimetres():
    assert codes(box(25, 35, 45, spacing=(3.0, 3.0, 3.0))) == ["field_of_view"]


def test_turning_a_scan_changes_no_flag():
    scan = box(45, 25, 35)
    assert codes(scan) == codes(store_otherwise(scan, (2, 0, 1), (True, False, True))) == []


def test_air_around_a_scan_changes_no_flag():
    scan = box(25, 35, 45)
    data = torch.nn.functional.pad(scan.data, (40, 0, 0, 40, 9, 9), value=float(scan.data.amin()))
    assert codes(Scan(data, scan.affine, scan.spacing)) == []


def test_the_text_names_both_fields_of_view():
    (flag,) = input_flags(box(100, 100, 100), spec_of(extent_mm=RANGES))
    assert (
        flag.text == "unlike training: field of view 100 x 100 x 100 mm, trained on 20-30 x 30-40 x 40-50 mm"
    )


def test_unknown_voxel_sizes_are_flagged():
    assert codes(box(5, 5, 5, spacing=None)) == ["spacing_unknown"]


def test_without_training_figures_nothing_is_compared():
    assert codes(box(1, 2, 300), extent_mm=None) == []


def test_brightness_by_hand():
    # 0, 0, 0, 4 around: mean 1, median 0 (lower), sd of the sample 2: asymmetry .5
    scan = Scan(torch.tensor([0.0, 0.0, 0.0, 4.0]).view(1, 1, 2, 2), np.eye(4), (1.0, 1.0, 1.0))
    scan.data[0, 0, 0, 0] = 1e-9  # keeps the content box whole
    scan.data[0, 0, 1, 0] = 1e-9
    assert codes(scan, extent_mm=None, intensity_ranges=((0.45, 0.55),)) == []
    assert codes(scan, extent_mm=None, intensity_ranges=((0.55, 0.7),)) == ["intensity"]


def test_brightness_does_not_depend_on_the_scale():
    scan = box(9, 9, 9)
    louder = Scan(scan.data * 1000 - 30, scan.affine, scan.spacing)
    narrow = {"extent_mm": None, "intensity_ranges": ((-0.02, 0.02),)}
    assert codes(scan, **narrow) == codes(louder, **narrow)


def test_the_channel_with_other_brightness_is_named():
    plain = box(9, 9, 9).data
    scan = Scan(torch.cat([plain, plain**9]), np.eye(4), (1.0, 1.0, 1.0))
    spec = spec_of(channels=("t1", "t2"), extent_mm=None, intensity_ranges=((-0.2, 0.2), (-0.2, 0.2)))
    (flag,) = input_flags(scan, spec)
    assert flag.text.startswith("unlike training: brightness of t2 (asymmetry ")


def test_a_whole_head_is_unlike_a_hippocampus(dicom_head_dir):
    spec = spec_of(extent_mm=((31.0, 43.0), (40.0, 59.0), (24.0, 47.0)))  # the crops of the hippocampus task
    assert "field_of_view" in [flag.code for flag in input_flags(read_scan(dicom_head_dir), spec)]


def test_a_missing_structure_is_named():
    (flag,) = content_flags(np.array([0, 1, 1], np.uint8), spec_of())
    assert (flag.code, flag.text) == ("structure_missing", "back was not found")


def test_a_structure_that_lies_under_another_one_is_not_missing():
    mask = np.array([0, 2, 2], np.uint8)
    assert [flag.text for flag in content_flags(mask, spec_of())] == ["front was not found"]
    sets = np.array([[False, True, True], [False, True, True]])
    assert content_flags(mask, spec_of(), sets=sets) == []


def test_an_empty_prediction_is_one_flag_of_its_own():
    assert [flag.code for flag in content_flags(np.zeros(3, np.uint8), spec_of())] == ["empty"]


def test_a_complete_prediction_has_no_flag():
    assert content_flags(np.array([0, 1, 2], np.uint8), spec_of()) == []


def assessed(sharpness, ensemble, interval=(0.8, 0.9)):
    p_value = min(sharpness, ensemble)
    unlikeness = Unlikeness(p_value, {"sharpness": sharpness, "ensemble": ensemble}, 26)
    structure = StructureAssessment(0.85, interval, None, None, None)
    return Assessment({1: structure}, unlikeness, 26, FineRule(), None)


def test_a_grade_other_than_like_is_a_flag_with_its_sentence_and_what_intervals_promise():
    assert unlike_flags(None) == unlike_flags(assessed(0.3, 0.3)) == []
    (somewhat,) = unlike_flags(assessed(0.03, 0.3))
    assert somewhat.code == "somewhat_unlike_calibration"
    assert somewhat.text.startswith(
        "Somewhat unlike the 26 calibration scans (p = 0.03): unusual is its sharp"
    )
    assert "the widest that the calibration scans give" in somewhat.text
    (unlike,) = unlike_flags(assessed(0.3, 0.03, interval=None))
    assert unlike.code == "unlike_calibration"
    assert unlike.text.endswith("how far off such scans can be is not known.")
