"""What every object says about its source and its maker, and what it does not do to the patient's data."""

import logging

import pytest
from pydicom import dcmread

from dicom_phantoms import make_series, marked_prediction
from segtrust import __version__
from segtrust.dicom import read_series, write_parametric_map, write_segmentation


def write(kind, prediction, series, folder):
    path = folder / f"{kind}.dcm"
    if kind == "mask":
        return write_segmentation(prediction, series, path)
    return write_parametric_map(prediction, kind, series, path)


@pytest.fixture(params=["mask", "entropy"])
def kind(request):
    """Either kind of object."""
    return request.param


@pytest.fixture
def documents(kind, tmp_path):
    """``documents(change, **prediction)``: series and object, read from its bytes."""

    def make(change=None, **changes):
        series = read_series(make_series(tmp_path / "mr", change=change))
        prediction = marked_prediction(series.affine, series.shape, **changes)
        return series, dcmread(write(kind, prediction, series, tmp_path))

    return make


def test_it_belongs_to_the_study_and_frame_of_reference_of_its_source_in_a_series_of_its_own(documents):
    series, document = documents()
    source = series.headers[0]
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientName", "PatientID", "StudyDate"):
        assert document[keyword].value == source[keyword].value
    assert document.SeriesInstanceUID != source.SeriesInstanceUID


def test_it_refers_to_every_slice_of_its_source(documents):
    series, document = documents()
    (reference,) = document.ReferencedSeriesSequence
    assert reference.SeriesInstanceUID == series.headers[0].SeriesInstanceUID
    got = [
        (i.ReferencedSOPClassUID, i.ReferencedSOPInstanceUID) for i in reference.ReferencedInstanceSequence
    ]
    assert got == [(h.SOPClassUID, h.SOPInstanceUID) for h in series.headers]


def test_software_model_version_and_calibration_are_in_the_header(documents):
    _, document = documents()
    assert list(document.SoftwareVersions) == [f"segtrust {__version__}", "model tiny 0001"]
    assert document.DeviceSerialNumber == "d" * 64
    (maker,) = document.ContributingEquipmentSequence
    assert maker.PurposeOfReferenceCodeSequence[0].CodeMeaning == "Processing Equipment"
    for words in ("model tiny version 0001", "2 members, fp32", "calibration: distance_temperature."):
        assert words in maker.ContributionDescription


def test_a_model_that_is_not_calibrated_says_so(documents):
    _, document = documents(calibration="identity")
    assert "not calibrated" in document.ContributingEquipmentSequence[0].ContributionDescription


def test_it_is_marked_unverified_and_not_for_diagnosis(documents):
    _, document = documents()
    assert (document.VerificationFlag, document.ContentQualification) == ("UNVERIFIED", "RESEARCH")
    assert "unverified" in document.SeriesDescription
    assert document.ContentDescription == "Unverified. For annotation and research, not for diagnosis."
    assert document.ContentCreatorName == "segtrust^automatic"
    assert "never trained on" in document.ContributingEquipmentSequence[0].ContributionDescription


def test_what_the_source_lacks_stays_empty(documents, errors_of, tmp_path, kind):
    def change(headers):
        for header in headers:
            for keyword in ("PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber", "StudyTime"):
                delattr(header, keyword)
        return headers

    _, document = documents(change)
    assert document["PatientSex"].is_empty
    assert document["PatientBirthDate"].is_empty
    assert errors_of(tmp_path / f"{kind}.dcm") == []


def test_names_in_another_character_set_arrive_whole(documents):
    def change(headers):
        for header in headers:
            header.SpecificCharacterSet, header.PatientName = "ISO_IR 100", "Müller^Jürgen"
        return headers

    _, document = documents(change)
    assert document.SpecificCharacterSet == "ISO_IR 192"
    assert str(document.PatientName) == "Müller^Jürgen"


def test_a_name_of_one_word_is_neither_refused_nor_logged(documents, caplog, recwarn):
    def change(headers):
        for header in headers:
            header.PatientName = "Secret"
        return headers

    with caplog.at_level(logging.DEBUG):
        _, document = documents(change)
    assert document.PatientName == "Secret"
    assert "Secret" not in caplog.text
    assert not any("Secret" in str(warning.message) for warning in recwarn)


def test_a_sex_that_the_standard_does_not_know_is_passed_on(documents):
    def change(headers):
        for header in headers:
            header.PatientSex = "U"
        return headers

    _, document = documents(change)
    assert document.PatientSex == "U"


def test_lossy_compression_of_the_source_is_passed_on(documents):
    def change(headers):
        for header in headers:
            header.LossyImageCompression, header.LossyImageCompressionRatio = "01", 12.5
            header.LossyImageCompressionMethod = "ISO_15444_1"
        return headers

    _, document = documents(change)
    assert (document.LossyImageCompression, document.LossyImageCompressionRatio) == ("01", 12.5)


def test_a_file_that_is_there_is_replaced_and_nothing_else_is_left(kind, simple_dir, tmp_path):
    series = read_series(simple_dir)
    prediction = marked_prediction(series.affine, series.shape)
    first = dcmread(write(kind, prediction, series, tmp_path)).SOPInstanceUID
    second = dcmread(write(kind, prediction, series, tmp_path)).SOPInstanceUID
    assert first != second
    assert [path.name for path in tmp_path.iterdir()] == [f"{kind}.dcm"]
