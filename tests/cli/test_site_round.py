"""`segtrust train --studies`: the labels of a folder become a version, with the state of its server."""

import shutil

import pytest

from labelled_site import make_site
from segtrust import cli
from segtrust.cli import site_round
from segtrust.models import open_version
from segtrust.release.plan import Progress
from segtrust.roles import role_of
from segtrust.store import StateStore


@pytest.fixture
def studies(tmp_path):
    """Scans as MONAI Label lays them out, three of five labelled."""
    scans = make_site(tmp_path / "made", ["train"] * 5)
    folder = tmp_path / "studies"
    (folder / "labels" / "final").mkdir(parents=True)
    for scan in scans:
        shutil.copy(scan.image, folder)
    for scan in scans[:3]:
        shutil.copy(scan.label, folder / "labels" / "final" / scan.image.name)
    return folder


def test_a_round_on_a_folder_serves_its_version_from_the_sites_state(studies, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("segtrust.release.plan._PATCHES", 2)
    shipped = tmp_path / "made" / "shipped"
    words = ["--studies", str(studies), "--models-dir", str(shipped), "--epochs", "1"]
    assert cli.main(["train", "balls", *words]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("5 scans of 5 patients: one scan counts as one patient.")
    assert out[1].startswith("member 1/2 epoch 1/1 loss ")
    assert out[-1].startswith("balls 0002 unproven: ")
    site = studies / ".segtrust" / "models" / "balls"
    assert open_version(site).id == "0002"
    assert open_version(site).card["data"]["train"] == 3

    where = ["--models-dir", str(site.parent)]
    assert cli.main(["versions", "rollback", "balls", *where]) == 0
    assert cli.main(["versions", "list", *where]) == 0
    out = capsys.readouterr().out
    assert "balls 0001 is served" in out
    assert "balls  versions [0001] 0002" in out
    assert "0002 is not served: rolled back to 0001" in out
    assert cli.main(["versions", "publish", "balls", "0002", *where]) == 0
    assert open_version(site).id == "0002"
    assert cli.main(["versions", "prune", "balls", "--keep", "1", *where]) == 0
    assert "deleted nothing" in capsys.readouterr().out  # 0001 is what new versions are held against


def test_only_scans_drawn_by_lot_calibrate_and_every_scan_gets_a_role(studies):
    store = StateStore(studies / ".segtrust" / "state.sqlite")
    store.mark_served("s00", "ann", "uniform")
    labelled = site_round._labelled(studies, store, "")
    assert [scan.id for scan in labelled] == ["s00", "s01", "s02"]
    roles = {f"s0{i}": role_of(f"s0{i}", store.site_key()) for i in range(5)}
    assert store.fix_roles(dict.fromkeys(roles, "whoever")) == roles  # fixed before, unlabelled ones too
    assert labelled[0].role == roles["s00"]
    assert {scan.role for scan in labelled[1:]} <= {"train", "volunteered"}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["nobody", "--studies", "."], "no model 'nobody'. Known: hippocampus"),
        (["hippocampus", "--studies", "nowhere"], "--studies must name a folder, got nowhere"),
        (
            ["hippocampus", "--studies", ".", "--epochs", "0"],
            "`epochs` must be a whole number from 1 to 10000",
        ),
        (["hippocampus", "--studies", "."], "needs at least one labelled scan, got none"),
        (["hippocampus", "--data", "."], "--data needs --models-dir"),
    ],
    ids=["no model", "no folder", "no epochs", "no labels", "no folder of models"],
)
def test_what_is_asked_wrongly_is_named(words, text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", *words]) == 1
    assert text in capsys.readouterr().err


def test_a_terminal_gets_a_bar(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    site_round._shown()(Progress("training", 1, 2, 5, 10, 0.25, 30.0, 90.0))
    assert (
        "[#######                       ]  25% member 1/2 epoch 5/10 loss 0.2500" in capsys.readouterr().out
    )
