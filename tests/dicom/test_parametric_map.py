"""Maps go through bytes: written by us, read by pydicom, by highdicom, and by dcmqi as 3D Slicer does."""

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread

from dicom_phantoms import make_series, marked_prediction, seen_from, stored_otherwise
from phantoms import spec_of
from segtrust.dicom import map_names, read_series, write_parametric_map
from segtrust.dicom.parametric_map import _description
from segtrust.errors import DicomError, SettingError
from segtrust.models import Head, Label

NAMES = ("entropy", "chance_of_error", "between_member", "probability:front", "probability:back")
ORDER, FLIPS = (2, 0, 1), (True, False, True)


def values_of(prediction, name):
    if name.startswith("probability:"):
        return prediction.probs[("front", "back").index(name.partition(":")[2]) + 1]
    return prediction.map(name)


@pytest.fixture
def simple(simple_dir):
    series = read_series(simple_dir)
    return series, marked_prediction(series.affine, series.shape)


@pytest.fixture
def written(simple, tmp_path):
    """``written(name)``: the map as pydicom reads it from the file."""
    series, prediction = simple
    return lambda name: dcmread(write_parametric_map(prediction, name, series, tmp_path / "map.dcm"))


def test_names_are_three_maps_and_one_probability_per_structure():
    assert map_names(spec_of()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_map_comes_back_bit_by_bit(simple, written, name):
    _, prediction = simple
    document = written(name)
    assert document.pixel_array.dtype == np.float32
    np.testing.assert_array_equal(document.pixel_array, values_of(prediction, name).transpose(2, 1, 0))


def test_frames_ascend_and_stand_where_the_slices_stand(series_dir, tmp_path):
    series = read_series(series_dir)
    prediction = stored_otherwise(marked_prediction(series.affine, series.shape), ORDER, FLIPS)
    document = dcmread(write_parametric_map(prediction, "entropy", series, tmp_path / "map.dcm"))
    assert document.NumberOfFrames == len(series.headers)
    shared, frames = document.SharedFunctionalGroupsSequence[0], document.PerFrameFunctionalGroupsSequence
    orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    normal = np.cross(orientation[:3], orientation[3:])
    positions = np.array([f.PlanePositionSequence[0].ImagePositionPatient for f in frames], float)
    sources = np.array([h.ImagePositionPatient for h in series.headers], float)
    assert (np.diff(positions @ normal) > 0).all()
    np.testing.assert_allclose(positions, sources, atol=1e-9)
    numbers = [f.FrameContentSequence[0].DimensionIndexValues for f in frames]
    assert numbers == list(range(1, len(frames) + 1))


def test_highdicom_reads_the_same_frames(series_dir, tmp_path):
    series = read_series(series_dir)
    prediction = marked_prediction(series.affine, series.shape)
    path = write_parametric_map(prediction, "entropy", series, tmp_path / "map.dcm")
    columns, rows, _ = series.shape
    # bytes: highdicom 0.22 asks float frames for BitsStored, which the standard forbids them
    with hd.io.ImageFileReader(path) as reader:
        frames = [reader.read_frame_raw(k) for k in range(reader.number_of_frames)]
    got = np.stack([np.frombuffer(frame, "<f4").reshape(rows, columns) for frame in frames])
    np.testing.assert_array_equal(got, prediction.entropy.transpose(2, 1, 0))


@pytest.mark.slow
def test_dcmqi_reads_every_value_at_its_place_in_the_world(series_dir, tmp_path, read_by_dcmqi):
    series = read_series(series_dir)
    straight = marked_prediction(series.affine, series.shape)
    stored = stored_otherwise(straight, ORDER, FLIPS)
    path = write_parametric_map(stored, "between_member", series, tmp_path / "map.dcm")
    ((volume, affine),) = read_by_dcmqi("paramap2itkimage", path).values()
    np.testing.assert_allclose(affine, series.affine, atol=1e-3)
    expected = seen_from(stored.map("between_member"), stored.affine, affine, volume.shape)
    np.testing.assert_allclose(volume, expected, atol=1e-6)
    upside_down = seen_from(straight.map("between_member")[:, :, ::-1], series.affine, affine, volume.shape)
    assert volume.shape[2] == 1 or np.abs(volume - upside_down).max() > 0.1


def test_dciodvfy_finds_no_error_over_any_series(series_dir, tmp_path, errors_of):
    series = read_series(series_dir)
    prediction = marked_prediction(series.affine, series.shape)
    assert errors_of(write_parametric_map(prediction, "entropy", series, tmp_path / "map.dcm")) == []


@pytest.mark.parametrize("name", NAMES)
def test_dciodvfy_finds_no_error_in_any_map(simple, tmp_path, errors_of, name):
    series, prediction = simple
    assert errors_of(write_parametric_map(prediction, name, series, tmp_path / "map.dcm")) == []


@pytest.mark.parametrize("name", NAMES)
def test_the_header_says_what_the_values_mean(written, name):
    document = written(name)
    (mapping,) = document.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1, 0)
    (unit,) = mapping.MeasurementUnitsCodeSequence
    assert (unit.CodeValue, unit.CodingSchemeDesignator) == ("1", "UCUM")
    (quantity,) = mapping.QuantityDefinitionSequence[0].ConceptCodeSequence
    scheme = "DCM" if name.startswith("probability:") else "99SEGTRUST"
    assert quantity.CodingSchemeDesignator == scheme
    assert len(quantity.CodeValue) <= 16
    assert len(mapping.LUTLabel) <= 16


def test_map_is_never_offered_for_annotation_as_an_mr_or_ct(written):
    assert written("entropy").Modality == "OT"


@pytest.mark.parametrize("name", NAMES)
def test_series_description_gives_the_number_right_and_says_that_nobody_verified_it(written, name):
    text = written(name).SeriesDescription
    assert text.endswith("0-1 (OHIF shows x100), unverified")
    assert len(text) <= 64


def test_a_long_name_does_not_push_the_warning_out():
    text = _description("P(" + "x" * 80 + ")")
    assert len(text) == 64
    assert text.endswith("... 0-1 (OHIF shows x100), unverified")


@pytest.mark.parametrize(
    ("body_part", "meaning"),
    [("BRAIN", "Brain"), ("ABDOMEN", "Abdomen"), ("PARTIALBODY", "Body structure"), (None, "Body structure")],
)
def test_anatomy_is_that_of_the_source_or_no_more_than_is_known(tmp_path, errors_of, body_part, meaning):
    def change(headers):
        for header in headers:
            del header.BodyPartExamined
            if body_part:
                header.BodyPartExamined = body_part
        return headers

    series = read_series(make_series(tmp_path / "mr", change=change))
    prediction = marked_prediction(series.affine, series.shape)
    path = write_parametric_map(prediction, "entropy", series, tmp_path / "map.dcm")
    document = dcmread(path)
    (anatomy,) = document.SharedFunctionalGroupsSequence[0].FrameAnatomySequence
    assert anatomy.AnatomicRegionSequence[0].CodeMeaning == meaning
    assert anatomy.FrameLaterality == "U"
    assert document.get("BodyPartExamined") == body_part
    assert errors_of(path) == []


def test_window_spans_no_chance_to_certain_error(written):
    (window,) = written("chance_of_error").SharedFunctionalGroupsSequence[0].FrameVOILUTSequence
    assert (window.WindowCenter, window.WindowWidth, window.VOILUTFunction) == (0.5, 1, "LINEAR_EXACT")


def test_a_sigmoid_model_has_no_background_channel(simple, tmp_path):
    series, softmax = simple
    spec = spec_of(head=Head("sigmoid", (1, 2)))
    prediction = marked_prediction(series.affine, series.shape, spec=spec, probs=softmax.probs[1:])
    path = write_parametric_map(prediction, "probability:back", series, tmp_path / "map.dcm")
    np.testing.assert_array_equal(dcmread(path).pixel_array, softmax.probs[2].transpose(2, 1, 0))


def test_an_unknown_map_lists_the_known_ones(simple, tmp_path):
    series, prediction = simple
    with pytest.raises(SettingError, match=r"one of entropy, .*, probability:back, got 'variance'"):
        write_parametric_map(prediction, "variance", series, tmp_path / "map.dcm")


@pytest.mark.parametrize("wrong", [1.5, -0.5, np.nan])
def test_values_that_are_no_share_are_refused_and_nothing_is_written(simple, tmp_path, wrong):
    series, prediction = simple
    prediction.member_maps["between_member"][3, 3, 3] = wrong
    with pytest.raises(DicomError, match=r"'between_member' must lie in \[0, 1\], got"):
        write_parametric_map(prediction, "between_member", series, tmp_path / "map.dcm")
    assert list(tmp_path.iterdir()) == []


def test_rounding_above_one_is_no_error(simple, tmp_path):
    series, prediction = simple
    prediction.member_maps["between_member"][:] = np.float32(1 + 1e-6)
    path = write_parametric_map(prediction, "between_member", series, tmp_path / "map.dcm")
    assert dcmread(path).pixel_array.max() == 1


def test_a_prediction_of_another_scan_is_refused(simple, tmp_path):
    series, prediction = simple
    other = marked_prediction(prediction.affine, (9, 7, 6))
    with pytest.raises(DicomError, match="must lie on the grid of the DICOM series"):
        write_parametric_map(other, "entropy", series, tmp_path / "map.dcm")


def test_a_long_structure_name_is_shortened_where_dicom_has_no_room(simple, tmp_path):
    series, _ = simple
    name = "a structure with a name that goes on and on and does not end before the edge"
    spec = spec_of(labels=(Label(name, 1, 1), Label("back", 2, 2)))
    prediction = marked_prediction(series.affine, series.shape, spec=spec)
    document = dcmread(write_parametric_map(prediction, f"probability:{name}", series, tmp_path / "map.dcm"))
    (mapping,) = document.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    assert (mapping.LUTLabel, len(mapping.LUTExplanation)) == ("P(a structure w)", 64)
