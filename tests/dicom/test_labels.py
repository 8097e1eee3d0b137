"""Labels of people go through bytes: written by us, read back by us and by dcmqi."""

import numpy as np
import pytest
from pydicom import dcmread

from dicom_phantoms import marked_prediction, seen_from, stored_otherwise
from segtrust.decisions import LabelRule
from segtrust.dicom import (
    is_prediction,
    read_label,
    read_series,
    segment_names,
    write_label,
    write_segmentation,
)
from segtrust.errors import DicomError
from segtrust.models import Label

LABELS = (Label("front", 1, 1, (230, 159, 0)), Label("back", 2, 2, (0, 114, 178)))
ORDER, FLIPS = (1, 2, 0), (False, True, True)


@pytest.fixture
def simple(simple_dir):
    series = read_series(simple_dir)
    return series, marked_prediction(series.affine, series.shape)


@pytest.fixture
def document(simple, tmp_path):
    """The label as pydicom reads it from the file."""
    series, marks = simple
    return dcmread(write_label(marks.mask, series.affine, LABELS, series, tmp_path / "label.dcm"))


def test_a_label_comes_back_voxel_by_voxel_whatever_the_order_of_its_axes(series_dir, tmp_path):
    series = read_series(series_dir)
    straight = marked_prediction(series.affine, series.shape)
    turned = stored_otherwise(straight, ORDER, FLIPS)
    path = write_label(turned.mask, turned.affine, LABELS, series, tmp_path / "label.dcm")
    stored = read_label(dcmread(path), series)
    assert stored.names == {1: "front", 2: "back"}
    np.testing.assert_array_equal(stored.frames, straight.mask.transpose(2, 1, 0))
    placement = series.place(turned.affine, turned.mask.shape)
    np.testing.assert_array_equal(placement.to_volume(stored.frames), turned.mask)


@pytest.mark.parametrize("priority", [(1, 2), (2, 1)], ids=["front holds back", "back holds front"])
def test_nested_structures_are_stored_whole_and_come_back_as_they_were_drawn(simple, tmp_path, priority):
    series, marks = simple
    rule = LabelRule("sigmoid", priority, structures="nested")
    path = write_label(marks.mask, series.affine, LABELS, series, tmp_path / "label.dcm", rule=rule)
    document = dcmread(path)
    outer, inner = priority
    assert document.SegmentsOverlap == "YES"
    voxels = dict.fromkeys(priority, 0)
    frames = document.pixel_array.reshape(-1, document.Rows, document.Columns)
    for frame, item in zip(frames, document.PerFrameFunctionalGroupsSequence, strict=True):
        voxels[item.SegmentIdentificationSequence[0].ReferencedSegmentNumber] += int(frame.sum())
    assert voxels == {outer: np.count_nonzero(marks.mask), inner: np.count_nonzero(marks.mask == inner)}
    names = [LABELS[value - 1].name.upper() for value in priority]
    np.testing.assert_array_equal(
        read_label(document, series, nested=names).frames, marks.mask.transpose(2, 1, 0)
    )
    with pytest.raises(DicomError, match="segments that overlap"):
        read_label(document, series)


@pytest.mark.slow
def test_dcmqi_reads_the_label_at_its_place_in_the_world(series_dir, tmp_path, read_by_dcmqi):
    series = read_series(series_dir)
    marks = marked_prediction(series.affine, series.shape)
    path = write_label(marks.mask, marks.affine, LABELS, series, tmp_path / "label.dcm")
    volumes = read_by_dcmqi("segimage2itkimage", path)
    for value in (1, 2):
        volume, affine = volumes[str(value)]
        got = seen_from(volume, affine, series.affine, series.shape)
        np.testing.assert_array_equal(got > 0, marks.mask == value)


def test_a_label_without_any_structure_is_valid_and_comes_back_empty(simple, tmp_path, errors_of):
    series, marks = simple
    path = write_label(np.zeros_like(marks.mask), series.affine, LABELS, series, tmp_path / "label.dcm")
    assert errors_of(path) == []
    stored = read_label(dcmread(path), series)
    assert not stored.frames.any()
    assert stored.names == {1: "front", 2: "back"}


def test_it_is_valid(document, errors_of):
    assert errors_of(document.filename) == []


def test_a_label_of_a_person_is_no_prediction_and_a_mask_of_ours_is(simple, document, tmp_path):
    series, marks = simple
    mask = dcmread(write_segmentation(marks, series, tmp_path / "mask.dcm"))
    assert is_prediction(mask)
    assert not is_prediction(document)
    mask.Manufacturer = "another program"
    assert not is_prediction(mask)


def test_a_label_names_its_maker_but_no_person(document):
    assert document.ContentCreatorName == "segtrust^annotator"
    assert "submitted by a person" in document.ContributingEquipmentSequence[0].ContributionDescription
    assert document.SeriesDescription == "Label submitted by a person, research only"
    assert {item.SegmentAlgorithmType for item in document.SegmentSequence} == {"SEMIAUTOMATIC"}


def test_frames_are_placed_by_their_positions_not_by_their_references(simple, document):
    series, marks = simple
    for groups in document.PerFrameFunctionalGroupsSequence:
        del groups.DerivationImageSequence
    np.testing.assert_array_equal(read_label(document, series).frames, marks.mask.transpose(2, 1, 0))


def moved(document):
    for groups in document.PerFrameFunctionalGroupsSequence:
        groups.PlanePositionSequence[0].ImagePositionPatient[0] += 1


def mirrored(document):
    group = document.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    group.ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]


def smaller(document):
    document.Rows = 3


def fractional(document):
    document.SegmentationType = "FRACTIONAL"


def overlapping(document):
    groups = document.PerFrameFunctionalGroupsSequence
    first = groups[0].PlanePositionSequence[0].ImagePositionPatient
    for item in groups:
        item.PlanePositionSequence[0].ImagePositionPatient = first
    document.PixelData = b"\xff" * len(document.PixelData)


def without_place(document):
    for groups in document.PerFrameFunctionalGroupsSequence:
        del groups.PlanePositionSequence


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (moved, "frames on slices of its series, got one 1 mm away"),
        (mirrored, "the orientation of its series"),
        (smaller, r"\(9, 7\) columns and rows, got \(9, 3\)"),
        (fractional, "SegmentationType BINARY, got FRACTIONAL"),
        (overlapping, "segments that overlap"),
        (without_place, "a PlanePositionSequence for every frame"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_segmentation_that_does_not_fit_its_series_is_refused(simple, document, damage, words):
    damage(document)
    with pytest.raises(DicomError, match=words):
        read_label(document, simple[0])


def test_segments_are_named_also_where_the_header_has_none(document):
    assert segment_names(document) == {1: "front", 2: "back"}
    del document.SegmentSequence
    assert segment_names(document) == {}
