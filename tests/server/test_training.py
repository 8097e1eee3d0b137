"""Training over HTTP: start, watch, stop, again; bad input; what is served meanwhile and afterwards.

The tests build on one another: labels are submitted, a version appears, a training is stopped and goes on.
"""

import shutil

import nibabel as nib
import numpy as np
import psutil
import pytest

import live_server
from live_server import until
from phantoms import TINY_NETWORK, make_blob, spec_of, write_scan
from training_client import Trainee, halves

pytestmark = pytest.mark.timeout(1800)
LONG = {"epochs": 5000}


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training") / "studies"
    folder.mkdir()
    for number, name in enumerate(("one", "cut", "empty", "strange", "two")):
        write_scan(make_blob(seed=number), folder / f"{name}.nii.gz")
    return folder


@pytest.fixture(scope="module")
def tiny(studies, tiny_model_original, tmp_path_factory):
    """The tiny model on a server with five scans, none of them labelled."""
    models = tmp_path_factory.mktemp("training-models")
    shutil.copytree(tiny_model_original, models / "tiny")
    conf = {"models": "tiny", "models_dir": models, "warm_up": "false", "train_epochs": 2, "device": "cpu"}
    with live_server.running_server(models / "server", studies, conf=conf) as running:
        yield Trainee(running, "tiny")


def served_version(tiny):
    return tiny.server.infer("tiny", "one", output="json").json()["segtrust"]["version"]


def test_1_without_a_label_nothing_starts_and_every_refusal_has_its_reason(tiny):
    refused = {
        "tiny": (tiny.start(), 422, "at least one scan with a final label, got none"),
        "all": (tiny.server.post("/train/", json={}), 422, "that its last training did not know"),
        "model": (tiny.server.post("/train/huge", json={}), 404, "no trainer 'huge'. Known: tiny"),
        "epochs": (tiny.start(epochs=0), 400, "`epochs` must be a whole number from 1 to 10000, got 0"),
        "loss": (tiny.start(loss="hope"), 400, "hope"),
        "device": (tiny.start(device="cuda:9"), 400, "`device` must be one of auto, cpu"),
        "status": (tiny.server.get("/train/"), 404, "no training is known"),
        "running": (tiny.server.get("/train/?check_if_running=true"), 404, "no training is running"),
    }
    for case, (answer, status, words) in refused.items():
        assert answer.status_code == status, (case, answer.text)
        assert words in answer.json()["detail"], case
    assert tiny.stop().json() is None
    assert list(tiny.server.get("/info/").json()["trainers"]) == ["tiny"]


def test_2_labels_that_cannot_be_learnt_from_are_refused_or_left_out_with_the_reason(tiny, studies):
    unknown = tiny.submit("strange", halves() * 3, names=())
    assert unknown.status_code == 422
    assert "values [3, 6] that no model uses" in unknown.json()["detail"]
    assert tiny.submit("one", halves()).status_code == 200
    assert tiny.submit("cut", halves((20, 18, 12))).status_code == 422
    assert tiny.submit("empty", np.zeros((20, 18, 16), np.uint8), names=()).status_code == 200
    by_hand = studies / "labels" / "final"
    nib.save(nib.Nifti1Image(halves((20, 18, 12)), np.eye(4)), by_hand / "cut.nii.gz")
    (by_hand / "strange.nii.gz").write_bytes(b"no volume")
    listing = lambda: tiny.server.get("/datastore/").json()  # noqa: E731
    until(lambda: set(listing().get("unusable_labels", ())) == {"cut", "strange"}, 60, lambda: str(listing()))
    assert listing()["completed"] == 2

    started = tiny.server.post("/train/", json={})  # OHIF's button
    assert started.status_code == 200, started.text
    assert started.json()["tiny"]["result"]["status"] in {"SUBMITTED", "RUNNING"}
    for second in (tiny.start(), tiny.server.post("/train/", json={})):
        assert second.status_code == 429
        assert "a training runs already" in second.json()["detail"]
    assert served_version(tiny) == "0001"  # requests are answered meanwhile

    status = tiny.ended()
    record = status["segtrust"]
    assert (status["status"], record["state"]) == ("DONE", "unproven"), status
    assert set(record["left_out"]) == {"cut", "empty", "strange"}
    assert "20 x 18 x 12" in record["left_out"]["cut"]
    assert "background only" in record["left_out"]["empty"]
    assert record["report"]["scans"]["train"] == 1
    assert (record["labels"], record["new_labels"]) == (2, 2)
    assert "5 scans of 5 patients: one scan counts as one patient" in record["patients"]


def test_3_the_new_version_is_served_without_a_restart_and_progress_was_told(tiny):
    record = tiny.record()
    assert served_version(tiny) == record["version"] == "0002"
    lines = "\n".join(tiny.status()["details"])
    for member in (1, 2):
        for epoch in (1, 2):
            assert lines.count(f"tiny: member {member}/2 epoch {epoch}/2 loss ") == 1, lines
    stats = tiny.server.get("/info/").json()["train_stats"]["tiny"]
    assert (stats["epoch"], stats["total_epochs"]) == (4, 4)
    assert stats["total_time"] > 0


def test_4_ohif_trains_nothing_without_a_new_label_and_a_version_may_wait_for_an_answer(tiny):
    again = tiny.server.post("/train/", json={})
    assert again.status_code == 422
    assert "that its last training did not know, got none: tiny" in again.json()["detail"]
    started = tiny.start(small_gate=["ask", "publish"], epochs=1, max_epochs=3)
    assert started.json()["segtrust"] == {"labels": 2, "new_labels": 0, "ignored": ["max_epochs"]}
    record = tiny.ended()["segtrust"]
    assert (record["state"], record["version"], record["ignored"]) == ("kept", "0003", ["max_epochs"])
    assert served_version(tiny) == "0002"


def test_5_a_stop_ends_every_process_and_the_next_start_goes_on(tiny):
    assert tiny.submit("two", halves()).status_code == 200
    assert tiny.start(**LONG, workers=2).status_code == 200
    reached = tiny.reached(30)
    below = tiny.training_processes()
    assert len(below) > 2  # the training and its two workers
    stopped = tiny.stop()
    assert stopped.status_code == 200, stopped.text
    assert stopped.json()["status"] == "STOPPED"
    assert stopped.json()["details"][-1].startswith("Stopped. Finished members stay")
    assert [process for process in below if process.is_running()] == []
    assert (tiny.status()["status"], tiny.record()["state"]) == ("STOPPED", "stopped")
    assert served_version(tiny) == "0002"

    assert tiny.start(**LONG).status_code == 200
    assert tiny.reached(1) > reached
    tiny.stop()


def test_6_a_damaged_checkpoint_costs_its_member_alone(tiny, studies):
    checkpoints = sorted((studies / ".segtrust" / "training" / "members").glob("*/checkpoint.pt"))
    assert len(checkpoints) == 2
    for checkpoint in checkpoints:
        checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    assert tiny.start(**LONG).status_code == 200
    assert tiny.reached(1) < 30
    tiny.stop()
    assert tiny.server.stays_up()


def test_7_a_damaged_version_is_named_and_what_is_in_memory_is_served_on(tiny, studies):
    before = tiny.server.infer("tiny", "one", output="image").content
    member = next((studies / ".segtrust" / "models" / "tiny" / "versions" / "0002" / "members").iterdir())
    whole = member.read_bytes()
    member.write_bytes(whole[:-1])
    refused = tiny.start(epochs=1)
    member.write_bytes(whole)
    assert (refused.status_code, refused.json()["code"]) == (503, "model")
    assert "must have SHA-256" in refused.json()["detail"]
    assert tiny.server.infer("tiny", "one", output="image").content == before


def test_8_a_training_ends_with_its_server(tiny):
    assert tiny.start(**LONG).status_code == 200
    tiny.reached(1)
    below = tiny.processes()
    tiny.server.process.kill()
    tiny.server.process.wait(30)
    gone, alive = psutil.wait_procs(below, 60)
    assert (len(gone), alive) == (len(below), [])


@pytest.mark.skipif(not hasattr(psutil, "RLIMIT_FSIZE"), reason="no limit of a file's size on this system")
def test_a_full_disk_is_named_and_the_server_goes_on(tmp_path, make_model):
    """No file may grow beyond 400 kB: the state fits, a checkpoint does not, as on a disk that gets full."""
    wide = spec_of(name="wide", network=TINY_NETWORK | {"channels": [32, 64]})
    studies = tmp_path / "studies"
    studies.mkdir()
    write_scan(make_blob(), studies / "one.nii.gz")
    conf = {"models": "wide", "models_dir": make_model(wide).parent, "warm_up": "false", "device": "cpu"}
    with live_server.running_server(tmp_path / "server", studies, conf=conf) as running:
        trainee = Trainee(running, "wide")
        assert trainee.submit("one", halves()).status_code == 200
        psutil.Process(running.process.pid).rlimit(psutil.RLIMIT_FSIZE, (400_000, 400_000))
        assert trainee.start(epochs=1).status_code == 200
        status = trainee.ended()
        assert (status["status"], status["segtrust"]["state"]) == ("ERROR", "failed")
        assert "Is the disk full?" in status["segtrust"]["error"]["detail"], status
        assert running.infer("wide", "one", output="json").status_code == 200
        assert running.get("/datastore/").json()["completed"] == 1
