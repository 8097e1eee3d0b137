"""A bundle's JSON becomes a specification, and nothing in it is run."""

import copy
import json

import pytest

from segtrust.adapters.bundle import read_bundle
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


def bundle(folder, inference):
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs" / "metadata.json").write_text(json.dumps(METADATA))
    (folder / "configs" / "inference.json").write_text(json.dumps(inference))
    (folder / "models" / "model.pt").write_bytes(b"weights")
    return folder


def test_a_bundle_of_plain_values_is_read(tmp_path):
    spec, weights = read_bundle(bundle(tmp_path / "b", INFERENCE), name="spleen")
    assert weights.name == "model.pt"
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
    changed["preprocessing"]["transforms"][3] = {"_target_": "NormalizeIntensityd", "nonzero": True}
    with pytest.raises(ModelError, match="the normalisation included"):
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
        (with_step({"_target_": "NormalizeIntensityd"}), "must normalise once, got NormalizeInt"),
        (with_step("$monai.transforms.Flipd('image')"), r"got .\$monai"),
        (with_step({"_target_": "Flipd", "_disabled_": "$True"}), "got Flipd"),
        (lambda d: d.update(preprocessing="$@a + @b"), "`preprocessing` .* must list its transforms"),
        (with_result({"_target_": "Activationsd", "sigmoid": True}), "must be a softmax, got sigmoid=True"),
        (with_result({"_target_": "AsDiscreted", "threshold": 0.5}), "must be an argmax, got threshold=0.5"),
        (with_result({"_target_": "KeepLargestConnectedComponentd"}), "got KeepLargestConnectedComponentd"),
        (with_result({"_target_": "Lambdad", "func": "$lambda x: 1 - x"}), "got Lambdad"),
        (lambda d: d["inferer"].update(_target_="SimpleInferer"), "SlidingWindowInferer, got SimpleInferer"),
    ],
)  # fmt: skip
def test_what_is_not_done_here_is_refused_and_not_left_out(change, words, tmp_path):
    with pytest.raises(ModelError, match=words):
        read_bundle(bundle(tmp_path / "b", changed(change)), name="spleen")


def test_step_that_is_switched_off_counts_for_nothing(tmp_path):
    document = changed(with_step({"_target_": "Flipd", "_disabled_": True}))
    assert read_bundle(bundle(tmp_path / "b", document), name="spleen")[0].patch == (96, 96, 96)


def test_plain_references_are_looked_up(tmp_path):
    document = changed(lambda d: d["inferer"].update(roi_size="@sizes#window", overlap="@overlap"))
    document |= {"sizes": {"window": [64, "@side", 32]}, "side": 48, "overlap": 0.4}
    spec, _ = read_bundle(bundle(tmp_path / "b", document), name="spleen")
    assert (spec.patch, spec.overlap) == ((64, 48, 32), 0.4)


@pytest.mark.parametrize("value", ["@missing", "@a", "$@sizes"], ids=["missing", "circle", "code"])
def test_reference_that_leads_nowhere_is_refused(value, tmp_path):
    document = changed(lambda d: d["inferer"].update(roi_size=value)) | {"a": "@b", "b": "@a"}
    with pytest.raises(ModelError, match=r"inferer\.roi_size` of the bundle must be plain values"):
        read_bundle(bundle(tmp_path / "b", document), name="spleen")


def test_bundles_of_the_model_zoo_are_read_whole_or_refused(data_dir, tmp_path):
    answers = {}
    for folder in sorted((data_dir / "model_zoo_configs").iterdir()):
        if not (folder / "inference.json").is_file():
            continue
        copied = tmp_path / folder.name
        (copied / "models").mkdir(parents=True)
        (copied / "models" / "model.pt").write_bytes(b"weights")
        (copied / "configs").mkdir()
        for name in ("inference.json", "metadata.json"):
            (copied / "configs" / name).write_bytes((folder / name).read_bytes())
        try:
            answers[folder.name] = read_bundle(copied, name="zoo")[0].n_classes
        except ModelError as error:
            answers[folder.name] = str(error)
    assert {name for name, answer in answers.items() if isinstance(answer, int)} == {
        "spleen_ct_segmentation",
        "swin_unetr_btcv_segmentation",
    }
    assert "got scripts.my_transforms.ConcatImages" in answers["renalStructures_CECT_segmentation"]
