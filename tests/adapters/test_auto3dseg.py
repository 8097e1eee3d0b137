"""What Auto3DSeg trained is read from its checkpoints, folds are members, and nothing else is guessed."""

import pytest
import torch

from segtrust.adapters.auto3dseg import is_auto3dseg, read_auto3dseg
from segtrust.errors import ModelError
from segtrust.models import Foreground, Intensity
from tiny_bundles import write_auto3dseg


def test_configuration_in_the_checkpoint_becomes_a_specification(tmp_path):
    spec, folds, remarks = read_auto3dseg(write_auto3dseg(tmp_path), name="a")
    assert [fold.fold for fold in folds] == [0, 1]
    assert spec.members == 2
    assert [label.name for label in spec.labels] == ["front", "back"]
    assert (spec.patch, spec.spacing, spec.orientation) == ((16, 16, 16), (1.0, 1.0, 1.5), "RAS")
    assert (spec.overlap, spec.windows.blending) == (0.625, "gaussian")
    assert spec.intensity == Intensity("zscore_nonzero")
    assert spec.foreground == Foreground(0.0, 10)
    assert spec.network["norm"] == "INSTANCE"
    assert "is resampled" in remarks[0]


def test_ct_goes_through_a_sigmoid_of_its_bounds(tmp_path):
    folder = write_auto3dseg(tmp_path, modality="ct", normalize_mode="range", intensity_bounds=[-50, 150])
    assert read_auto3dseg(folder, name="a")[0].intensity == Intensity("sigmoid_window", -50, 150)


def test_folds_are_chosen(tmp_path):
    write_auto3dseg(tmp_path, folds=3)
    assert [f.fold for f in read_auto3dseg(tmp_path, name="a", folds=["2", "0"])[1]] == [0, 2]
    assert [f.fold for f in read_auto3dseg(tmp_path / "segresnet_1", name="a")[1]] == [1]
    with pytest.raises(ModelError, match="must hold the folds 7, got 0, 1, 2"):
        read_auto3dseg(tmp_path, name="a", folds=["7"])


@pytest.mark.parametrize(
    ("regions", "relation", "priority"),
    [
        ([[1], [2], [3]], "independent", (1, 2, 3)),
        ([[3], [1, 2, 3], [2, 3]], "nested", (2, 3, 1)),
    ],
)
def test_regions_are_sets_of_labels(tmp_path, regions, relation, priority):
    names = ["a", "b", "c"]
    folder = write_auto3dseg(tmp_path, sigmoid=True, class_names=names, class_index=regions)
    spec = read_auto3dseg(folder, name="a")[0]
    assert (spec.head.kind, spec.head.structures, spec.head.priority) == ("sigmoid", relation, priority)
    assert [list(label.source_values) for label in spec.labels] == regions


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"normalize_mode": "pet"}, "`normalize_mode` must be one of none, range, .* got 'pet'"),
        ({"custom_data_transforms": [{"path": "/x"}]}, "`custom_data_transforms` must be empty"),
        ({"extra_modalities": {"image2": "ct"}}, "`extra_modalities` must be empty"),
        ({"sliding_inferrer": {"_target_": "X"}}, "`sliding_inferrer` must be empty"),
        ({"class_names": ["one"]}, "must name 2 structures in `class_names`"),
        ({"class_index": [[1], [2]]}, "one list of label values per structure of a sigmoid"),
        ({"roi_size": None}, "must hold network, roi_size and input_channels"),
    ],
)
def test_what_is_not_done_here_is_refused_by_name(tmp_path, changes, words):
    with pytest.raises(ModelError, match=words) as refused:
        read_auto3dseg(write_auto3dseg(tmp_path, **changes), name="a")
    assert "segresnet_0/model/model.pt" in str(refused.value)


def test_folds_of_two_configurations_are_refused(tmp_path):
    write_auto3dseg(tmp_path)
    path = tmp_path / "segresnet_1" / "model" / "model.pt"
    content = torch.load(path, weights_only=True)  # noqa: TID251  # the file was made here
    content["config"]["resample_resolution"] = [2.0, 2.0, 2.0]
    torch.save(content, path)
    with pytest.raises(ModelError, match=r"segresnet_1/model/model\.pt must have the same spacing as"):
        read_auto3dseg(tmp_path, name="a")


def test_other_algorithms_are_named(tmp_path):
    (tmp_path / "dints_0" / "configs").mkdir(parents=True)
    (tmp_path / "dints_0" / "model_fold0").mkdir()
    (tmp_path / "dints_0" / "model_fold0" / "best_metric_model.pt").write_bytes(b"")
    assert is_auto3dseg(tmp_path)
    with pytest.raises(ModelError, match=r"must hold trained folds of segresnet .* got dints_0"):
        read_auto3dseg(tmp_path, name="a")


class Gadget:
    def __reduce__(self):
        import os  # noqa: PLC0415  # of the hostile file

        return os.system, ("touch /tmp/segtrust-gadget",)


def test_checkpoint_that_would_run_code_is_refused_and_runs_none(tmp_path):
    path = write_auto3dseg(tmp_path) / "segresnet_1" / "model" / "model.pt"
    torch.save({"state_dict": {}, "config": Gadget()}, path)
    with pytest.raises(ModelError, match=r"segresnet_1.*it asks for (posix|nt)\.system"):
        read_auto3dseg(tmp_path, name="a")
