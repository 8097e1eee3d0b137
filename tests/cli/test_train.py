"""`segtrust train`: what its options change."""

import argparse

import pytest

from segtrust.cli import train


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
    with pytest.raises(TrainedError) as caught:
        train.run(options("--data", str(tmp_path), *words))
    assert caught.value.args == (loss,)
