"""The one reader of DICOM folders: what it reads, voxel by voxel, and what it refuses in words."""

import copy

import itk
import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    generate_uid,
)

from dicom_phantoms import make_series, write_slice
from dicom_refusals import REFUSALS, set_all, set_one
from segtrust.errors import ScanError
from segtrust.files import series
from segtrust.files.dicom import find_series
from segtrust.files.limits import FileLimits, use_limits
from segtrust.files.series import read_series_volume
from segtrust.inference import read_scan

CT, PET, ENHANCED = (f"1.2.840.10008.5.1.4.1.1.{part}" for part in ("2", "128", "4.1"))
SEG, SR = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.11"


def expected(folder):
    """Values and place of each slice straight from the files, ascending in z."""
    headers = sorted(map(dcmread, folder.glob("*.dcm")), key=lambda h: float(h.ImagePositionPatient[2]))
    slopes = [(float(h.get("RescaleSlope", 1)), float(h.get("RescaleIntercept", 0))) for h in headers]
    return np.stack([h.pixel_array.T * m + b for h, (m, b) in zip(headers, slopes, strict=True)], axis=-1)


READ_ALL_THE_SAME = ("no frame of reference", "one slice, no thickness")


@pytest.mark.parametrize("name", [name for name in REFUSALS if name not in READ_ALL_THE_SAME])
def test_what_the_page_lists_is_refused_to_predict_from_as_well(tmp_path, name):
    change, words = REFUSALS[name]
    folder = make_series(tmp_path / "mr", change=change)
    with pytest.raises(ScanError, match=words) as caught:
        read_scan(folder)
    assert caught.value.code == "scan_series"
    assert str(caught.value).startswith("the DICOM series 'mr' must have")


@pytest.mark.parametrize(
    ("kind", "word"), [("EchoTime", "2 echoes"), ("TemporalPositionIdentifier", "2 time points")]
)
def test_two_volumes_in_one_series_are_called_what_they_are(tmp_path, kind, word):
    def doubled(headers):
        second = copy.deepcopy(headers)
        for header in second:
            header.SOPInstanceUID = generate_uid()
        for number, group in enumerate((headers, second), start=1):
            for header in group:
                setattr(header, kind, number)
        return [*headers, *second]

    folder = make_series(tmp_path / "mr", change=doubled)
    with pytest.raises(ScanError, match=rf"slices 1 and 2 at the same place \({word} by {kind}\?\)"):
        read_scan(folder)


@pytest.mark.parametrize("kind", [CT, PET, "1.2.840.10008.5.1.4.1.1.4"], ids=["CT", "PET", "MR"])
def test_each_slice_has_its_own_slope_and_intercept(tmp_path, kind):
    def scaled(headers):
        for number, header in enumerate(headers):
            header.SOPClassUID = kind
            header.RescaleSlope, header.RescaleIntercept = 0.5 + 0.75 * number, -1024 + number
        return headers

    folder = make_series(tmp_path / "mr", change=scaled)
    np.testing.assert_allclose(read_series_volume(folder).values, expected(folder), rtol=1e-6)


def test_whole_slopes_keep_whole_numbers_and_negative_values(tmp_path):
    folder = make_series(
        tmp_path / "ct", change=set_all(SOPClassUID=CT, RescaleSlope=1, RescaleIntercept=-1024)
    )
    values = read_series_volume(folder).values
    assert values.dtype.kind == "i"
    assert np.array_equal(values, expected(folder))


def compressed(folder, syntax):
    for file in folder.glob("*.dcm"):
        header = dcmread(file)
        if syntax == RLELossless:
            header.compress(RLELossless)
        else:
            header.file_meta.TransferSyntaxUID = syntax
            header = FileDataset(
                file,
                header,
                preamble=header.preamble,
                file_meta=header.file_meta,
                is_little_endian=syntax != ExplicitVRBigEndian,
                is_implicit_VR=syntax == ImplicitVRLittleEndian,
            )
            if syntax == ExplicitVRBigEndian:
                header.PixelData = np.frombuffer(header.PixelData, "<u2").astype(">u2").tobytes()
        header.save_as(file)
    return folder


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless],
    ids=lambda syntax: syntax.name,
)
def test_other_transfer_syntaxes_are_read_to_the_same_values(tmp_path, syntax):
    folder = make_series(tmp_path / "mr", shape=(16, 12, 3))
    wanted = expected(folder)
    assert np.array_equal(read_series_volume(compressed(folder, syntax)).values, wanted)


@pytest.mark.parametrize("kind", ["JPEG", "JPEG2000"])
def test_lossless_jpeg_is_read_to_the_same_values(tmp_path, kind):
    folder = make_series(tmp_path / "mr", shape=(16, 12, 3))
    wanted = expected(folder)
    for file in folder.glob("*.dcm"):
        header = dcmread(file)
        writer = itk.GDCMImageIO.New()
        writer.SetCompressor(kind)
        writer.SetUseCompression(True)
        picture = file.with_suffix(".jpg.dcm")
        itk.imwrite(itk.image_from_array(header.pixel_array), str(picture), compression=True, imageio=writer)
        packed = dcmread(picture)
        picture.unlink()
        header.file_meta.TransferSyntaxUID = packed.file_meta.TransferSyntaxUID
        header.PixelData = packed.PixelData
        header["PixelData"].VR = "OB"
        header["PixelData"].is_undefined_length = True
        header.save_as(file)
        assert packed.file_meta.TransferSyntaxUID.is_compressed
    assert np.array_equal(read_series_volume(folder).values, wanted)


def test_a_transfer_syntax_that_nothing_decodes_is_named(tmp_path):
    folder = make_series(tmp_path / "mr")
    for file in folder.glob("*.dcm"):
        file.write_bytes(file.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0"))
    with pytest.raises(ScanError, match=r"that is decoded .* the transfer syntax 1\.2\.840\.10008\.1\.2\.9"):
        read_scan(folder)


def make_enhanced(folder, source, *, order=None, slope=None, change=None):
    """One multi-frame object with the slices of a classic series as its frames."""
    folder.mkdir()
    headers = sorted(map(dcmread, source.glob("*.dcm")), key=lambda h: float(h.ImagePositionPatient[2]))
    headers = [headers[k] for k in order] if order else headers
    whole = copy.deepcopy(headers[0])
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        delattr(whole, keyword)
    whole.SOPClassUID, whole.NumberOfFrames = ENHANCED, len(headers)
    whole.PixelData = b"".join(header.PixelData for header in headers)
    shared = Dataset()
    measures, orientation = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = headers[0].PixelSpacing, headers[0].SliceThickness
    orientation.ImageOrientationPatient = headers[0].ImageOrientationPatient
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = (
        Sequence([measures]),
        Sequence([orientation]),
    )
    if slope:
        values = Dataset()
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = *slope, "US"
        shared.PixelValueTransformationSequence = Sequence([values])
    frames = []
    for header in headers:
        frame, place = Dataset(), Dataset()
        place.ImagePositionPatient = header.ImagePositionPatient
        frame.PlanePositionSequence = Sequence([place])
        frames.append(frame)
    whole.SharedFunctionalGroupsSequence = Sequence([shared])
    whole.PerFrameFunctionalGroupsSequence = Sequence(frames)
    if change:
        change(whole)
    whole.file_meta = FileMetaDataset()
    write_slice(whole, folder / "enhanced.dcm")
    return folder


@pytest.mark.parametrize("order", [None, [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]], ids=["up", "down", "mixed"])
def test_an_enhanced_object_is_read_as_the_series_with_the_same_slices(tmp_path, order):
    classic = make_series(tmp_path / "mr")
    one, other = (
        read_series_volume(classic),
        read_series_volume(make_enhanced(tmp_path / "enhanced", classic, order=order)),
    )
    assert np.array_equal(one.values, other.values)
    np.testing.assert_allclose(one.affine, other.affine, atol=1e-9)
    assert one.spacing == pytest.approx(other.spacing)


def test_an_enhanced_object_has_its_slope(tmp_path):
    classic = make_series(tmp_path / "mr")
    wanted = expected(classic) * 2.5 - 7
    values = read_series_volume(make_enhanced(tmp_path / "enhanced", classic, slope=(2.5, -7))).values
    np.testing.assert_allclose(values, wanted, rtol=1e-6)


def test_an_enhanced_object_with_two_time_points_is_refused(tmp_path):
    classic = make_series(tmp_path / "mr")
    folder = make_enhanced(tmp_path / "enhanced", classic, order=[0, 1, 2, 3, 4, 0, 1, 2, 3, 4])
    with pytest.raises(ScanError, match="one slice at each place"):
        read_scan(folder)


def test_frames_without_a_place_are_refused(tmp_path):
    def nowhere(whole):
        del whole.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence

    folder = make_enhanced(tmp_path / "enhanced", make_series(tmp_path / "mr"), change=nowhere)
    with pytest.raises(ScanError, match="a slice without ImagePositionPatient"):
        read_scan(folder)


def test_a_pixel_size_that_is_missing_is_unknown(tmp_path):
    def bare(headers):
        for header in headers:
            del header.PixelSpacing
        return headers

    folder = make_series(tmp_path / "mr", change=bare)
    scan = read_scan(folder)
    assert scan.spacing is None
    assert np.linalg.det(scan.affine[:3, :3]) != 0
    assert np.array_equal(scan.data[0].numpy(), expected(folder))


def test_the_thickness_of_a_single_slice_that_is_missing_is_unknown(tmp_path):
    scan = read_scan(make_series(tmp_path / "mr", change=lambda h: set_one(SliceThickness=None)(h[:1])))
    assert (scan.spacing, scan.shape) == (None, (9, 7, 1))


def about(kind, **values):
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = kind, generate_uid()
    header.StudyInstanceUID, header.SeriesInstanceUID = generate_uid(), generate_uid()
    for keyword, value in values.items():
        setattr(header, keyword, value)
    return header


def test_what_lies_beside_a_series_is_passed_over_and_counted(tmp_path):
    folder = make_series(tmp_path / "mr")
    wanted = expected(folder)
    (folder / "DICOMDIR").write_bytes(b"index")
    (folder / "README.txt").write_text("not a slice", encoding="utf-8")
    (folder / "._000.dcm").write_bytes(b"\0\5\x16\7")
    (folder / "nested").mkdir()
    write_slice(about(SR), folder / "report.dcm")
    write_slice(about(SEG, Rows=7, Columns=9, NumberOfFrames=5), folder / "mask.dcm")
    scout = make_series(
        tmp_path / "scout", shape=(9, 7, 1), change=set_all(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    )
    (scout / "000.dcm").rename(folder / "scout.dcm")
    series = read_series_volume(folder)
    assert np.array_equal(series.values, wanted)
    assert series.facts["slices"] == 5
    assert series.facts["files_passed_over"] == 5


def test_two_series_are_refused_with_their_names_and_one_of_them_can_be_chosen(tmp_path):
    first, second = make_series(tmp_path / "a"), make_series(tmp_path / "b", shape=(9, 7, 3))
    wanted = expected(second)
    uid = str(dcmread(second / "000.dcm").SeriesInstanceUID)
    for file in second.iterdir():
        file.rename(first / f"b-{file.name}")
    with pytest.raises(
        ScanError, match=r"one SeriesInstanceUID, got 2 different ones: .* \(3 files\)"
    ) as caught:
        read_series_volume(first)
    assert uid in str(caught.value)
    chosen = read_series_volume(first, uid)
    assert np.array_equal(chosen.values, wanted)
    assert chosen.facts["uid"] == uid
    with pytest.raises(ScanError, match=r"no series .1\.2\.3. in .a.\. There: "):
        read_series_volume(first, "1.2.3")


def test_the_series_that_was_read_is_named(tmp_path):
    folder = make_series(
        tmp_path / "mr",
        change=set_all(
            SeriesDescription="T1 sagittal", ManufacturerModelName="One", ProtocolName="T1 mprage"
        ),
    )
    facts = read_scan(folder).series
    assert facts == {
        "uid": str(dcmread(folder / "000.dcm").SeriesInstanceUID),
        "number": "1",
        "description": "T1 sagittal",
        "modality": "MR",
        "manufacturer": "made up",
        "scanner": "One",
        "protocol": "T1 mprage",
        "slices": 5,
    }


@pytest.mark.parametrize("place", [0, 2, 4], ids=["first", "middle", "last"])
@pytest.mark.parametrize("length", [400, 700, -30])
def test_a_slice_that_was_cut_off_is_never_left_out_in_silence(tmp_path, place, length):
    folder = make_series(tmp_path / "mr")
    file = folder / f"{place:03d}.dcm"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(ScanError, match=r"cut off|ends before them|to their end"):
        read_scan(folder)


def test_colour_is_refused(tmp_path):
    folder = make_series(tmp_path / "mr", change=set_all(SamplesPerPixel=3, PhotometricInterpretation="RGB"))
    with pytest.raises(ScanError, match="one grey value per pixel, got 3 colours"):
        read_scan(folder)


def test_numbers_of_colours_are_refused(tmp_path):
    # SamplesPerPixel is 1 for these too
    folder = make_series(tmp_path / "mr", change=set_all(PhotometricInterpretation="PALETTE COLOR"))
    with pytest.raises(ScanError, match="one grey value per pixel, got numbers of colours"):
        read_scan(folder)


def test_a_mosaic_is_refused(tmp_path):
    # one picture of all slices side by side would be read as one large slice
    folder = make_series(tmp_path / "mr", change=set_all(ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"]))
    with pytest.raises(ScanError, match=r"one slice per file, got a mosaic.*dcm2niix"):
        read_scan(folder)


def test_a_folder_of_folders_says_so(tmp_path):
    make_series(tmp_path / "study" / "mr")
    with pytest.raises(ScanError, match=r"must hold DICOM files, got none\. Its files lie in folders of it"):
        read_scan(tmp_path / "study")


angles = st.floats(-3.1, 3.1)
sizes = st.floats(0.2, 8.0)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    turns=st.tuples(angles, angles, angles),
    spacing=st.tuples(sizes, sizes, sizes),
    down=st.booleans(),
    data=st.data(),
)
def test_every_voxel_lies_where_its_slice_says_whatever_the_direction(
    tmp_path_factory, turns, spacing, down, data
):
    a, b, c = (np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]]) for t in turns)
    x, y, z = np.eye(3), np.eye(3), np.eye(3)
    x[1:, 1:], y[::2, ::2], z[:2, :2] = a, b, c
    axes = x @ y @ z
    folder = make_series(
        tmp_path_factory.mktemp("turned") / "mr",
        spacing=spacing,
        right=axes[:, 0],
        down=axes[:, 1],
        descending=down,
    )
    series = read_series_volume(folder)
    file = data.draw(st.sampled_from(sorted(folder.iterdir())))
    header = dcmread(file)
    column, row = data.draw(st.integers(0, 8)), data.draw(st.integers(0, 6))
    place = np.array(header.ImagePositionPatient, float)
    place += column * header.PixelSpacing[1] * axes[:, 0] + row * header.PixelSpacing[0] * axes[:, 1]
    voxel = np.linalg.inv(series.affine) @ [-place[0], -place[1], place[2], 1]
    index = np.round(voxel[:3]).astype(int)
    np.testing.assert_allclose(voxel[:3], index, atol=2e-3)
    assert series.values[tuple(index)] == header.pixel_array[row, column]


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(
    slice_index=st.integers(0, 1),
    # places as shares: a file is as long as its UIDs, which are others each time
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6
    ),
)
def test_damaged_headers_are_read_or_refused_and_nothing_else(tmp_path_factory, slice_index, changes):
    folder = make_series(tmp_path_factory.mktemp("damaged") / "mr", shape=(4, 3, 2))
    file = sorted(folder.iterdir())[slice_index]
    content = bytearray(file.read_bytes())
    for place, value in changes:
        content[int(place * len(content))] = value
    file.write_bytes(content)
    try:
        series = find_series(folder)
    except ScanError:
        return
    assert series.shape[2] <= 2


def test_headers_that_nest_without_end_are_refused(tmp_path):
    folder = make_series(tmp_path / "mr", shape=(4, 3, 1))
    file = folder / "000.dcm"
    content = file.read_bytes()
    start = content.index(b"\x08\x00\x08\x00CS")
    level = b"\x08\x00\x10\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    file.write_bytes(content[:start] + level * 5000 + content[start:])
    with pytest.raises(ScanError, match="must be readable DICOM"):
        find_series(folder)


@pytest.mark.parametrize("fault", [MemoryError, ScanError], ids=["no memory", "bounds"])
def test_no_scan_gets_the_values_of_one_whose_answer_was_not_read_to_its_end(tmp_path, monkeypatch, fault):
    one, other = make_series(tmp_path / "one"), make_series(tmp_path / "other", shape=(8, 6, 4))
    empty = np.empty

    def failing(*_args, **_options):
        monkeypatch.setattr(np, "empty", empty)
        raise fault("none left")

    read_series_volume(one)
    monkeypatch.setattr(np, "empty", failing)
    with pytest.raises(ScanError):
        read_series_volume(one)
    monkeypatch.setattr(np, "empty", empty)
    np.testing.assert_array_equal(read_series_volume(other).values, expected(other))


def test_a_reader_that_never_answers_is_ended_in_time_and_the_next_scan_is_read(tmp_path):
    folder = make_series(tmp_path / "mr")
    read_series_volume(folder)
    hung = series._idle[-1]
    psutil.Process(hung._process.pid).suspend()
    reason = "must be read within 1 seconds, which they were not"
    with use_limits(FileLimits(read_seconds=1)), pytest.raises(ScanError, match=reason):
        read_series_volume(folder)
    assert not hung.lives
    np.testing.assert_array_equal(read_series_volume(folder).values, expected(folder))
