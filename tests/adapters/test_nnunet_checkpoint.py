"""Checkpoints are pickles: weights and plain values come out, and nothing that they ask for is run."""

import os
import zipfile

import numpy as np
import pytest
import torch

from segtrust.adapters.nnunet_checkpoint import read_checkpoint
from segtrust.errors import ModelError

WEIGHTS = {"encoder.weight": torch.arange(4.0)}


class Hostile:
    """What an attacker puts beside the weights."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def save(path, **more):
    content = {
        "network_weights": WEIGHTS,
        "optimizer_state": {"momentum": torch.zeros(2)},
        "logging": {"ema": [np.float64(0.5), np.float32(0.25)]},
        "_best_ema": np.float64(0.5),
        "init_args": {"configuration": "3d_fullres", "device": torch.device("cuda", 0)},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 2),
    }
    torch.save(content | more, path)
    return path


def test_weights_and_plain_values_are_read(tmp_path):
    checkpoint = read_checkpoint(save(tmp_path / "checkpoint_final.pth"))
    assert torch.equal(checkpoint.weights["encoder.weight"], torch.arange(4.0))
    assert (checkpoint.trainer, checkpoint.configuration) == ("nnUNetTrainer", "3d_fullres")
    assert checkpoint.mirroring == (0, 2)


def test_no_mirroring_stays_no_mirroring(tmp_path):
    path = save(tmp_path / "c.pth", inference_allowed_mirroring_axes=None)
    assert read_checkpoint(path).mirroring is None


@pytest.mark.parametrize("key", ["network_weights", "init_args", "logging"])
def test_code_in_a_checkpoint_is_refused_by_name_and_not_run(tmp_path, key):
    mark = tmp_path / "ran"
    path = save(tmp_path / "c.pth", **{key: Hostile(f"touch {mark}")})
    with pytest.raises(ModelError, match=r"c\.pth must hold weights and plain values.*(posix|nt)\.system"):
        read_checkpoint(path)
    assert not mark.exists()


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_names_of_distributed_and_compiled_networks_are_shortened(tmp_path, prefix):
    path = save(tmp_path / "c.pth", network_weights={f"{prefix}encoder.weight": torch.ones(1)})
    assert list(read_checkpoint(path).weights) == ["encoder.weight"]


def test_file_that_was_cut_off_is_refused(tmp_path):
    path = save(tmp_path / "c.pth")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ModelError, match=r"c\.pth must hold weights"):
        read_checkpoint(path)


def test_archive_of_something_else_is_refused(tmp_path):
    path = tmp_path / "c.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "no weights")
    with pytest.raises(ModelError, match=r"c\.pth must hold weights"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [({"state_dict": WEIGHTS}, "got state_dict"), ([1, 2], "got list"), ({}, "got nothing")],
    ids=["of another program", "a list", "nothing"],
)
def test_checkpoint_of_another_program_is_refused_with_what_it_holds(tmp_path, content, words):
    torch.save(content, tmp_path / "c.pth")
    with pytest.raises(ModelError, match=f"network_weights.*{words}"):
        read_checkpoint(tmp_path / "c.pth")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"there must be a checkpoint .*c\.pth"):
        read_checkpoint(tmp_path / "c.pth")
