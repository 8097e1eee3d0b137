"""Folders of nnU-Net are recognised; what cannot be adopted is refused with file, expected and got."""

import json

import pytest

import tiny_nnunet as tiny
from segtrust.adapters.nnunet_results import NNUNET, check_plans, is_nnunet, nnunet_spec, read_nnunet
from segtrust.errors import ModelError

REGIONS = {"background": 0, "whole": [1, 2], "core": [2]}


def results(root, planned=None, described=None, **options):
    return tiny.write_results(root, planned or tiny.plans(), described or tiny.dataset(), **options)


def rewrite(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


@pytest.fixture
def folder(tmp_path):
    return results(tmp_path)


def test_configuration_is_read_with_its_folds_in_order(tmp_path):
    read = read_nnunet(results(tmp_path, folds=3))
    assert [fold.name for fold in read.folds] == ["0", "1", "2"]
    assert (read.trainer, read.configuration) == ("nnUNetTrainer", "3d_fullres")
    spec = nnunet_spec(read, name="tiny", mirroring=(0, 1))
    assert [(label.name, label.source_value) for label in spec.labels] == [("front", 1), ("back", 2)]
    assert (spec.channels, spec.members, spec.patch) == (("T1",), 3, (16, 16, 16))
    assert spec.network["_target_"] == NNUNET
    assert spec.network["mirroring"] == [0, 1]


def test_dataset_with_one_configuration_needs_no_choice(folder):
    assert is_nnunet(folder)
    assert is_nnunet(folder.parent)
    assert read_nnunet(folder.parent).folder == folder


def test_regions_are_structures_of_a_sigmoid_head_in_their_order(tmp_path):
    described = tiny.dataset(labels=REGIONS, regions_class_order=[1, 2])
    spec = nnunet_spec(read_nnunet(results(tmp_path, described=described)), name="r", mirroring=None)
    assert spec.head.kind == "sigmoid"
    assert spec.head.priority == (1, 2)
    assert [(label.name, label.source_value) for label in spec.labels] == [("whole", (1, 2)), ("core", 2)]
    assert spec.head.structures == "nested"
    assert not spec.shares_values


def test_regions_that_are_not_nested_share_their_values(tmp_path):
    regions = {"background": 0, "left": [1, 2], "right": [3, 4], "tumour": [2, 4]}
    described = tiny.dataset(labels=regions, regions_class_order=[1, 3, 4])
    spec = nnunet_spec(read_nnunet(results(tmp_path, described=described)), name="r", mirroring=None)
    assert [label.source_value for label in spec.labels] == [(1, 2), (3, 4), (4, 2)]
    assert (spec.head.structures, spec.shares_values) == ("independent", True)


def test_a_region_must_hold_the_value_that_stands_for_it(tmp_path):
    described = tiny.dataset(labels=REGIONS, regions_class_order=[1, 3])
    with pytest.raises(ModelError, match=r"a value that the region holds, got .*: another one for core"):
        nnunet_spec(read_nnunet(results(tmp_path, described=described)), name="r", mirroring=None)


def test_ignored_label_is_no_structure(tmp_path):
    described = tiny.dataset(labels={"background": 0, "organ": 1, "ignore": 2})
    spec = nnunet_spec(read_nnunet(results(tmp_path, described=described)), name="r", mirroring=None)
    assert [label.name for label in spec.labels] == ["organ"]


def test_best_configuration_is_the_one_that_nnunet_wrote_down(tmp_path):
    low = results(tmp_path)
    results(tmp_path, trainer="nnUNetTrainerOther")
    with pytest.raises(ModelError, match=r"2 trained configurations.*Say --configuration"):
        read_nnunet(low.parent)
    best = {"configuration": "3d_fullres", "trainer": "nnUNetTrainerOther", "plans_identifier": "nnUNetPlans"}
    note = low.parent / "inference_information.json"
    note.write_text(json.dumps({"best_model_or_ensemble": {"selected_model_or_models": [best]}}))
    assert read_nnunet(low.parent).trainer == "nnUNetTrainerOther"
    assert read_nnunet(low.parent, configuration=low.name).trainer == "nnUNetTrainer"
    two = {
        "selected_model_or_models": [best, {**best, "configuration": "2d"}],
        "postprocessing_file": "x.pkl",
    }
    note.write_text(json.dumps({"best_model_or_ensemble": two}))
    with pytest.raises(ModelError, match=r"ensemble of .* one configuration is adopted at a time"):
        read_nnunet(low.parent)
    assert "before it" in read_nnunet(low).remarks[0]


def test_missing_folds_are_named_with_those_that_are_there(folder):
    with pytest.raises(ModelError, match="of fold 3, 4, got folds 0, 1"):
        read_nnunet(folder, folds=["0", "3", "4"])
    with pytest.raises(
        ModelError, match=r"fold_N/checkpoint_best\.pth, got fold_0, fold_1 with checkpoint_f"
    ):
        read_nnunet(folder, checkpoint="checkpoint_best.pth")


def test_fold_all_counts_only_alone(tmp_path):
    folder = results(tmp_path)
    (folder / "fold_1").rename(folder / "fold_all")
    assert [fold.name for fold in read_nnunet(folder).folds] == ["0"]
    assert [fold.name for fold in read_nnunet(folder, folds=["all"]).folds] == ["all"]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("preprocessor_name", "MyPreprocessor", "preprocessor_name.*DefaultPreprocessor.*'MyPreprocessor'"),
        ("previous_stage", "3d_lowres", "cascade"),
        ("resampling_fn_probabilities", "os.system", "resampling_fn_probabilities"),
        ("normalization_schemes", ["Mine"], "normalization_schemes"),
        ("architecture", {"network_class_name": "os.system"}, "network_class_name"),
    ],
)  # fmt: skip
def test_plans_that_name_what_nnunet_does_not_bring_are_refused(folder, key, value, words):
    rewrite(folder / "plans.json", lambda p: p["configurations"]["3d_fullres"].update({key: value}))
    with pytest.raises(ModelError, match=rf"plans\.json.*{words}"):
        read_nnunet(folder)


def test_layers_come_from_torch_alone(folder):
    def change(plans):
        plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["nonlin"] = "os.system"

    rewrite(folder / "plans.json", change)
    with pytest.raises(
        ModelError, match=r"`nonlin` of the network must be a layer of torch\.nn, got 'os\.sys"
    ):
        read_nnunet(folder)


def test_plans_before_2_3_and_inherited_configurations_are_read(tmp_path):
    planned = tiny.plans()
    base = planned["configurations"]["3d_fullres"]
    del base["architecture"]
    base["UNet_class_name"] = "PlainConvUNet"
    planned["configurations"]["3d_large"] = {"inherits_from": "3d_fullres", "batch_size": 4}
    assert check_plans(planned, "3d_large", tmp_path)["UNet_class_name"] == "PlainConvUNet"
    base["UNet_class_name"] = "Mine"
    with pytest.raises(ModelError, match=r"UNet_class_name.*'Mine'"):
        check_plans(planned, "3d_large", tmp_path)


def test_plans_of_version_1_are_refused(folder, tmp_path):
    (folder / "plans.json").rename(folder / "plans.pkl")
    with pytest.raises(ModelError, match="version 1"):
        read_nnunet(folder)
    (folder / "plans.json").write_text('{"plans_per_stage": {}}')
    with pytest.raises(ModelError, match="`configurations`, got plans_per_stage"):
        read_nnunet(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": {"background": 0, "a": 1, "b": 3}}, r"0, 1, 2, \.\.\., got \[1, 3\]"),
        ({"labels": {"0": "background", "1": "a"}}, "background 0"),
        ({"labels": {"background": 0, "a": [1, 2]}}, "regions_class_order"),
        ({"channel_names": {}}, "channel_names"),
    ],
    ids=["gap", "of the Decathlon", "regions without an order", "no channel"],
)
def test_dataset_that_is_not_as_nnunet_writes_it_is_refused(folder, change, words):
    rewrite(folder / "dataset.json", lambda d: d.update(change))
    with pytest.raises(ModelError, match=rf"dataset\.json.*{words}"):
        read_nnunet(folder)


def test_folder_of_something_else_says_what_is_there(tmp_path):
    (tmp_path / "notes.txt").touch()
    assert not is_nnunet(tmp_path)
    with pytest.raises(ModelError, match=r"must be results of nnU-Net.*Got notes\.txt"):
        read_nnunet(tmp_path)


def test_names_of_cases_stay_out_of_the_model_folder(tmp_path):
    described = {
        **tiny.dataset(),
        "dataset": {"PATIENT_1": {"images": ["a.nii.gz"]}},
        "training": ["PATIENT_1"],
    }
    documents = read_nnunet(results(tmp_path, described=described)).documents
    assert "PATIENT" not in json.dumps(documents)
