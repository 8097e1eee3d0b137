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
