"""`segtrust serve` adopts what is named, and starts the server that the long form starts."""

import subprocess

import pytest

from segtrust import cli
from tiny_nnunet import dataset, plans, write_results


@pytest.fixture
def started(monkeypatch):
    commands = []
    monkeypatch.setattr(subprocess, "call", lambda words: commands.append(words) or 0)
    return commands


def test_results_are_adopted_once_and_served_by_name(tmp_path, started):
    folder = write_results(tmp_path, plans(), dataset())
    (tmp_path / "scans").mkdir()
    words = ["serve", str(folder.parent), "--studies", str(tmp_path / "scans"), "--conf", "band_edges", "0.1"]
    assert cli.main(words) == 0
    stamp = (tmp_path / "scans/.segtrust/models/Dataset999_Tiny/current").stat().st_mtime_ns
    assert cli.main(words) == 0
    assert (tmp_path / "scans/.segtrust/models/Dataset999_Tiny/current").stat().st_mtime_ns == stamp
    command = started[0]
    assert command[1:4] == ["-m", "monailabel.main", "start_server"]
    assert " ".join(command).endswith(
        f"--studies {tmp_path / 'scans'} --host 127.0.0.1 --port 8000 --conf models Dataset999_Tiny "
        "--conf band_edges 0.1"
    )


def test_studies_must_be_there(tmp_path, started, capsys):
    assert cli.main(["serve", str(tmp_path), "--studies", str(tmp_path / "none")]) == 1
    assert "--studies must name a folder" in capsys.readouterr().err
    assert started == []
