"""What a plan names is looked at once more before nnU-Net looks it up."""

import pytest
import torch

import tiny_nnunet as tiny
from segtrust.adapters.nnunet_results import DATASET, PLANS
from segtrust.adapters.nnunet_run import NnunetRun
from segtrust.errors import ModelError

CPU = torch.device("cpu")


def run_of(planned):
    return NnunetRun({PLANS: planned, DATASET: tiny.dataset()}, "3d_fullres", None, CPU)


def test_function_behind_a_layers_name_is_refused_before_it_is_called():
    planned = tiny.plans()
    arguments = planned["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    arguments["nonlin"] = "torch.nn.functional.relu"
    with pytest.raises(ModelError, match=r"`nonlin` of the plans must be a layer of torch\.nn"):
        run_of(planned).network()


def test_arguments_that_the_network_refuses_are_an_error_in_words():
    planned = tiny.plans()
    planned["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["n_stages"] = 3
    with pytest.raises(ModelError, match="cannot be built"):
        run_of(planned).network()


def test_weights_of_another_network_are_refused_with_the_file(tmp_path):
    planned = tiny.plans()
    weights = tiny.random_network(planned, tiny.dataset(), seed=0).state_dict()
    planned["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["features_per_stage"] = [4, 6]
    with pytest.raises(ModelError, match=r"c\.pth must fit the network that plans\.json.*size mismatch"):
        run_of(planned).filled(weights, tmp_path / "c.pth")


@pytest.mark.parametrize("shape", [(2, 3, 4), (5, 2, 3, 4)], ids=["volume", "channels"])
def test_axes_go_to_nnunets_grid_and_back(shape):
    run = run_of(tiny.plans(transpose=(2, 0, 1)))
    volume = torch.arange(24 * (5 if len(shape) == 4 else 1)).reshape(shape)
    there = run.as_nnunet(volume)
    assert tuple(there.shape[-3:]) == (2, 4, 3)  # z, y, x are 4, 3, 2; then axes 2, 0, 1 of these
    assert torch.equal(run.as_file(there), volume)


def test_tiny_network_is_built_as_nnunet_builds_it():
    names = set(tiny.random_network(tiny.plans(), tiny.dataset(), seed=0).state_dict())
    assert set(run_of(tiny.plans()).network().state_dict()) == names
