"""Inference over HTTP: every form of an answer, compared with a direct call of the library."""

import io
import json
import tempfile
import threading
import time
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest
from requests_toolbelt.multipart import decoder

from segtrust.error_flags import FlagRule
from segtrust.inference import MAP_NAMES, VIEW_MAPS


def volume_of(response, suffix, tmp_path):
    assert response.status_code == 200, response.text
    path = tmp_path / f"answer{suffix}"
    path.write_bytes(response.content)
    if suffix == ".nrrd":
        values, header = nrrd.read(str(path))
        lps = np.eye(4)
        lps[:3, :3], lps[:3, 3] = np.array(header["space directions"]).T, header["space origin"]
        return values, np.diag([-1, -1, 1, 1]) @ lps
    image = nib.load(path)
    return np.asanyarray(image.dataobj), image.affine


@pytest.fixture(scope="module")
def direct(predictor, hippocampus_scans):
    views = predictor.views(hippocampus_scans[0])
    return predictor.predict(hippocampus_scans[0]).with_maps(views)


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".nii"])
def test_the_mask_equals_that_of_the_library_on_the_grid_of_the_scan(
    server, scan_id, direct, hippocampus_scans, tmp_path, suffix
):
    answer = server.infer(
        "hippocampus", scan_id, output="image", result_extension=suffix, result_dtype="uint8"
    )
    values, affine = volume_of(answer, suffix, tmp_path)
    assert values.dtype == np.uint8
    assert np.array_equal(values, direct.mask)
    assert np.allclose(affine, nib.load(hippocampus_scans[0]).affine, atol=1e-5)


def test_an_answer_as_the_plug_in_of_ohif_asks_for_it(server, scan_id, direct, tmp_path):
    asked = {"result_extension": ".nrrd", "result_dtype": "uint8", "result_compress": False}
    answer = server.infer("hippocampus", scan_id, output="image", restore_label_idx=False, **asked)
    values, _ = volume_of(answer, ".nrrd", tmp_path)
    assert b"encoding: raw" in answer.content[:600]
    assert np.array_equal(values, direct.mask)


@pytest.mark.parametrize("output", [None, "all"])
def test_the_answer_of_both_parts_holds_params_and_one_file(server, scan_id, direct, tmp_path, output):
    answer = server.infer("hippocampus", scan_id, output=output, result_extension=".nrrd")
    parts = decoder.MultipartDecoder.from_response(answer).parts
    assert len(parts) == 2
    params = json.loads(parts[0].text)
    assert params["label_names"] == {label.name: label.value for label in direct.spec.labels}
    path = tmp_path / "part.nrrd"
    path.write_bytes(parts[1].content)
    assert np.array_equal(nrrd.read(str(path))[0], direct.mask)


def test_the_numbers_in_params_are_those_of_the_library(server, scan_id, direct):
    found = server.infer("hippocampus", scan_id, output="json").json()["segtrust"]
    for name, value in direct.params().items():
        assert found[name] == pytest.approx(value) if isinstance(value, float) else found[name] == value, name
    assert "not for diagnosis" in found["limits"]
    assert "never trained on" in found["limits"]


def test_bands_are_a_label_map_with_three_values(server, scan_id, direct, tmp_path):
    answer = server.infer("hippocampus_uncertainty", scan_id, output="image", result_dtype="uint8")
    values, _ = volume_of(answer, ".nii.gz", tmp_path)
    assert values.dtype == np.uint8
    assert set(np.unique(values)) <= {0, 1, 2, 3}
    assert np.array_equal(values, direct.bands((0.05, 0.2, 1 / 3)))


def test_bands_are_named_in_params(server, scan_id):
    params = server.infer("hippocampus_uncertainty", scan_id, output="json").json()
    bands = params["segtrust"]["bands"]
    assert [band["value"] for band in bands] == [1, 2, 3] == list(params["label_names"].values())
    assert [(band["from"], band["to"]) for band in bands] == [(0.05, 0.2), (0.2, 1 / 3), (1 / 3, 1.0)]


@pytest.mark.parametrize("name", [*MAP_NAMES, *VIEW_MAPS])
def test_a_float_map_equals_that_of_the_library(server, scan_id, direct, tmp_path, name):
    answer = server.infer(
        "hippocampus_uncertainty", scan_id, output="image", result_dtype="float32", map=name
    )
    values, _ = volume_of(answer, ".nii.gz", tmp_path)
    assert values.dtype == np.float32
    assert 0 <= values.min() <= values.max() <= 1
    assert np.allclose(values, direct.map(name), atol=1e-6)


@pytest.mark.parametrize("rule", ["otsu", "calibrated:0.9"])
def test_a_flag_map_equals_that_of_the_library(server, scan_id, direct, predictor, tmp_path, rule):
    asked = {"flag": rule, "map": "chance_of_error", "result_extension": ".nrrd"}
    answer = server.infer("hippocampus_uncertainty", scan_id, output="image", **asked)
    values, _ = volume_of(answer, ".nrrd", tmp_path)
    wrong = np.array(predictor.version.calibration["observed"]["errors"])
    flags, threshold = direct.flagged("chance_of_error", FlagRule.parse(rule), wrong=wrong)
    assert 0 < flags.sum() < flags.size / 2
    assert np.array_equal(values, flags)
    params = server.infer("hippocampus_uncertainty", scan_id, output="json", **asked).json()
    about = {"map": "chance_of_error", "rule": rule, "threshold": threshold, "voxels": int(flags.sum())}
    assert params["segtrust"]["flagged"] == about
    assert params["label_names"] == {"chance of error flagged": 1}


@pytest.mark.parametrize("words", ["each", "joint"])
def test_contours_equal_those_of_the_library(server, scan_id, direct, tmp_path, words):
    asked = {"contours": words, "result_extension": ".nrrd"}
    answer = server.infer("hippocampus_uncertainty", scan_id, output="image", **asked)
    values, _ = volume_of(answer, ".nrrd", tmp_path)
    assert np.array_equal(values, direct.contour_map(words))
    assert set(np.unique(values)) == {0, 1, 2, 3, 4, 5, 6}
    params = server.infer("hippocampus_uncertainty", scan_id, output="json", **asked).json()
    told = params["segtrust"]["contours"]
    assert told == direct.params()["contours"]
    margins = told[words]["anterior hippocampus"]
    assert margins["outer_mm"] > 0
    assert margins["inner_mm"] > 0
    assert (told["coverage"], told["share"], margins["subjects"]) == (0.9, 0.99, 26)
    assert params["label_names"]["conformal contour anterior hippocampus: inside inner"] == 1


def test_the_map_is_entropy_unless_named(server, scan_id, direct, tmp_path):
    answer = server.infer("hippocampus_uncertainty", scan_id, output="image", result_dtype="float32")
    assert np.allclose(volume_of(answer, ".nii.gz", tmp_path)[0], direct.map("entropy"), atol=1e-6)


def test_mask_and_uncertainty_of_one_scan_cost_one_computation(server, hippocampus_scans):
    other = hippocampus_scans[1].name.split(".")[0]
    server.infer("hippocampus", other, output="json")
    first = server.infer("hippocampus_uncertainty", other, output="json").json()["latencies"]["total"]
    content = hippocampus_scans[1].read_bytes()
    files = {"file": ("new.nii.gz", io.BytesIO(content))}
    anew = server.infer("hippocampus", output="json", files=files).json()["latencies"]["total"]
    assert first < anew


def test_keys_that_nobody_understands_are_reported(server, scan_id):
    params = server.infer("hippocampus", scan_id, output="json", treshold=1, client_id="user-xyz").json()
    assert params["segtrust"]["ignored"] == ["treshold"]


def test_a_scan_can_come_with_the_request(server, hippocampus_scans, direct, tmp_path):
    files = {"file": (hippocampus_scans[0].name, hippocampus_scans[0].open("rb"))}
    with files["file"][1]:
        answer = server.infer("hippocampus", output="image", files=files)
    assert np.array_equal(volume_of(answer, ".nii.gz", tmp_path)[0], direct.mask)


def test_a_scan_can_come_with_a_label(server, scan_id, hippocampus_scans):
    with hippocampus_scans[0].open("rb") as label:
        answer = server.infer("hippocampus", scan_id, output="json", files={"label": ("l.nii.gz", label)})
    assert answer.status_code == 200


def test_a_session_serves_until_it_is_deleted(server, hippocampus_scans, direct, tmp_path):
    with hippocampus_scans[0].open("rb") as scan:
        session = server.put("/session/", files={"files": scan}).json()["session_id"]
    answer = server.infer("hippocampus", session_id=session, output="image")
    assert np.array_equal(volume_of(answer, ".nii.gz", tmp_path)[0], direct.mask)
    assert server.delete(f"/session/{session}").status_code == 200
    assert server.infer("hippocampus", session_id=session).status_code == 404


def test_a_whole_head_is_flagged_as_unlike_training(server, dicom_head_dir):
    files = [("files", (p.name, p.open("rb"))) for p in sorted(dicom_head_dir.iterdir())]
    session = server.put("/session/", files=files).json()["session_id"]
    for _, (_, file) in files:
        file.close()
    params = server.infer("hippocampus", session_id=session, output="json").json()["segtrust"]
    assert any("unlike training: field of view" in flag["text"] for flag in params["flags"])
    server.delete(f"/session/{session}")


def test_a_result_can_be_kept_as_original_label(server, scan_id, direct, tmp_path):
    answer = server.infer("hippocampus", scan_id, output="json", save_label=True)
    assert answer.status_code == 200
    stored = server.get("/datastore/label", params={"label": scan_id, "tag": "original"})
    assert np.array_equal(volume_of(stored, ".nii.gz", tmp_path)[0], direct.mask)
    names = server.get("/datastore/label/info", params={"label": scan_id, "tag": "original"}).json()
    assert list(names["params"]["label_names"].values()) == [1, 2]
    assert server.get("/datastore/").json()["completed"] == 0


@pytest.mark.parametrize("task", ["hippocampus", "hippocampus_uncertainty"])
def test_a_result_is_never_kept_as_final_label(server, scan_id, task):
    one = server.infer(task, scan_id, save_label=True, label_tag="final")
    many = server.post(f"/batch/infer/{task}?run_sync=true", json={"label_tag": "final"})
    for answer in (one, many):
        assert (answer.status_code, answer.json()["code"]) == (422, "label"), answer.text
        assert "result that nobody looked at" in answer.json()["detail"]
    assert server.get("/datastore/").json()["completed"] == 0


@pytest.mark.parametrize("path", ["wsi", "wsi_v2"])
def test_whole_slide_inference_deletes_nothing(server, scan_id, path):
    labels = server.studies / "labels"
    for image in (str(labels), scan_id):
        answer = server.post(f"/infer/{path}/hippocampus", params={"image": image}, json={})
        assert (answer.status_code, answer.json()["code"]) == (404, "model_missing"), answer.text
    assert labels.is_dir()


def test_temporary_files_do_not_stay(server, scan_id):
    def ours():
        return set(Path(tempfile.gettempdir()).glob("segtrust-upload-*"))

    before = ours()
    server.infer("hippocampus", files={"file": ("x.nii.gz", b"no scan")})
    assert ours() <= before


@pytest.fixture
def large_scan():
    noise = np.random.default_rng(0).normal(100, 20, (110, 110, 90)).astype(np.float32)
    return nib.Nifti1Image(noise, np.eye(4)).to_bytes()


def test_info_answers_while_an_inference_runs(server, large_scan):
    done = threading.Event()
    answers = []

    def ask():
        answers.append(server.infer("hippocampus", output="json", files={"file": ("big.nii", large_scan)}))
        done.set()

    thread = threading.Thread(target=ask)
    thread.start()
    waits = []
    while not done.wait(0.05):
        started = time.perf_counter()
        assert server.get("/info/").status_code == 200
        waits.append(time.perf_counter() - started)
    thread.join()
    assert answers[0].status_code == 200, answers[0].text
    running = answers[0].json()["latencies"]["total"]
    assert len(waits) >= 3
    assert np.median(waits) < 0.25 * running


def test_two_requests_at_once_both_get_their_own_answer(server, hippocampus_scans, predictor, tmp_path):
    answers = {}

    def ask(scan):
        answers[scan] = server.infer("hippocampus", scan.name.split(".")[0], output="image")

    threads = [threading.Thread(target=ask, args=(scan,)) for scan in hippocampus_scans[2:4]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, scan in enumerate(hippocampus_scans[2:4]):
        (tmp_path / str(index)).mkdir()
        values, _ = volume_of(answers[scan], ".nii.gz", tmp_path / str(index))
        assert np.array_equal(values, predictor.predict(scan).mask)


def test_batch_inference_labels_all_scans_on_a_machine_without_gpu(server, hippocampus_scans):
    answer = server.post("/batch/infer/hippocampus?run_sync=true")
    assert answer.status_code == 200
    assert set(answer.json()) == {scan.name.split(".")[0] for scan in hippocampus_scans}
    assert server.get("/datastore/").json()["label_tags"]["original"] == len(hippocampus_scans)
