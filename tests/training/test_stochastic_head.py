"""The head of a specification decides what the loop minimises."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from phantoms import spec_of
from segtrust.errors import ModelError
from segtrust.inference.members import load_member
from segtrust.models import Head, Label, ModelSpec
from segtrust.stochastic import LogitDistribution, draw_noise, n_channels, sample_logits
from segtrust.training import Budget, Case, train_member

NETWORK = {
    "_target_": "monai.networks.nets.BasicUNet",
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": n_channels(2, 1),
    "features": [4, 4, 4, 4, 4, 4],
    "norm": "batch",
}
SPEC = spec_of(
    labels=(Label("square", 1, 1),),
    spatial_dims=2,
    patch=(16, 16),
    spacing=None,
    network=NETWORK,
    members=1,
    head=Head(rank=1),
)


@pytest.mark.slow
def test_a_network_learns_that_a_whole_square_is_there_or_not(tmp_path):
    # every image shows the same square; half of the labels have it, half are empty: one factor suffices
    image, square = torch.zeros(1, 16, 16), torch.zeros(16, 16, dtype=torch.long)
    image[0, 4:12, 4:12] = square[4:12, 4:12] = 1
    cases = [Case(f"{i:02d}", "a", image, square * (i % 2)) for i in range(32)]
    budget = Budget(epochs=20, batch=8, loss="ce", learning_rate=1e-2, average=0.8, augment="light")
    network = load_member(SPEC, train_member(SPEC, cases, budget, seed=0, folder=tmp_path))
    with torch.inference_mode():
        distribution = LogitDistribution.from_channels(network(image[None]), 1)
        drawn = [sample_logits(distribution, draw_noise(distribution, s)).argmax(1)[0] for s in range(200)]
    there = np.array([float(mask[4:12, 4:12].float().mean()) for mask in drawn])
    # in one piece, or not at all; 64 pixels drawn one by one with a chance of one half never are
    assert ((there < 0.05) | (there > 0.95)).mean() > 0.4
    assert 0.25 < there.mean() < 0.75


def test_a_specification_without_a_rank_is_written_as_before():
    assert "rank" not in replace(SPEC, head=Head()).to_json()["head"]
    assert ModelSpec.from_json(SPEC.to_json()) == SPEC


def test_a_rank_below_zero_is_refused():
    with pytest.raises(ModelError, match=r"`head.rank` must be 0 or more, or left out, got -1"):
        replace(SPEC, head=Head(rank=-1))
