"""`segtrust simulate`: from options to a result and a page."""

import argparse
import json
from dataclasses import asdict

import pytest

from labelled_folder import make_folder
from labelled_site import BALLS_AS_STORED
from segtrust.cli import main, simulate
from segtrust.cli.failures import Failures
from segtrust.errors import SettingError
from segtrust.training.loop import Budget

SUBJECTS = {f"s{i:02d}": f"p{i:02d}" for i in range(16)}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("data") / "balls", SUBJECTS)


@pytest.fixture
def recipe(tmp_path):
    budget = asdict(Budget(epochs=1, patches=2, augment="light"))
    document = {"spec": BALLS_AS_STORED.to_json(), "budget": budget, "seeds": [0]}
    (tmp_path / "balls.json").write_text(json.dumps(document), encoding="utf-8")
    return str(tmp_path / "balls.json")


def options(*words):
    parser = argparse.ArgumentParser()
    simulate.add_arguments(parser)
    return parser.parse_args(["hippocampus", "--data", "d", "--out", "o", *words])


@pytest.mark.slow
def test_command_writes_a_result_and_a_page(data, recipe, tmp_path):
    out = tmp_path / "out"
    words = ["simulate", recipe, "--data", str(data), "--out", str(out), "--strategies", "entropy"]
    assert main([*words, "--seeds", "1", "--counts", "2,3"]) == 0
    result = json.loads((out / "simulation.json").read_text("utf-8"))
    assert list(result["strategies"]) == ["entropy", "uniform"]
    assert [found["opened"] for found in result["strategies"]["entropy"]["rounds"]] == [2, 3]
    assert "Area under the budget curve" in (out / "simulation.html").read_text("utf-8")


def test_uniform_is_always_run_and_seeds_count_from_0():
    plan = simulate._plan(options("--strategies", "clasp,uniform", "--seeds", "2", "--warm-epochs", "7"))
    assert (plan.strategies, plan.seeds, plan.warm.epochs) == (("clasp", "uniform"), (0, 1), 7)
    assert simulate._plan(options("--strategies", "power")).strategies == ("power", "uniform")


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--counts", "ten"), "numbers with commas"), (("--strategies", "best"), "monai_label")],
    ids=["counts", "strategy"],
)
def test_what_cannot_be_read_is_named(words, said):
    with pytest.raises(SettingError, match=said):
        simulate._plan(options(*words))


def test_scans_that_cannot_be_used_are_not_replayed(tmp_path):
    folder = make_folder(tmp_path / "balls", SUBJECTS)
    (folder / "labels" / "s03.nii.gz").write_bytes(b"no label")
    (folder / "images" / "._s04.nii.gz").write_bytes(b"left by macOS")
    (folder / "labels" / "._s04.nii.gz").write_bytes(b"left by macOS")
    failures = Failures()
    args = options("--data", str(folder), "--out", str(tmp_path / "out"))
    divided = simulate._folder(args, BALLS_AS_STORED, failures)
    assert {*divided.pool, *divided.evaluation} == {*SUBJECTS} - {"s03"}
    assert set(failures.reasons) == {"s03"}
