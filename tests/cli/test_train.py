"""`segtrust train`: what its options change."""

import argparse
import json

import pytest

from labelled_folder import make_folder
from labelled_site import BALLS_AS_STORED
from segtrust.cli import main, train


def options(*words):
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    return parser.parse_args(["hippocampus", "--models-dir", "models", *words])


@pytest.mark.parametrize(
    ("words", "loss"),
    [((), "dice_ce"), (("--loss", "ce + 0.1*mbls"), "ce + 0.1*mbls")],
    ids=["the recipe's", "another"],
)
def test_the_loss_of_the_recipe_can_be_replaced(tmp_path, monkeypatch, words, loss):
    class TrainedError(Exception):
        pass

    def trained(recipe, *_, **__):
        raise TrainedError(recipe.budget.loss)

    monkeypatch.setattr(train, "train_ensemble", trained)
    (tmp_path / "splits.json").write_text(json.dumps({"splits": {"train": []}}))
    with pytest.raises(TrainedError) as caught:
        train.run(options("--data", str(tmp_path), *words))
    assert caught.value.args == (loss,)


def test_scans_that_cannot_be_used_are_left_out_of_the_training_and_named(tmp_path, monkeypatch, capsys):
    data = make_folder(tmp_path / "data", {name: name for name in ("a", "b", "c", "d")})
    (data / "images" / "b.nii.gz").write_bytes(b"no scan")
    (data / "labels" / "d.nii.gz").unlink()
    (data / "splits.json").write_text(
        json.dumps({"splits": {"train": ["a", "b"], "val": ["c"], "test": ["d"]}})
    )
    recipe = {"spec": BALLS_AS_STORED.to_json(), "budget": {"epochs": 1, "patches": 1}, "seeds": [0]}
    (tmp_path / "balls.json").write_text(json.dumps(recipe))
    lists = []

    def trained(*_, splits, **__):
        lists.append(splits)
        return []

    def published(*_, splits, **__):
        lists.append(splits)
        return argparse.Namespace(id="0001")

    monkeypatch.setattr(train, "train_ensemble", trained)
    monkeypatch.setattr(train, "release", published)
    words = ["train", str(tmp_path / "balls.json"), "--data", str(data), "--models-dir", str(tmp_path)]
    assert main([*words, "--runs", str(tmp_path / "runs")]) == 1
    assert lists == [{"train": ["a"], "val": ["c"], "test": []}] * 2
    out = capsys.readouterr().out
    assert "2 failed:" in out
    assert "| b | " in out
    assert "| d | " in out
