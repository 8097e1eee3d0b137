"""Which series can be referred to, and what the others are told."""

import numpy as np
import pytest
from pydicom import dcmread

from dicom_phantoms import make_series
from dicom_refusals import REFUSALS
from segtrust.dicom import read_series
from segtrust.errors import DicomError
from segtrust.inference import read_scan


def test_slices_ascend_along_row_times_column_direction_whatever_their_files_are_called(series_dir):
    series = read_series(series_dir)
    orientation = np.array(series.headers[0].ImageOrientationPatient, float)
    normal = np.cross(orientation[:3], orientation[3:])
    heights = [float(normal @ np.array(h.ImagePositionPatient, float)) for h in series.headers]
    assert heights == sorted(heights)
    assert series.shape == (series.headers[0].Columns, series.headers[0].Rows, len(series.headers))


def test_geometry_is_what_itk_reads_from_the_same_folder(series_dir):
    series, scan = read_series(series_dir), read_scan(series_dir)
    placement = series.place(scan.affine, scan.shape)
    assert placement.to_frames(scan.data[0].numpy()).shape == series.shape[::-1]


def test_voxels_that_itk_reads_are_the_pixels_of_the_slices(series_dir):
    series, scan = read_series(series_dir), read_scan(series_dir)
    frames = series.place(scan.affine, scan.shape).to_frames(scan.data[0].numpy())
    pixels = {}
    for file in series_dir.glob("*.dcm"):
        header = dcmread(file)
        slope, intercept = float(header.get("RescaleSlope", 1)), float(header.get("RescaleIntercept", 0))
        pixels[header.SOPInstanceUID] = header.pixel_array * slope + intercept
    for frame, header in zip(frames, series.headers, strict=True):
        np.testing.assert_allclose(frame, pixels[header.SOPInstanceUID], rtol=1e-6)


def test_spacing_and_place_of_a_series_worked_by_hand(simple_dir):
    series = read_series(simple_dir)
    assert (series.spacing, series.thickness) == ((0.5, 0.8, 3.0), 3.0)
    # the first voxel stands at 20 mm to the patient's right and 10 mm to the back of the origin
    np.testing.assert_allclose(series.affine @ [2, 1, 1, 1], [20 - 2 * 0.5, -10 - 0.8, 5 + 3, 1])


def test_files_that_are_no_dicom_are_passed_over(tmp_path):
    folder = make_series(tmp_path / "mr")
    (folder / "README.txt").write_text("not a slice", encoding="utf-8")
    (folder / "DICOMDIR").write_bytes(b"")
    assert len(read_series(folder).headers) == 5


def test_class_and_instance_that_an_anonymiser_blanked_come_from_the_files_head(tmp_path):
    folder = make_series(tmp_path / "mr")
    for file in folder.iterdir():
        header = dcmread(file)
        meta = header.file_meta.MediaStorageSOPInstanceUID
        header.SOPClassUID, header.SOPInstanceUID = "", ""
        header.file_meta.MediaStorageSOPInstanceUID = meta
        header.save_as(file)
    assert all(header.SOPInstanceUID for header in read_series(folder).headers)


@pytest.mark.parametrize("name", REFUSALS)
def test_a_series_that_cannot_be_referred_to_safely_is_refused(tmp_path, name):
    change, words = REFUSALS[name]
    folder = make_series(tmp_path / "mr", change=change)
    with pytest.raises(DicomError, match=words) as caught:
        read_series(folder)
    message = str(caught.value)
    assert "must have" in message
    assert message.endswith(".")
    assert "Phantom" not in message


def test_rounded_positions_are_no_gap(tmp_path):
    def rounded(headers):
        for k, header in enumerate(headers):
            header.ImagePositionPatient[2] = round(k / 3, 3)
        return headers

    assert read_series(make_series(tmp_path / "mr", change=rounded)).spacing[2] == pytest.approx(
        1 / 3, abs=1e-3
    )


def test_a_folder_without_dicom_is_refused(tmp_path):
    with pytest.raises(DicomError, match="must hold DICOM files, got none"):
        read_series(tmp_path)


def test_a_file_in_place_of_a_folder_is_refused(tmp_path):
    with pytest.raises(DicomError, match=r"must be a folder with one file per slice, got 'scan\.nii'"):
        read_series(tmp_path / "scan.nii")


@pytest.mark.parametrize(
    ("number", "word", "words"),
    [
        (b"-20.0\\10.0", b"left!\\10.0", "3 finite numbers in ImagePositionPatient"),
        (b"0.8\\0.5 ", b"0.8\\wide", "2 finite numbers in PixelSpacing"),
    ],
    ids=["position", "spacing"],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning:pydicom")
def test_a_word_in_place_of_a_number_is_refused(tmp_path, number, word, words):
    folder = make_series(tmp_path / "mr")
    file = folder / "002.dcm"
    assert number in file.read_bytes()
    file.write_bytes(file.read_bytes().replace(number, word))
    with pytest.raises(DicomError, match=words):
        read_series(folder)


@pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning:pydicom")
def test_a_thickness_that_is_no_number_is_taken_from_the_distance_of_slices(tmp_path):
    folder = make_series(tmp_path / "mr", spacing=(0.5, 0.8, 2.75))
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes().replace(b"2.75", b"thin"))
    assert read_series(folder).thickness == pytest.approx(2.75)


def test_a_file_that_was_cut_off_is_refused(tmp_path):
    folder = make_series(tmp_path / "mr")
    file = folder / "002.dcm"
    file.write_bytes(file.read_bytes()[:700])
    with pytest.raises(DicomError, match=r"cut off|slice without"):
        read_series(folder)
