"""Scans and labels in a real PACS: what MONAI Label 0.8.5 does wrong there is right here."""

import gzip
import io
import json
import shutil
import zipfile

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread

from live_server import until
from segtrust.dicom import read_series, segment_names
from segtrust.inference import read_scan
from segtrust.label.studies.connection import connect, image_filters
from segtrust.label.studies.dicomweb import DicomwebDatastore
from segtrust.label.studies.pacs import Pacs
from segtrust.store import StateStore

BAND = "chance of error above 1 in 3"
FRONT, BACK = "anterior hippocampus", "posterior hippocampus"
BEN = {"client_id": "ben"}


@pytest.fixture
def submit(server, tmp_path):
    """``submit(uid, values, names)`` sends a final label on the grid of the scan, as a viewer does."""

    def send(uid, values, names=(), **query):
        affine, _ = scan_of(server, uid, tmp_path)
        content = gzip.compress(nib.Nifti1Image(values, affine).to_bytes())
        info = [{"name": name, "idx": index} for index, name in enumerate(names, start=1)]
        return server.put(
            "/datastore/label",
            params={"image": uid, **query},
            files={"label": ("label.nii.gz", content)},
            data={"params": json.dumps({"label_info": info} if names else {})},
        )

    return send


def scan_of(server, uid, folder):
    return volume_of(server.get("/datastore/image", params={"image": uid}), folder)


def volume_of(answer, folder):
    assert answer.status_code == 200, answer.text
    path = folder / "volume.nii.gz"
    path.write_bytes(answer.content)
    image = nib.load(path)
    return image.affine, np.asanyarray(image.dataobj)


def final_label(server, label, folder):
    return volume_of(server.get("/datastore/label", params={"label": label, "tag": "final"}), folder)


@pytest.fixture(scope="module")
def drawn():
    """A label that no flip or exchange of axes leaves as it is: values as a viewer numbers its segments."""
    values = np.random.default_rng(3).choice(np.array([0, 0, 0, 2, 3], np.uint8), (35, 51, 32))
    values[:4, :5, :6] = 2
    return values


def test_ct_and_mr_series_are_offered_and_no_results_of_others(server, series):
    """D6: by default MONAI Label offers CT only, and with MR also maps that have the modality MR."""
    assert server.get("/datastore/").json()["total"] == len(series)
    served = {server.post("/activelearning/uniform", json=BEN).json()["id"] for _ in series}
    assert served == {source.uid for source in series.values()}


def test_neither_a_mask_by_this_program_nor_foreign_structures_are_labels(server, uid):
    assert server.get("/datastore/").json()["completed"] == 0
    assert server.get("/datastore/?output=train").json() == []
    missing = server.get("/datastore/label", params={"label": uid("predicted"), "tag": "final"})
    assert missing.status_code == 404


def test_what_is_known_of_a_scan_can_be_changed_before_anybody_opened_it(server, uid):
    """D3: MONAI Label answers that there is no such image."""
    params = {"image": uid("CT, JPEG 2000")}
    assert server.get("/datastore/image/info", params=params).json()["PatientID"] == "TOTALSEG-EXAMPLE-CT"
    changed = server.put("/datastore/image/info", params=params, data={"info": json.dumps({"note": "x"})})
    assert changed.status_code == 200, changed.text
    info = server.get("/datastore/image/info", params=params).json()
    assert (info["note"], info["Modality"]) == ("x", "CT")


@pytest.mark.parametrize("name", ["CT, JPEG 2000", "MR head", "predicted"])
def test_the_volume_of_a_series_holds_its_voxels_at_their_places(server, series, name, tmp_path):
    affine, values = scan_of(server, series[name].uid, tmp_path)
    source = read_series(series[name].folder)
    frames = source.place(affine, values.shape).to_frames(values)
    middle = len(source.headers) // 2
    expected = next(
        document
        for document in map(dcmread, series[name].folder.glob("*.dcm"))
        if document.SOPInstanceUID == source.headers[middle].SOPInstanceUID
    )
    slope, intercept = float(expected.get("RescaleSlope", 1)), float(expected.get("RescaleIntercept", 0))
    pixels = read_scan(series[name].folder) if expected.file_meta.TransferSyntaxUID.is_compressed else None
    if pixels is None:
        np.testing.assert_array_equal(frames[middle], expected.pixel_array * slope + intercept)
    else:
        direct = source.place(pixels.affine, pixels.shape).to_frames(pixels.data[0].numpy())
        np.testing.assert_array_equal(frames, direct)


def test_a_saved_label_counts_at_once_and_its_scan_is_not_served_again(server, series, uid, submit, drawn):
    """D1: MONAI Label's list of labelled series is two hours old at most; the scan is served again."""
    answer = submit(uid("labelled"), drawn, [BAND, FRONT, BACK])
    assert answer.status_code == 200, answer.text
    assert answer.json()["label"] == uid("labelled")
    assert answer.json()["segtrust"]["model"] == "hippocampus"
    assert server.get("/datastore/").json()["completed"] == 1
    for _ in range(12):  # he skips them one after the other, and they come again
        answer = server.post("/activelearning/uniform", json=BEN).json()
        assert answer["id"] != uid("labelled")
        assert answer["of"] == len(series) - 1


def test_a_final_label_is_found_by_the_id_of_its_scan_and_by_its_own(
    server, uid, submit, drawn, tmp_path, read_back
):
    """D2: MONAI Label answers both with an error."""
    info = server.get("/datastore/label/info", params={"label": uid("labelled"), "tag": "final"}).json()
    assert info["label_info"] == [{"name": FRONT, "idx": 1}, {"name": BACK, "idx": 2}]
    expected = np.where(drawn > 0, drawn - 1, 0)
    for label in (uid("labelled"), info["SeriesInstanceUID"]):
        affine, values = final_label(server, label, tmp_path)
        np.testing.assert_array_equal(values, expected)
        np.testing.assert_allclose(affine, scan_of(server, uid("labelled"), tmp_path)[0], atol=1e-4)
    assert segment_names(dcmread(read_back(info["SeriesInstanceUID"]))) == {1: FRONT, 2: BACK}


def test_a_label_in_the_pacs_is_a_valid_segmentation_without_bands(server, uid, read_back, errors_of):
    info = server.get("/datastore/label/info", params={"label": uid("labelled"), "tag": "final"}).json()
    file = read_back(info["SeriesInstanceUID"])
    assert errors_of(file) == []
    document = dcmread(file)
    assert document.ReferencedSeriesSequence[0].SeriesInstanceUID == uid("labelled")
    assert {item.SegmentAlgorithmType for item in document.SegmentSequence} == {"SEMIAUTOMATIC"}


def test_two_labels_of_one_scan_complete_one_scan_and_the_newer_counts(
    server, uid, submit, drawn, tmp_path, pacs
):
    """D4: MONAI Label counts segmentations; its numbers exceed the number of scans."""
    before = len(pacs.find("Series", Modality="SEG"))
    newer = np.where(drawn == 2, 1, 0).astype(np.uint8)
    assert submit(uid("labelled"), newer, [FRONT]).status_code == 200
    assert len(pacs.find("Series", Modality="SEG")) == before + 1
    assert server.get("/datastore/").json()["completed"] == 1
    np.testing.assert_array_equal(final_label(server, uid("labelled"), tmp_path)[1], newer)


def test_a_scan_without_any_structure_can_be_marked_done(server, uid, submit, tmp_path):
    """D5: MONAI Label answers with an error, so that a negative scan comes back for ever."""
    affine, values = scan_of(server, uid("empty"), tmp_path)
    answer = submit(uid("empty"), np.zeros(values.shape, np.uint8))
    assert answer.status_code == 200, answer.text
    assert server.get("/datastore/").json()["completed"] == 2
    stored_affine, stored = final_label(server, uid("empty"), tmp_path)
    assert not stored.any()
    np.testing.assert_allclose(stored_affine, affine, atol=1e-4)


def test_a_label_as_the_panel_of_ohif_sends_it(server, uid, tmp_path, series):
    _, values = scan_of(server, uid("predicted"), tmp_path)
    label = np.zeros(values.shape, np.uint8)
    label[3:9, 4:7, 5] = 2
    answer = server.put(
        "/datastore/label",
        params={"image": uid("predicted")},
        files={"label": ("label.bin", label.tobytes(order="F"))},
        data={"params": json.dumps({"label_info": [{"name": BACK, "idx": 2}]})},
    )
    assert answer.status_code == 200, answer.text
    np.testing.assert_array_equal(final_label(server, uid("predicted"), tmp_path)[1], label)


def test_a_series_that_is_no_even_volume_is_refused_to_whoever_asks(server, uid, pacs):
    before = len(pacs.find("Series", Modality="SEG"))
    params, info = {"image": uid("uneven")}, [{"name": FRONT, "idx": 1}]
    label = gzip.compress(nib.Nifti1Image(np.ones((8, 8, 8), np.uint8), np.eye(4)).to_bytes())
    answers = [
        server.get("/datastore/image", params=params),
        server.infer("hippocampus", uid("uneven"), output="json"),
        server.put(
            "/datastore/label",
            params=params,
            files={"label": ("label.nii.gz", label)},
            data={"params": json.dumps({"label_info": info})},
        ),
    ]
    for answer in answers:
        assert answer.status_code == 422, answer.text
        assert "slices at even distances without a gap" in answer.json()["detail"]
    assert len(pacs.find("Series", Modality="SEG")) == before


@pytest.mark.parametrize(
    ("name", "values", "names", "status", "words"),
    [
        ("predicted", 1, ["liver"], 422, "no segment has the name of a structure"),
        ("predicted", 9, [], 422, "values [9] that no model uses"),
    ],
    ids=["unknown structure", "unknown value"],
)
def test_a_label_that_cannot_be_kept_is_refused_and_the_pacs_stays_as_it_was(
    server, uid, submit, pacs, tmp_path, name, values, names, status, words
):
    before = len(pacs.find("Series", Modality="SEG"))
    shape = scan_of(server, uid(name), tmp_path)[1].shape
    answer = submit(uid(name), np.full(shape, values, np.uint8), names)
    assert answer.status_code == status
    assert words in answer.json()["detail"]
    assert len(pacs.find("Series", Modality="SEG")) == before


def test_a_label_on_another_grid_is_refused(server, uid, tmp_path):
    content = gzip.compress(nib.Nifti1Image(np.ones((9, 9, 9), np.uint8), np.eye(4)).to_bytes())
    files = {"label": ("label.nii.gz", content)}
    answer = server.put("/datastore/label", params={"image": uid("labelled")}, files=files)
    assert (answer.status_code, answer.json()["code"]) == (422, "dicom")
    assert "grid of the DICOM series" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "words"),
    [
        ("delete", "/datastore/label?tag=final&id=", "Remove it in the PACS itself"),
        ("delete", "/datastore/image?id=", "Remove it in the PACS itself"),
        ("put", "/datastore/image?image=", "Send the series to the PACS itself"),
    ],
    ids=["remove a label", "remove a scan", "add a scan"],
)
def test_what_dicomweb_cannot_do_is_said(server, uid, method, path, words):
    files = {"files": {"file": ("x.nii.gz", b"x")}} if method == "put" else {}
    answer = getattr(server, method)(f"{path}{uid('labelled')}", **files)
    assert answer.status_code == 400
    assert words in answer.json()["detail"]


def test_ids_that_are_no_series_of_the_pacs_lead_nowhere(server, series):
    for strange in ("1.2.3", "../../etc", "/etc/passwd", str(series["labelled"].folder)):
        answer = server.get("/datastore/image", params={"image": strange})
        assert answer.status_code == 404, strange


@pytest.fixture
def open_cache(pacs, version, tmp_path):
    """``open_cache()``: the datastore of a server that was just started, on a cache of its own."""
    names = frozenset(label.name for label in version.spec.labels)

    def opened():
        return DicomwebDatastore(
            tmp_path / "cache",
            Pacs(connect(pacs.dicomweb), image_filters(), names, 60),
            specs={"hippocampus": version.spec},
            store=StateStore(tmp_path / "state.sqlite"),
            on_served=print,
        )

    return opened


def test_what_is_known_of_series_and_labels_survives_an_emptied_cache(pacs, open_cache, uid, tmp_path):
    scan, other = uid("labelled"), uid("MR head")
    with pacs.network.entered():
        first = open_cache()
        first.update_image_info(other, {"note": "x"})
        assert first.image_path(other) is None, "a note needs no images"
        first.update_label_info(scan, "final", {"by": "ann"})
        before = first.get_label_info(scan, "final")
        assert str(first.image_path(scan)) == first.get_image_uri(scan)
        first.close()
        shutil.rmtree(tmp_path / "cache")
        again = open_cache()
        assert again.get_image_info(other)["note"] == "x"
        assert again.get_label_info(scan, "final") | {"ts": before["ts"]} == before
        assert (before["by"], before["segtrust"]["model"]) == ("ann", "hippocampus")
        again.write_snapshot()
    index = json.loads((tmp_path / "cache" / "datastore_v2.json").read_text(encoding="utf-8"))
    assert index["objects"][scan]["labels"]["final"]["info"]["by"] == "ann"


def test_a_new_server_gets_the_same_labels_from_the_pacs_for_training(server, pacs, open_cache, uid, drawn):
    with pacs.network.entered():
        pairs = open_cache().datalist()
    assert len(pairs) == 3
    assert pairs == sorted(pairs, key=lambda pair: pair["image"])
    for pair in server.get("/datastore/?output=train").json():
        (other,) = [p for p in pairs if p["image"].endswith(pair["image"].rpartition("/")[2])]
        known, again = nib.load(pair["label"]), nib.load(other["label"])
        np.testing.assert_array_equal(np.asanyarray(again.dataobj), np.asanyarray(known.dataobj))
        np.testing.assert_allclose(again.affine, nib.load(other["image"]).affine, atol=1e-6)
    labelled = next(p for p in pairs if uid("labelled") in p["image"])
    assert np.count_nonzero(nib.load(labelled["label"]).dataobj) == np.count_nonzero(drawn == 2)


def test_the_dataset_can_be_downloaded(server, uid):
    with zipfile.ZipFile(io.BytesIO(server.get("/datastore/dataset").content)) as archive:
        assert f"label/{uid('labelled')}.nii.gz" in archive.namelist()


def test_no_temporary_file_stays(left_behind):
    """D7: MONAI Label leaves what it converts, what it packs, and what came with a request it refused."""
    until(lambda: not left_behind(), 20, lambda: f"left in the folder for temporary files: {left_behind()}")
