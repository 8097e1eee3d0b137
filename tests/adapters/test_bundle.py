"""A bundle's JSON becomes a specification, and nothing in it is run."""

import copy
import json

import pytest
import yaml

from segtrust.adapters.bundle import read_bundle, read_configuration
from segtrust.errors import ModelError

METADATA = {
    "description": "spleen in CT",
    "network_data_format": {
        "inputs": {"image": {"num_channels": 1}},
        "outputs": {"pred": {"channel_def": {"0": "background", "1": "spleen"}}},
    },
}
INFERENCE = {
    "device": "$torch.device('cpu')",
    "network_def": {
        "_target_": "UNet",
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 2,
        "norm": "batch",
    },
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
            {"_target_": "Spacingd", "keys": "image", "pixdim": [1.5, 1.5, 2.0], "mode": "bilinear"},
            {
                "_target_": "ScaleIntensityRanged",
                "a_min": -57,
                "a_max": 164,
                "b_min": 0,
                "b_max": 1,
                "clip": True,
            },
        ],
    },
    "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [96, 96, 96], "overlap": 0.5},
}


def bundle(folder, inference, *, metadata=METADATA, weights=("model.pt",), ending=".json"):
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    write = yaml.safe_dump if ending == ".yaml" else json.dumps
    (folder / "configs" / f"inference{ending}").write_text(write(inference))
    for name in weights:
        (folder / "models" / name).write_bytes(b"weights")
    return folder


def test_a_bundle_of_plain_values_is_read(tmp_path):
    read = read_bundle(bundle(tmp_path / "b", INFERENCE), name="spleen")
    spec = read.spec
    assert [path.name for path in read.weights] == ["model.pt"]
    assert spec.network["_target_"] == "monai.networks.nets.UNet"
    assert spec.network["norm"] == "batch"
    assert [label.name for label in spec.labels] == ["spleen"]
    assert (spec.spacing, spec.orientation, spec.patch, spec.overlap) == (
        (1.5, 1.5, 2.0),
        "RAS",
        (96, 96, 96),
        0.5,
    )
    assert (spec.intensity.method, spec.intensity.low, spec.intensity.high) == ("window", -57, 164)


@pytest.mark.parametrize(
    "value", ["$__import__('os').system('true')", "@other_network", "%else::network_def"]
)
def test_code_in_the_network_is_refused(value, tmp_path):
    changed = copy.deepcopy(INFERENCE)
    changed["network_def"]["norm"] = value
    with pytest.raises(ModelError, match=r"`network_def` of the bundle must be plain values.*which is code"):
        read_bundle(bundle(tmp_path / "b", changed), name="spleen")


def test_a_network_of_somebody_else_s_code_is_looked_for_in_monai_alone(tmp_path):
    changed = copy.deepcopy(INFERENCE)
    changed["network_def"]["_target_"] = "scripts.my_net.UNet"
    with pytest.raises(ModelError, match=r"must be one of MONAI's own, got 'scripts\.my_net\.UNet'"):
        read_bundle(bundle(tmp_path / "b", changed), name="spleen")


def test_another_normalisation_is_refused(tmp_path):
    changed = copy.deepcopy(INFERENCE)
    changed["preprocessing"]["transforms"][3] = {"_target_": "AdjustContrastd", "gamma": 2}
    with pytest.raises(ModelError, match=r"done here too, got AdjustContrastd\. Export the network"):
        read_bundle(bundle(tmp_path / "b", changed), name="spleen")


def changed(change):
    document = copy.deepcopy(INFERENCE)
    change(document)
    return document


def with_step(step, at=2):
    return lambda document: document["preprocessing"]["transforms"].insert(at, step)


def with_result(*steps):
    return lambda document: document.update(postprocessing={"_target_": "Compose", "transforms": list(steps)})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_step({"_target_": "Resized", "spatial_size": [96] * 3}), "`preprocessing` .* got Resized"),
        (with_step({"_target_": "Flipd", "spatial_axis": 0}), "`preprocessing` .* got Flipd"),
        (with_step({"_target_": "scripts.mine.Concat"}), r"got scripts\.mine\.Concat"),
        (with_step({"_target_": "NormalizeIntensityd"}, 4), "got ScaleIntensityRanged and Norm"),
        (with_step({"_target_": "LoadImaged", "converter": "$eval"}), r"got converter='\$eval'"),
        (with_step({"_target_": "Spacingd", "pixdim": [1, 1, 1]}), "must have one Spacingd, got 2"),
        (with_step({"_target_": "ScaleIntensityd"}, 1), "must resample scans .* before it normalises"),
        (with_step({"_target_": "CropForegroundd", "select_fn": "$any"}), "got select_fn="),
        (with_step({"_target_": "CropForegroundd", "margin": 3}), "must not pad a scan"),
        (with_step({"_target_": "EnsureTyped", "dtype": "uint8"}), "must be float32, got 'uint8'"),
        (with_step("$monai.transforms.Flipd('image')"), r"got .\$monai"),
        (with_step({"_target_": "Flipd", "_disabled_": "$f()"}), "got Flipd"),
        (lambda d: d.update(preprocessing="$@a + @b"), "`preprocessing` .* must list its transforms"),
        (with_result({"_target_": "Activationsd", "other": "$relu"}), "a softmax or a sigmoid, got other="),
        (with_result({"_target_": "AsDiscreted", "argmax": True, "to_onehot": 2}), "to_onehot=2"),
        (with_result({"_target_": "AsDiscreted", "threshold": 0.5}), "must be an argmax, got threshold=0"),
        (with_result({"_target_": "KeepLargestConnectedComponentd"}), "got KeepLargestConnectedComponentd"),
        (with_result({"_target_": "Lambdad", "func": "$lambda x: 1 - x"}), "got Lambdad"),
        (lambda d: d["inferer"].update(_target_="SimpleInferer"), "SliceInferer, got SimpleInferer"),
    ],
)  # fmt: skip
def test_what_is_not_done_here_is_refused_and_not_left_out(change, words, tmp_path):
    with pytest.raises(ModelError, match=words):
        read_bundle(bundle(tmp_path / "b", changed(change)), name="spleen")


def test_step_that_is_switched_off_counts_for_nothing(tmp_path):
    document = changed(with_step({"_target_": "Flipd", "_disabled_": True}))
    assert read_bundle(bundle(tmp_path / "b", document), name="spleen").spec.patch == (96, 96, 96)


def test_plain_references_are_looked_up(tmp_path):
    document = changed(lambda d: d["inferer"].update(roi_size="@sizes#window", overlap="@overlap"))
    document |= {"sizes": {"window": [64, "@side", 32]}, "side": 48, "overlap": 0.4}
    spec = read_bundle(bundle(tmp_path / "b", document), name="spleen").spec
    assert (spec.patch, spec.overlap) == ((64, 48, 32), 0.4)


@pytest.mark.parametrize("value", ["@missing", "@a", "$@sizes"], ids=["missing", "circle", "code"])
def test_reference_that_leads_nowhere_is_refused(value, tmp_path):
    document = changed(lambda d: d["inferer"].update(roi_size=value)) | {"a": "@b", "b": "@a"}
    with pytest.raises(ModelError, match=r"inferer\.roi_size` of the bundle must be plain values"):
        read_bundle(bundle(tmp_path / "b", document), name="spleen")


def test_yaml_says_the_same_as_json(tmp_path):
    one, two = (
        read_bundle(bundle(tmp_path / end, INFERENCE, ending=end), name="b") for end in (".json", ".yaml")
    )
    assert one.spec == two.spec


@pytest.mark.parametrize(
    ("there", "members"),
    [
        (("model.pt", "model_lowres.pt"), ["model.pt"]),
        (("model_0.pt", "model_1.pt", "model_10.pt"), ["model_0.pt", "model_1.pt", "model_10.pt"]),
        (("model_fold1.pt", "model_fold0.pt", "model.pt"), ["model_fold0.pt", "model_fold1.pt"]),
    ],
)
def test_numbered_checkpoints_are_members_and_others_are_named(tmp_path, there, members):
    read = read_bundle(bundle(tmp_path / "b", INFERENCE, weights=there), name="b")
    assert [path.name for path in read.weights] == members
    assert read.spec.members == len(members)
    others = set(there) - set(members)
    assert all(name in " ".join(read.remarks) for name in others)


def test_checkpoint_is_the_one_that_the_bundle_loads_and_lies_in_the_bundle(tmp_path):
    loads = {"_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/' + @which"}
    document = INFERENCE | {"bundle_root": "/etc", "which": "best.pt", "checkpointloader": loads}
    folder = bundle(tmp_path / "b", document, weights=("best.pt", "model.pt"))
    assert read_bundle(folder, name="b").weights == (folder / "models" / "best.pt",)
    document["which"] = "../../../passwd"
    with pytest.raises(ModelError, match="must hold the bundle's weights passwd"):
        read_bundle(bundle(tmp_path / "c", document), name="b")


def test_sigmoid_is_a_head_of_structures_that_may_overlap(tmp_path):
    document = changed(
        with_result(
            {"_target_": "Activationsd", "sigmoid": True}, {"_target_": "AsDiscreted", "threshold": 0.4}
        )
    )
    metadata = copy.deepcopy(METADATA)
    metadata["network_data_format"]["outputs"]["pred"]["channel_def"] = {"0": "whole", "1": "core"}
    spec = read_bundle(bundle(tmp_path / "b", document, metadata=metadata), name="b").spec
    assert [label.name for label in spec.labels] == ["whole", "core"]
    assert (spec.head.kind, spec.head.threshold, spec.head.priority) == ("sigmoid", 0.4, (1, 2))


def test_bundles_of_the_model_zoo_are_read_whole_or_refused(data_dir):
    answers = {}
    for folder in sorted((data_dir / "model_zoo_configs").iterdir()):
        try:
            answers[folder.name] = read_configuration(folder, name="zoo")[0]
        except ModelError as error:
            answers[folder.name] = str(error)
    assert len(answers) == 19
    assert {name for name, answer in answers.items() if not isinstance(answer, str)} == {
        "pediatric_abdominal_ct_segmentation",
        "spleen_ct_segmentation",
        "swin_unetr_btcv_segmentation",
        "ventricular_short_axis_3label",
        "wholeBody_ct_segmentation",
    }
    assert "got scripts.my_transforms.ConcatImages" in answers["renalStructures_CECT_segmentation"]
    assert answers["wholeBody_ct_segmentation"].spacing == (1.5, 1.5, 1.5)  # a choice by `highres`
    assert answers["pediatric_abdominal_ct_segmentation"].foreground.above == -250
