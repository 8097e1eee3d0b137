"""What a viewer learns when it connects."""

import subprocess
import sys

from live_server import ROOT
from segtrust.label.names import NOT_SEEN


def test_the_app_offers_the_mask_the_uncertainty_view_and_both_in_one(server):
    models = server.get("/info/").json()["models"]
    views = ("", "_uncertainty", "_with_uncertainty")
    names = [f"{task}{view}" for task in ("hippocampus", "hippocampus-heads") for view in views]
    assert list(models) == names
    assert {model["type"] for model in models.values()} == {"segmentation"}
    assert [len(models[name]["labels"]) for name in names] == [2, 3, 5, 4, 4, 7]
    for model in models.values():
        assert list(model["labels"].values()) == list(range(1, len(model["labels"]) + 1))


def test_structures_come_last_among_the_labels(server):
    info = server.get("/info/").json()
    tasks = [list(model["labels"]) for model in info["models"].values()]
    (structures, bands, both), (sided, sided_bands, sided_both) = tasks[:3], tasks[3:]
    assert bands[0] == "chance of error 1 in 20 to 1 in 5"
    assert both == [*(f"{name} sure part - do not measure" for name in structures), *bands]
    assert sided_bands == [*bands, NOT_SEEN]
    assert info["labels"] == [*sided_bands, *both[:2], *sided_both[:4], *structures, *sided]


def test_every_description_says_what_it_is_for(server):
    info = server.get("/info/").json()
    for model in info["models"].values():
        assert "For annotation and research, not for diagnosis." in model["description"]
    assert "never trained on" in info["models"]["hippocampus_uncertainty"]["description"]


def test_the_choice_of_map_is_no_option_of_a_viewer(server):
    models = server.get("/info/").json()["models"]
    assert all(set(model["config"]) == {"device"} for model in models.values())


def test_the_key_random_says_what_it_serves(server):
    info = server.get("/info/").json()
    assert {"entropy", "uniform", "random"} <= set(info["strategies"])
    assert "`doubt`" in info["strategies"]["random"]["description"]
    assert list(info["scoring"]) == ["entropy"]


def test_no_scoring_starts_by_itself(server):
    assert server.get("/scoring/?check_if_running=true").status_code == 404


def test_an_unknown_setting_stops_the_start_and_lists_the_known_ones(tmp_path):
    command = [
        sys.executable,
        "-m",
        "monailabel.main",
        "start_server",
        "--app",
        str(ROOT / "apps/uncertainty"),
    ]
    command += ["--studies", str(tmp_path), "--host", "127.0.0.1", "--port", "0", "--conf", "modells", "x"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=tmp_path)
    output = ended.stdout + ended.stderr
    assert ended.returncode != 0
    assert "unknown setting 'modells'. Known: " in output
    assert "models_dir" in output
