"""Masks go through bytes: written by us, read by pydicom, by highdicom and by dcmqi."""

import json
from dataclasses import replace

import highdicom as hd
import numpy as np
import pytest
import torch
from pydicom import dcmread
from pydicom.sr.codedict import codes

from dicom_phantoms import marked_prediction, seen_from, stored_otherwise
from phantoms import spec_of
from segtrust.dicom import StructureCodes, read_series, write_segmentation
from segtrust.dicom.segmentation import cielab
from segtrust.errors import DicomError
from segtrust.models import Head, Label

ORDER, FLIPS = (1, 2, 0), (False, True, True)
HIPPOCAMPUS = (
    Label("anterior hippocampus", 1, 1, (230, 159, 0)),
    Label("posterior hippocampus", 2, 2, (0, 114, 178)),
)


@pytest.fixture
def simple(simple_dir):
    series = read_series(simple_dir)
    return series, marked_prediction(series.affine, series.shape, spec=spec_of(labels=HIPPOCAMPUS))


@pytest.fixture
def document(simple, tmp_path):
    """The segmentation as pydicom reads it from the file."""
    series, prediction = simple
    return dcmread(write_segmentation(prediction, series, tmp_path / "seg.dcm"))


def by_segment(document):
    """Masks by segment number and source slice, read with nothing but pydicom."""
    planes = {}
    for frame, item in zip(
        document.pixel_array.reshape(-1, document.Rows, document.Columns),
        document.PerFrameFunctionalGroupsSequence,
        strict=True,
    ):
        number = item.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        source = item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        planes[number, source] = frame
    return planes


def test_every_voxel_is_in_the_segment_and_on_the_slice_it_belongs_to(series_dir, tmp_path):
    series = read_series(series_dir)
    straight = marked_prediction(series.affine, series.shape)
    stored = stored_otherwise(straight, ORDER, FLIPS)
    planes = by_segment(dcmread(write_segmentation(stored, series, tmp_path / "seg.dcm")))
    for k, header in enumerate(series.headers):
        for value in (1, 2):
            expected = np.equal(straight.mask[:, :, k].T, value)
            got = planes.get((value, header.SOPInstanceUID), np.zeros_like(expected))
            np.testing.assert_array_equal(got, expected)


def test_highdicom_reads_the_same_mask(series_dir, tmp_path):
    series = read_series(series_dir)
    prediction = marked_prediction(series.affine, series.shape)
    seg = hd.seg.segread(write_segmentation(prediction, series, tmp_path / "seg.dcm"))
    got = seg.get_pixels_by_source_instance(
        [header.SOPInstanceUID for header in series.headers],
        combine_segments=True,
        assert_missing_frames_are_empty=True,
    )
    np.testing.assert_array_equal(got, prediction.mask.transpose(2, 1, 0))


def overlapping(series, structures, **changes):
    """A prediction of two structures at random, many voxels in both, the mask showing the second."""
    plain = marked_prediction(series.affine, series.shape)
    spec = spec_of(head=Head("sigmoid", (1, 2), (0.4, 0.6), structures=structures))
    probs = np.random.default_rng(3).random((2, *series.shape), np.float32)
    probs[:, 0, 0, 0] = (0.9, 0.1)
    mask = spec.head.rule.labels(torch.from_numpy(probs)).numpy()
    return replace(plain, spec=spec, probs=probs, mask=mask, **changes)


@pytest.mark.parametrize("structures", ["nested", "independent"])
def test_a_segment_holds_all_voxels_of_its_structure_where_structures_overlap(
    series_dir, tmp_path, structures
):
    series = read_series(series_dir)
    straight = overlapping(series, structures)
    outer, inner = straight.probs[0] > np.float32(0.4), straight.probs[1] > np.float32(0.6)
    expected = {1: outer | inner if structures == "nested" else outer, 2: inner}
    stored = stored_otherwise(straight, ORDER, FLIPS)
    document = dcmread(write_segmentation(stored, series, tmp_path / "seg.dcm"))
    assert (document.SegmentsOverlap, document.SegmentationType) == ("YES", "BINARY")
    planes = by_segment(document)
    for k, header in enumerate(series.headers):
        for value, held in expected.items():
            got = planes.get((value, header.SOPInstanceUID), np.zeros_like(held[:, :, k].T))
            np.testing.assert_array_equal(got, held[:, :, k].T)


def test_highdicom_and_dciodvfy_read_segments_that_overlap(simple_dir, tmp_path, errors_of):
    series = read_series(simple_dir)
    prediction = overlapping(series, "nested")
    path = write_segmentation(prediction, series, tmp_path / "seg.dcm")
    got = hd.seg.segread(path).get_pixels_by_source_instance(
        [header.SOPInstanceUID for header in series.headers], assert_missing_frames_are_empty=True
    )
    np.testing.assert_array_equal(got.transpose(3, 2, 1, 0), prediction.sets)
    assert errors_of(path) == []


@pytest.mark.parametrize("p", [0.0, 1.0], ids=["nothing", "everything"])
def test_overlapping_structures_may_be_empty_or_fill_the_scan(simple_dir, tmp_path, p):
    series = read_series(simple_dir)
    probs = np.full((2, *series.shape), p, np.float32)
    prediction = overlapping(series, "independent")
    prediction = replace(prediction, probs=probs, mask=np.full(series.shape, int(2 * p), np.uint8))
    planes = by_segment(dcmread(write_segmentation(prediction, series, tmp_path / "seg.dcm")))
    assert len(planes) == 2 * series.shape[2]
    assert all((plane == p).all() for plane in planes.values())


@pytest.mark.slow
def test_dcmqi_reads_every_voxel_at_its_place_in_the_world(series_dir, tmp_path, read_by_dcmqi):
    series = read_series(series_dir)
    stored = stored_otherwise(marked_prediction(series.affine, series.shape), ORDER, FLIPS)
    path = write_segmentation(stored, series, tmp_path / "seg.dcm")
    volumes = read_by_dcmqi("segimage2itkimage", path)
    assert sorted(volumes) == ["1", "2"]
    for name, (volume, affine) in volumes.items():
        expected = seen_from(stored.mask == int(name), stored.affine, affine, volume.shape)
        np.testing.assert_array_equal(volume > 0, expected)
        assert expected.sum() == (stored.mask == int(name)).sum()


def test_dciodvfy_finds_no_error(series_dir, tmp_path, errors_of):
    series = read_series(series_dir)
    prediction = marked_prediction(series.affine, series.shape)
    assert errors_of(write_segmentation(prediction, series, tmp_path / "seg.dcm")) == []


def test_it_is_binary_with_one_segment_per_structure(document):
    assert (document.Modality, document.SegmentationType, document.BitsAllocated) == ("SEG", "BINARY", 1)
    assert [(s.SegmentNumber, s.SegmentLabel) for s in document.SegmentSequence] == [
        (1, "anterior hippocampus"),
        (2, "posterior hippocampus"),
    ]


def test_known_structures_have_standard_codes_with_their_part(document):
    for segment, part in zip(document.SegmentSequence, ("Anterior", "Posterior"), strict=True):
        (kind,) = segment.SegmentedPropertyTypeCodeSequence
        assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("5366008", "SCT")
        assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == part


def test_given_codes_go_first(simple, tmp_path):
    series, prediction = simple
    given = {
        "anterior hippocampus": StructureCodes(codes.SCT.Neoplasm, codes.SCT.MorphologicallyAbnormalStructure)
    }
    path = write_segmentation(prediction, series, tmp_path / "seg.dcm", structures=given)
    (first, second) = dcmread(path).SegmentSequence
    assert first.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == codes.SCT.Neoplasm.meaning
    assert second.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Hippocampus"


def test_algorithm_version_and_calibration_stand_at_every_segment(document):
    for segment in document.SegmentSequence:
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
        (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("tiny", "0001")
        assert algorithm.AlgorithmFamilyCodeSequence[0].CodeMeaning == "Artificial Intelligence"
        assert "calibration=distance_temperature" in algorithm.AlgorithmParameters
        assert "digest=" + "d" * 64 in algorithm.AlgorithmParameters


def test_series_description_says_that_nobody_verified_it(document):
    assert document.SeriesDescription == "Mask by tiny 0001, unverified, research only"


@pytest.mark.parametrize(
    ("colour", "expected"),
    [((255, 255, 255), (65535, 32896, 32896)), ((0, 0, 0), (0, 32896, 32896))],
    ids=["white", "black"],
)
def test_white_and_black_have_no_hue(colour, expected):
    assert cielab(colour) == pytest.approx(expected, abs=2)


def test_red_is_the_red_of_the_tables():
    # sRGB red under D65: L* 53.24, a* 80.09, b* 67.20
    stored = np.array([53.24 / 100, (80.09 + 128) / 255, (67.20 + 128) / 255]) * 65535
    assert cielab((255, 0, 0)) == pytest.approx(stored, abs=5)


def test_dcmqi_shows_the_models_colours(simple, tmp_path, run_tool):
    series, prediction = simple
    path = write_segmentation(prediction, series, tmp_path / "seg.dcm")
    done = run_tool("segimage2itkimage", "--inputDICOM", path, "--outputDirectory", tmp_path)
    assert done.returncode == 0
    segments = json.loads((tmp_path / "meta.json").read_text("utf-8"))["segmentAttributes"]
    colours = [segment["recommendedDisplayRGBValue"] for (segment,) in segments]
    np.testing.assert_allclose(colours, [label.colour for label in HIPPOCAMPUS], atol=1)


def test_a_structure_that_was_not_found_is_described_without_a_frame(simple, tmp_path, read_by_dcmqi):
    series, full = simple
    mask = np.where(full.mask == 1, 0, full.mask)
    prediction = marked_prediction(series.affine, series.shape, mask=mask, spec=full.spec)
    path = write_segmentation(prediction, series, tmp_path / "seg.dcm")
    document = dcmread(path)
    assert len(document.SegmentSequence) == 2
    assert {number for number, _ in by_segment(document)} == {2}
    volumes = read_by_dcmqi("segimage2itkimage", path)
    assert (volumes["2"][0] > 0).sum() == (mask == 2).sum()


def test_a_mask_without_any_structure_is_written_empty(simple, tmp_path, errors_of):
    series, full = simple
    prediction = marked_prediction(series.affine, series.shape, mask=np.zeros_like(full.mask), spec=full.spec)
    path = write_segmentation(prediction, series, tmp_path / "seg.dcm")
    assert dcmread(path).pixel_array.sum() == 0
    assert errors_of(path) == []


def test_a_prediction_of_another_scan_is_refused(simple, tmp_path):
    series, prediction = simple
    other = marked_prediction(prediction.affine, (9, 7, 6))
    with pytest.raises(DicomError, match="must lie on the grid of the DICOM series"):
        write_segmentation(other, series, tmp_path / "seg.dcm")
    assert list(tmp_path.iterdir()) == []
