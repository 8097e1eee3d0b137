"""Score, next sample, label upload and download, as viewers do it."""

import gc
import gzip
import io
import json
import time

import nibabel as nib
import numpy as np
import pytest
from monailabel.client import MONAILabelClient

from copied_studies import running_server
from labelled_site import give_back, give_roles
from live_server import until
from segtrust.store import StateStore

BAND = "chance of error 1 in 20 to 1 in 5"


@pytest.fixture(scope="module")
def server(tmp_path_factory, hippocampus_scans, model_folder):
    folder = tmp_path_factory.mktemp("own-server")
    names = [scan.name.split(".")[0] for scan in hippocampus_scans]
    give_roles(StateStore(folder / "state" / "state.sqlite"), {name: (name, "train") for name in names})
    conf = {"models_dir": model_folder.parent, "state_dir": folder / "state"}
    with running_server(folder, hippocampus_scans, conf=conf) as running:
        yield running


@pytest.fixture(scope="module")
def expected(predictor, hippocampus_scans):
    """Scan -> score of a direct call of the library, highest first."""
    scores = {p.name.split(".")[0]: predictor.predict(p).scores.entropy for p in hippocampus_scans}
    return dict(sorted(scores.items(), key=lambda item: -(item[1] or 0)))


@pytest.fixture(scope="module")
def back(predictor):
    """Name of the structure with value 2."""
    return predictor.spec.labels[1].name


def next_sample(server, strategy, **params):
    """The next scan, which is given back at once; test_queue.py has what happens to one that is kept."""
    answer = server.post(f"/activelearning/{strategy}", json=params)
    assert answer.status_code == 200, answer.text
    give_back(StateStore(server.log.parent / "state" / "state.sqlite"))
    return answer.json()


def test_1_without_scores_the_answer_says_so(server, expected):
    found = next_sample(server, "entropy")
    assert found["id"] in expected
    assert (found["score"], found["rank"], found["of"]) == (None, None, len(expected))
    assert "Not scored yet" in found["reason"]
    assert found["path"].endswith(".nii.gz")


def test_2_scoring_runs_in_the_background_and_its_scores_arrive(server, expected):
    started = server.post("/scoring/entropy", json={})
    assert started.status_code == 200, started.text
    deadline = time.monotonic() + 300
    while (task := server.get("/scoring/").json())["status"] in ("SUBMITTED", "RUNNING"):
        assert time.monotonic() < deadline, task
        time.sleep(0.5)
    assert task["status"] == "DONE", task["details"]
    found = next_sample(server, "entropy")
    assert found["id"] == next(iter(expected))
    assert found["score"] == pytest.approx(next(iter(expected.values())))
    assert found["name"] == f"{found['id']} (rank 1 of 4, entropy {found['score']:.3f}).nii.gz"


def test_3_scoring_again_skips_what_has_a_score(server, expected):
    again = server.post("/scoring/entropy?run_sync=true", json={}).json()
    assert (again["scores"], again["skipped"], again["failed"]) == ({}, len(expected), {})


@pytest.mark.parametrize(("key", "strategy"), [("entropy", "entropy"), ("random", "doubt")])
def test_4_the_scan_with_the_highest_score_is_served_and_explained(
    server, predictor, hippocampus_scans, key, strategy
):
    scores = {p.name.split(".")[0]: predictor.predict(p).scores for p in hippocampus_scans}
    first = max(scores, key=lambda scan: getattr(scores[scan], strategy))
    for _ in range(2):  # the second answer must not be shadowed by what the datastore noted after the first
        found = next_sample(server, key, client_id="user-xyz")
        assert found["id"] == first
        assert (found["rank"], found["of"], found["strategy"]) == (1, len(scores), strategy)
        assert found["slices"]
        assert found["slices"][0]["reason"]


def test_4_uniform_is_repeatable_with_a_seed_and_reaches_every_scan(server, expected):
    drawn = [next_sample(server, "uniform", seed=seed)["id"] for seed in range(25)]
    assert drawn == [next_sample(server, "uniform", seed=seed)["id"] for seed in range(25)]
    assert set(drawn) == set(expected)
    assert next_sample(server, "uniform")["strategy"] == "uniform"
    assert server.post("/activelearning/uniform", json={"seed": "x"}).status_code == 400


def test_5_a_scan_that_fails_is_named_and_stops_nothing(server, expected):
    broken = gzip.compress(b"no scan at all")
    files = {"file": ("broken.nii.gz", io.BytesIO(broken))}
    assert server.put("/datastore/image?image=broken", files=files).status_code == 422
    (server.studies / "broken.nii.gz").write_bytes(broken)
    listed = lambda: server.get("/datastore/?output=all").json()["objects"]  # noqa: E731
    until(lambda: "broken" in listed(), 30, lambda: "the scan is not listed")
    found = server.post("/scoring/entropy?run_sync=true", json={}).json()
    assert list(found["failed"]) == ["broken"]
    assert "cannot be read" in found["failed"]["broken"]
    assert next_sample(server, "entropy")["id"] == next(iter(expected))
    assert server.post("/scoring/entropy?run_sync=true", json={}).json()["failed"] == {}, "tried again"
    assert server.delete("/datastore/image?id=broken").status_code == 200


def submit(server, scan, values, names, **query):
    image = nib.load(server.studies / f"{scan}.nii.gz")
    content = gzip.compress(nib.Nifti1Image(values, image.affine).to_bytes())
    info = [{"name": name, "idx": index} for index, name in enumerate(names, start=1)]
    return server.put(
        "/datastore/label",
        params={"image": scan, **query},
        files={"label": ("label.nii.gz", io.BytesIO(content))},
        data={"params": json.dumps({"label_info": info} if names else {})},
    )


def download(server, scan, tmp_path):
    path = tmp_path / "stored.nii.gz"
    path.write_bytes(server.get("/datastore/label", params={"label": scan, "tag": "final"}).content)
    return nib.load(path)


def test_6_a_label_with_bands_is_stored_without_them_and_with_canonical_values(
    server, expected, back, tmp_path
):
    scan = next(iter(expected))
    shape = nib.load(server.studies / f"{scan}.nii.gz").shape
    structure = np.zeros(shape, bool)
    structure.reshape(-1)[np.random.default_rng(0).permutation(structure.size)[:3551]] = True
    values = np.full(shape, 1, np.uint8)  # the band covers everything the structure does not
    values[structure] = 2
    answer = submit(server, scan, values, [BAND, back])
    assert answer.status_code == 200, answer.text
    assert answer.json()["segtrust"]["removed"] == [BAND]
    stored = download(server, scan, tmp_path)
    assert np.array_equal(np.asanyarray(stored.dataobj), 2 * structure)
    assert np.allclose(stored.affine, nib.load(server.studies / f"{scan}.nii.gz").affine)
    info = server.get("/datastore/label/info", params={"label": scan, "tag": "final"}).json()
    assert {entry["name"]: entry["idx"] for entry in info["label_info"]}[back] == 2


def test_7_a_labelled_scan_is_not_served_again(server, expected):
    assert server.get("/datastore/").json()["completed"] == 1
    for key in ("entropy", "random", "uniform"):
        found = next_sample(server, key)
        assert found["id"] != next(iter(expected))
        assert found["of"] == len(expected) - 1
    assert next_sample(server, "entropy")["id"] == list(expected)[1]


@pytest.mark.parametrize(
    ("values", "names", "words"),
    [
        ([0, 1, 2], ["BACK", BAND], "may have cut it"),
        ([0, 1], ["Segment_1"], "no segment has the name of a structure"),
        ([0, 7], [], r"values [7] that no model uses"),
    ],
    ids=["band over structure", "unknown name", "unknown value"],
)
def test_8_a_label_that_cannot_be_kept_is_refused_and_says_why(server, expected, back, values, names, words):
    scan = list(expected)[2]
    shape = nib.load(server.studies / f"{scan}.nii.gz").shape
    names = [back if name == "BACK" else name for name in names]
    answer = submit(server, scan, np.resize(np.array(values, np.uint8), shape), names)
    assert (answer.status_code, answer.json()["code"]) == (422, "label")
    assert words in answer.json()["detail"]
    assert server.get("/datastore/").json()["completed"] == 1
    assert server.stays_up()


@pytest.mark.parametrize("tag", ["../../x", "a/b", ".x"])
def test_8_a_tag_cannot_leave_the_folder(server, expected, back, tag):
    scan = list(expected)[2]
    shape = nib.load(server.studies / f"{scan}.nii.gz").shape
    answer = submit(server, scan, np.zeros(shape, np.uint8), [back], tag=tag)
    assert (answer.status_code, answer.json()["code"]) == (400, "path")


def test_8_an_uploaded_scan_can_be_segmented_at_once(server, hippocampus_scans):
    with hippocampus_scans[0].open("rb") as scan:
        added = server.put("/datastore/image?image=uploaded one", files={"file": ("x.nii.gz", scan)})
    assert added.json() == {"image": "uploaded one"}
    assert server.infer("hippocampus", "uploaded one", output="json").status_code == 200
    assert server.delete("/datastore/image?id=uploaded one").status_code == 200


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_9_monai_labels_own_client_does_it_all(server, expected, tmp_path):
    client = MONAILabelClient(server.url, tmpdir=str(tmp_path), client_id="user-xyz")
    assert "hippocampus" in client.info()["models"]
    scan = client.next_sample("entropy", {})["id"]
    file, params = client.infer("hippocampus", scan, {"result_extension": ".nrrd", "result_dtype": "uint8"})
    assert list(params["label_names"].values()) == [1, 2]
    info = [{"name": name, "idx": index} for name, index in params["label_names"].items()]
    client.save_label(scan, file, "final", {"label_info": info})
    assert (
        client.datastore()["objects"][scan]["labels"]["final"]["info"]["segtrust"]["model"] == "hippocampus"
    )
    assert client.next_sample("random", {})["id"] != scan
    gc.collect()  # the client leaves its sockets to the collector: let their warnings fall into this test


def test_9_nothing_left_the_machine_meanwhile(server):
    assert server.connections.read_text() == ""
