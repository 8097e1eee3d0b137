"""`segtrust train --studies`: the labels of a folder become a version, with the state of its server."""

import shutil
from types import SimpleNamespace

import pytest
from filelock import FileLock

from labelled_site import give_roles, make_site
from segtrust import cli
from segtrust.cli import site_round
from segtrust.label.settings import AppSettings
from segtrust.label.studies.beside import open_site
from segtrust.label.training import trainer
from segtrust.label.training.trainer import RoundTask
from segtrust.models import open_version
from segtrust.release.plan import Progress
from segtrust.release.round import RoundResult
from segtrust.store import InfoKey, StateStore


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


@pytest.fixture
def rounds(monkeypatch):
    """The rounds that command line and server would run: their scans, settings, folders and key."""
    calls = []

    def run_round(_parent, models_dir, labelled, settings, *, cache, key, report):
        scans = sorted((scan.id, scan.subject, scan.role) for scan in labelled)
        calls.append({"scans": scans, "settings": settings, "folders": (models_dir, cache), "key": key})
        return RoundResult("0002", "kept", "Not proven.", {"left_out": {}, "unusable": []})

    monkeypatch.setattr(site_round, "run_round", run_round)
    monkeypatch.setattr(trainer, "run_round", run_round)
    monkeypatch.setattr(trainer, "open_version", lambda model, version: SimpleNamespace(digest="d" * 64))
    return calls


@pytest.fixture
def big_site(tmp_path):
    """Forty labelled scans of twenty patients, served by lot; of seven that measure, slices were left out."""
    scans = make_site(tmp_path / "made", ["train"])
    studies, state = tmp_path / "studies", tmp_path / "state of the site"
    (studies / "labels" / "final").mkdir(parents=True)
    store = StateStore(state / "state.sqlite")
    names = [f"p{number:02d}_{side}" for number in range(20) for side in "lr"]
    give_roles(store, {n: (n[:3], "calibration" if int(n[1:3]) < 6 else "train") for n in names})
    for name in names:
        shutil.copy(scans[0].image, studies / f"{name}.nii.gz")
        shutil.copy(scans[0].label, studies / "labels" / "final" / f"{name}.nii.gz")
        store.mark_served(name, "ann", "held_out")
    partial = names[:7]
    for name in partial:
        store.keep_review(name, [3, 4], 8)
    return studies, state, partial


def test_the_command_line_runs_the_round_that_the_server_would_run(big_site, tmp_path, rounds, capsys):
    studies, state, partial = big_site
    conf = {
        "state_dir": str(state),
        "subjects": "(p[0-9]+)_",
        "models_dir": str(tmp_path / "made" / "shipped"),
        "train_epochs": "7",
        "small_gate": "ask",
        "device": "cpu",
    }
    words = [word for setting in conf.items() for word in ("--conf", *setting)]
    assert cli.main(["train", "balls", "--studies", str(studies), *words]) == 0
    out = capsys.readouterr().out
    assert all(f"left out {scan}: it measures the model and must be looked at" in out for scan in partial)

    site = open_site(studies, AppSettings.from_conf(conf))
    RoundTask(site.served["balls"], site.store, site.state_dir)({}, site.datastore)
    of_command_line, of_server = rounds
    assert of_command_line == of_server
    assert not {scan for scan, _, _ in of_server["scans"]} & set(partial)
    assert [role for *_, role in of_server["scans"]].count("calibration") == 5
    assert not (studies / ".segtrust").exists()


def test_an_option_of_the_command_line_wins_over_the_settings_of_the_site(big_site, tmp_path, rounds):
    studies, state, _ = big_site
    shipped = str(tmp_path / "made" / "shipped")
    conf = ["--conf", "state_dir", str(state), "--conf", "train_epochs", "7", "--conf", "train_loss", "focal"]
    words = ["--models-dir", shipped, "--epochs", "3", "--seed", "5", "--subjects", "(p[0-9]+)_"]
    assert cli.main(["train", "balls", "--studies", str(studies), *conf, *words]) == 0
    settings = rounds[0]["settings"]
    assert (settings.epochs, settings.seed, settings.loss) == (3, 5, "focal")
    assert {subject for _, subject, _ in rounds[0]["scans"]} <= {f"p{number:02d}" for number in range(20)}


def test_a_label_of_another_model_is_not_learnt_from(big_site, tmp_path, rounds):
    studies, state, _ = big_site
    store = StateStore(state / "state.sqlite")
    store.update_info(InfoKey("label", "p19_r", "final"), {"segtrust": {"model": "hippocampus"}}, {})
    words = ["--conf", "state_dir", str(state), "--models-dir", str(tmp_path / "made" / "shipped")]
    assert cli.main(["train", "balls", "--studies", str(studies), *words]) == 0
    assert "p19_r" not in {scan for scan, _, _ in rounds[0]["scans"]}


def test_no_round_begins_while_the_server_trains(big_site, tmp_path, rounds, monkeypatch, capsys):
    monkeypatch.setattr(trainer, "_LOCK_SECONDS", 0.05)
    studies, state, _ = big_site
    words = ["--conf", "state_dir", str(state), "--models-dir", str(tmp_path / "made" / "shipped")]
    with FileLock(state / "training" / "running.lock"):
        assert cli.main(["train", "balls", "--studies", str(studies), *words]) == 1
    assert "only one training of a site can run. Stop the other one, or wait." in capsys.readouterr().err
    assert not rounds


def test_the_server_begins_no_training_while_the_command_line_trains(big_site, tmp_path, rounds, monkeypatch):
    studies, state, _ = big_site
    conf = {"state_dir": str(state), "models_dir": str(tmp_path / "made" / "shipped")}
    site = open_site(studies, AppSettings.from_conf(conf))
    task = RoundTask(site.served["balls"], site.store, site.state_dir)
    seen, run_round = [], site_round.run_round

    def look_and_run(*args, **options):
        seen.append(task.is_running())
        return run_round(*args, **options)

    monkeypatch.setattr(site_round, "run_round", look_and_run)
    words = ["--conf", "state_dir", str(state), "--models-dir", conf["models_dir"]]
    assert cli.main(["train", "balls", "--studies", str(studies), *words]) == 0
    assert seen == [True]
    assert not task.is_running()


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
