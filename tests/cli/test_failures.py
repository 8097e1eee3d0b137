"""A run over many files survives each of them, names those that failed, and always leaves a page."""

import gzip
import json
import re
import zlib

import nibabel as nib
import numpy as np
import pytest

from segtrust import cli
from segtrust.cli.failures import Failures, failure_table
from segtrust.errors import ScanError
from volume_folders import AFFINE, FORMS, made_volume, write_cohort

COMMANDS = pytest.mark.parametrize("command", ["evaluate", "calibrate", "flag"])


def test_a_block_that_fails_is_noted_and_the_next_one_runs(capsys):
    failures = Failures()
    with failures.survive("a"):
        raise ScanError("must be whole.", "scan_unreadable")
    with failures.survive("b"):
        raise zlib.error("invalid stored block")
    with failures.survive("c"):
        pass
    assert failures.reasons == {"a": "must be whole.", "b": "error: invalid stored block"}
    assert failures.status == 1
    assert "a failed: must be whole." in capsys.readouterr().err


def test_stopping_a_run_is_no_failure_of_a_scan():
    with pytest.raises(KeyboardInterrupt), Failures().survive("a"):
        raise KeyboardInterrupt


def test_a_reason_of_several_lines_stays_in_its_row():
    assert failure_table({"a": "one\ntwo | three"}).splitlines()[-1] == "| a | one two / three |"


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def spoil(pred, labels):
    """Six ways in which a file can be wrong, one per scan, and what macOS leaves beside the files."""
    half(pred / "scan00.npz")
    (pred / "scan01.npz").write_bytes(b"")
    half(labels / "scan02.nii.gz")
    (labels / "scan03.nii.gz").write_bytes(gzip.compress(b"no image"))
    np.savez_compressed(pred / "scan04.npz", probabilities=np.full((3, 8, 10, 12), np.nan, np.float32))
    np.savez_compressed(pred / "scan05.npz", probabilities=np.full((2, 8, 10, 12), 0.5, np.float32))
    for name in ("._scan06.npz", "._scan06.nii.gz"):
        (pred / name).write_bytes(b"\0\5\26\7")
    (pred / ".hidden").mkdir()
    (labels / "._scan06.nii.gz").write_bytes(b"\0\5\26\7")


BAD = {"scan00", "scan01", "scan02", "scan03", "scan04", "scan05"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Thirteen scans, six of them spoilt: command -> exit status, what was printed, folder of the results."""
    root = tmp_path_factory.mktemp("spoilt")
    pred, labels = write_cohort(root, 13)
    spoil(pred, labels)
    return root, pred, labels


@pytest.mark.slow
@COMMANDS
def test_every_other_scan_is_used_and_the_bad_ones_are_named(command, runs, capsys):
    root, pred, labels = runs
    words = [command, "--pred", str(pred), "--labels", str(labels), "--out", str(root / command)]
    assert cli.main(words) == 1
    out = capsys.readouterr().out
    named = set(re.findall(r"^\| (scan\d\d) \| .+ \|$", out, flags=re.MULTILINE))
    assert named == BAD
    if command == "flag":
        masks = {path.name for path in (root / command).glob("*.nii.gz")}
        assert {f"scan{k:02d}.nii.gz" for k in range(6, 13)} <= masks
        return
    document = json.loads((root / command / "evaluation.json").read_text())
    assert {case["id"] for case in document["cases"]} == {f"scan{k:02d}" for k in range(6, 13)}
    assert set(document["failed"]) == BAD
    page = (root / command / "report.html").read_text()
    assert all(f'<th scope="row">{name}</th><td data-name="why">' in page for name in BAD)


@pytest.mark.slow
def test_volumes_that_a_calibrator_cannot_be_applied_to_are_named(tmp_path, capsys):
    pred, labels = write_cohort(tmp_path, 5)
    other, _ = write_cohort(tmp_path / "other", 3)
    half(other / "scan01.npz")
    words = ["calibrate", "--pred", str(pred), "--labels", str(labels), "--out", str(tmp_path / "out")]
    assert cli.main([*words, "--kinds", "pooled_temperature", "--apply", str(other)]) == 1
    assert "| pred/scan01 | " in capsys.readouterr().out
    written = {path.name for path in (tmp_path / "out" / "calibrated").glob("*.npz")}
    assert written == {"scan00.npz", "scan02.npz"}


@pytest.mark.slow
def test_where_every_scan_fails_there_is_a_page_that_says_so(tmp_path, capsys):
    pred, labels = write_cohort(tmp_path, 2)
    for path in pred.glob("*.npz"):
        half(path)
    words = ["evaluate", "--pred", str(pred), "--labels", str(labels), "--out", str(tmp_path / "out")]
    assert cli.main(words) == 1
    page = (tmp_path / "out" / "report.html").read_text()
    assert "No scan could be measured." in page
    assert page.count('data-name="why"') == 2
    assert "No scan could be measured." in capsys.readouterr().out
    assert cli.main(["report", str(tmp_path / "out"), "--out", str(tmp_path / "again.html")]) == 0


def nothing(probs):
    found = np.zeros_like(probs)
    found[0] = 1
    return found


CHANGES = {
    "nothing is predicted": (nothing, lambda truth: truth),
    "a third everywhere": (lambda probs: np.full_like(probs, 1 / 3), lambda truth: truth),
    "labels are empty": (lambda probs: probs, np.zeros_like),
    "nothing is there and nothing predicted": (nothing, np.zeros_like),
    "everything is predicted": (lambda probs: nothing(probs)[[1, 0, 2]], lambda truth: truth),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGES)
def test_what_is_not_defined_is_said_on_the_page(name, tmp_path, capsys):
    change, relabel = CHANGES[name]
    pred, labels = tmp_path / "pred", tmp_path / "labels"
    pred.mkdir()
    labels.mkdir()
    for k in range(5):
        probs, truth = made_volume(k)
        FORMS["nifti"](pred, f"s{k}", change(probs))
        nib.save(nib.Nifti1Image(relabel(truth), AFFINE), labels / f"s{k}.nii.gz")
    for command in ("evaluate", "calibrate", "flag"):
        words = [command, "--pred", str(pred), "--labels", str(labels), "--out", str(tmp_path / command)]
        assert cli.main(words) == 0
        assert not re.search(r"\bnan\b|\bNone\b", capsys.readouterr().out)
    for command in ("evaluate", "calibrate"):
        page = (tmp_path / command / "report.html").read_text()
        shown = re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL)
        assert not re.search(r"\b([nN]a[nN]|None|inf)\b", shown)
        assert "Scans, from the worst to the best" in page
    if change is not CHANGES["labels are empty"][0] and name != "everything is predicted":
        assert "not defined" in page


@pytest.mark.slow
def test_flags_of_one_scan_in_two_folders_are_refused(tmp_path, capsys):
    first, _ = write_cohort(tmp_path / "a", 1)
    second, _ = write_cohort(tmp_path / "b", 1)
    assert cli.main(["flag", "--pred", str(first), str(second), "--out", str(tmp_path / "out")]) == 1
    assert "'scan00' in two of them" in capsys.readouterr().err
