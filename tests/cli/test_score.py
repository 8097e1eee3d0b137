"""Scoring a folder without a server: what the server would keep, in one process, in two, or on Ray."""

import gzip
import os
from pathlib import Path

import pytest

from died_once import die_once
from phantoms import make_blob, write_scan
from segtrust import cli
from segtrust.label.scoring import jobs as score_jobs
from segtrust.label.scoring import studies as studies_scores
from segtrust.label.scoring.studies import score_folder
from segtrust.label.served import ServedModel
from segtrust.label.settings import AppSettings
from segtrust.store import StateStore


@pytest.fixture
def settings(tiny_model):
    return AppSettings(models_dir=tiny_model.parent, device="cpu")


@pytest.fixture
def make_studies(tmp_path):
    """A folder with four different scans, the last one broken."""

    def make(name="studies"):
        folder = tmp_path / name
        folder.mkdir()
        for number, scan in enumerate(("one", "three", "two")):
            write_scan(make_blob(radius=4 + number / 2, seed=number), folder / f"{scan}.nii.gz")
        (folder / "broken.nii.gz").write_bytes(gzip.compress(b"no scan"))
        return folder

    return make


def rows(folder, tiny_model):
    """Everything that is kept of a folder's scans but the time and where the folder lies."""
    model = ServedModel(tiny_model, AppSettings(device="cpu"), None)
    store = StateStore(folder / ".segtrust" / "state.sqlite")
    found = store.scores(model.version().digest, model.settings_digest())
    return {
        scan: (row.score, row.details, row.flags, row.error and row.error.replace(str(folder), ""))
        for scan, row in found.items()
    }


def test_what_is_missing_is_scored_and_said(make_studies, tiny_model, capsys):
    studies = make_studies()
    words = ["score", "tiny", "--studies", str(studies), "--conf", "models_dir", str(tiny_model.parent)]
    assert cli.main(words) == 1
    printed, table = capsys.readouterr().out.split("\n\n", maxsplit=1)
    assert "| broken | " in table
    said = printed.splitlines()
    assert said[-1] == "tiny 0001: scored 3, 0 had a score, 1 failed, 0 to try again"
    assert said[0].startswith("1/4 broken: ")
    assert "cannot be read" in said[0]
    found = rows(studies, tiny_model)
    assert said[1] == f"2/4 one: {found['one'][0]:.4f}"
    assert found["broken"][0] is None
    assert found["one"][1]["scores"]["entropy"] == pytest.approx(found["one"][0])
    assert cli.main(words) == 0
    assert capsys.readouterr().out.splitlines() == [
        "tiny 0001: scored 0, 4 had a score, 0 failed, 0 to try again"
    ]


def test_an_archive_is_scored_by_its_server(capsys):
    assert cli.main(["score", "tiny", "--studies", "http://localhost:8042/dicom-web"]) == 1
    assert "POST /scoring/entropy" in capsys.readouterr().err


def test_what_is_done_stays_if_the_run_is_ended(make_studies, settings, tiny_model, monkeypatch):
    studies, stock = make_studies(), score_jobs.run_score_job

    def interrupted(job):
        if job.key.scan_id == "two":
            raise KeyboardInterrupt
        return stock(job)

    monkeypatch.setattr(studies_scores, "run_score_job", interrupted)
    with pytest.raises(KeyboardInterrupt):
        score_folder("tiny", studies, settings)
    assert set(rows(studies, tiny_model)) == {"broken", "one", "three"}
    monkeypatch.undo()
    assert set(score_folder("tiny", studies, settings).scores) == {"two"}


@pytest.mark.slow
@pytest.mark.parametrize("ray", [None, "local"], ids=["processes", "Ray"])
def test_two_workers_give_what_one_gives_though_one_dies(
    make_studies, settings, tiny_model, monkeypatch, ray
):
    if ray:
        pytest.importorskip("ray", reason="no ray: pip install -c constraints.txt '.[ray]'")
        # a worker of Ray imports what it is sent by name, also from this folder
        helpers = Path(__file__).parents[1] / "helpers"
        known = os.pathsep.join(filter(None, [str(helpers), os.environ.get("PYTHONPATH")]))
        monkeypatch.setenv("PYTHONPATH", known)
    alone, together = make_studies("alone"), make_studies("together")
    expected = score_folder("tiny", alone, settings)
    monkeypatch.setattr(studies_scores, "run_score_job", die_once)
    found = score_folder("tiny", together, settings, workers=2, ray=ray)
    assert (together / "died").exists()
    assert (found.scores, found.failed.keys()) == (expected.scores, expected.failed.keys())
    assert rows(together, tiny_model) == rows(alone, tiny_model)
