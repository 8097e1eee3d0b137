"""The demo: its parts with a fake client, and from end to end against the real server."""

import gzip
import io
import re

import nibabel as nib
import numpy as np
import pytest
from rich.console import Console

from segtrust import cli
from segtrust.cli.demo import command
from segtrust.cli.demo.cohort import gather_cohort
from segtrust.cli.demo.console import print_table
from segtrust.cli.demo.label_client import ModelAnswer, RefusedError
from segtrust.cli.demo.label_server import ServerError


class FakeAnswer:
    status_code = 422
    text = ""

    def json(self):
        return {"code": "scan_unreadable", "detail": "the scan is cut off"}


class FakeClient:
    """Answers with the scan's own voxels above 0.5 as mask; the score is the number in the scan's name."""

    def __init__(self, studies):
        self.studies = studies
        self.asked = []

    def infer(self, model, scan, **options):
        if scan.startswith("bad"):
            raise RefusedError(f"infer/{model}", FakeAnswer())
        self.asked.append((model, scan, options))
        image = nib.load(self.studies / f"{scan}.nii.gz")
        mask = (np.asarray(image.dataobj) > 0.5).astype(np.uint8)
        volume = mask if model == "hippocampus" else mask.astype(np.float32) / 2
        trust = {
            "version": "0001",
            "members": 5,
            "calibration": "identity",
            "precision": "fp32",
            "limits": "not for diagnosis",
            "structures": [{"name": "blob", "volume_ml": 1.5}],
            "scores": {"entropy": float(scan.removeprefix("s")) / 10},
            "flags": [],
        }
        blob = nib.Nifti1Image(volume, image.affine).to_bytes()
        return ModelAnswer(volume=gzip.compress(blob), params={"label_names": {"blob": 1}, "segtrust": trust})

    def score(self, method):
        self.asked.append(("score", method))

    def next_scan(self, strategy):
        return {"id": "s3"}


@pytest.fixture
def job(tmp_path):
    def run(*names):
        mine = tmp_path / "mine"
        mine.mkdir()
        for name in names:
            voxels = np.random.default_rng(0).random((6, 7, 8), dtype=np.float32)
            nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, 1, 1, 1])), mine / f"{name}.nii.gz")
        cohort = gather_cohort(mine, "auto", 0, tmp_path / "studies")
        client = FakeClient(tmp_path / "studies")
        return client, command._main_job(Console(quiet=True), client, cohort, tmp_path)

    return run


def test_scans_come_least_sure_first(job):
    _, page = job("s1", "s3", "s2")
    assert [(card.scan, card.rank) for card in page.cards] == [("s3", 1), ("s2", 2), ("s1", 3)]
    assert page.next_scan == "s3"


def test_mask_map_and_scoring_are_asked_for_as_a_viewer_would(job):
    client, _ = job("s1")
    assert client.asked == [
        ("hippocampus", "s1", {}),
        ("hippocampus_uncertainty", "s1", {"result_dtype": "float32", "map": "chance_of_error"}),
        ("score", "entropy"),
    ]


def test_scan_that_is_refused_is_listed_last_with_the_reason(job):
    _, page = job("bad", "s1")
    last = page.cards[-1]
    assert (last.scan, last.rank, last.score) == ("bad", None, None)
    assert last.flags == {"scan_unreadable": "the scan is cut off"}
    assert page.cards[0].rank == 1


def test_cohort_in_which_every_scan_is_refused_is_an_error(job):
    with pytest.raises(ServerError, match="422: the scan is cut off"):
        job("bad")


def test_networks_that_are_not_calibrated_are_called_so(job):
    assert "not calibrated" in job("s1")[1].model_facts


def test_table_shows_what_is_known_and_dashes_for_the_rest(job):
    console = Console(record=True, width=100, file=io.StringIO())
    _, page = job("bad", "s1")
    print_table(console, page.cards, page.structures)
    text = console.export_text()
    assert re.search(r"1 │ s1 +│ 0\.100 │ +1\.50 │ none", text)
    assert re.search(r"- │ bad +│ +- │ +- │ scan unreadable", text)
    assert text.rstrip().endswith("bad: the scan is cut off")


def test_folder_of_a_server_that_ran_before_is_left_alone(tmp_path):
    for name in ("server", "server-2", "server-3"):
        with command._work_folder(tmp_path, keep=True) as work:
            assert work == tmp_path / name


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_demo_ranks_the_template_scans_and_writes_the_page(tmp_path, capsys):
    assert cli.main(["demo", "--cohort", "template", "--scans", "3", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "segmenting 3/3" in printed
    ranked = re.findall(r"│ +(\d) │ (template_\w+) +│ (0\.\d{3}) │", printed)
    assert [rank for rank, _, _ in ranked] == ["1", "2", "3"]
    scores = [float(score) for _, _, score in ranked]
    assert scores == sorted(scores, reverse=True)
    served = re.search(r"next scan to label, says the server: (\w+)", printed)[1]
    assert served in {name for _, name, _ in ranked}  # not always the first: a quarter is not ranked
    page = (tmp_path / "report.html").read_text("utf-8")
    assert page.count("<article") == 3
    assert page.count("<svg") == 3 * 3 * 2
    assert "not for diagnosis" in page
    assert (tmp_path / "server.log").stat().st_size > 0
