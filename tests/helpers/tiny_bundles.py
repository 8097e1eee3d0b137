"""Bundles and work folders of Auto3DSeg with tiny networks and random weights, and MONAI's own answers."""

import json
import warnings
from pathlib import Path

import torch
from monai.bundle import ConfigParser
from monai.networks.nets import SegResNetDS, UNet

from segtrust.inference.members import load_weights

NETWORK = {
    "_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 3, "channels": [4, 8],
    "strides": [2], "num_res_units": 1,
}  # fmt: skip
METADATA = {
    "network_data_format": {
        "inputs": {"image": {"num_channels": 1}},
        "outputs": {"pred": {"channel_def": {"0": "background", "1": "front", "2": "back"}}},
    }
}
LOAD = [{"_target_": "LoadImaged", "keys": "image"}, {"_target_": "EnsureChannelFirstd", "keys": "image"}]
GRID = [
    {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
    {"_target_": "Spacingd", "keys": "image", "pixdim": [1.5, 1.2, 2.0], "mode": "bilinear"},
]
POST = [
    {"_target_": "Activationsd", "keys": "pred", "softmax": True},
    {
        "_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image",
        "nearest_interp": False, "to_tensor": True,
    },
    {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
]  # fmt: skip


def write_bundle(folder, steps, *, inferer=None, network=NETWORK, members=1):
    """A bundle whose preprocessing are ``steps``."""
    inference = {
        "network_def": network,
        "preprocessing": {"_target_": "Compose", "transforms": [*LOAD, *steps]},
        "inferer": inferer
        or {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 16], "sw_batch_size": 1, "overlap": 0.5},
        "postprocessing": {"_target_": "Compose", "transforms": POST},
    }
    folder = Path(folder)
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs" / "metadata.json").write_text(json.dumps(METADATA))
    (folder / "configs" / "inference.json").write_text(json.dumps(inference))
    arguments = {key: value for key, value in network.items() if key != "_target_"}
    for k in range(members):
        torch.manual_seed(k)
        name = "model.pt" if members == 1 else f"model_{k}.pt"
        torch.save(UNet(**arguments).state_dict(), folder / "models" / name)
    return folder


def monai_answer(folder, scan):
    """Mask ``(X, Y, Z)`` that MONAI makes of a scan when it runs the bundle."""
    parser = ConfigParser()
    parser.read_config(str(folder / "configs" / "inference.json"))
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of readers that MONAI looks for
        network = parser.get_parsed_content("network_def").eval()
        network.load_state_dict(load_weights(folder / "models" / "model.pt"))
        data = parser.get_parsed_content("preprocessing")({"image": str(scan)})
        data["pred"] = parser.get_parsed_content("inferer")(data["image"][None], network)[0]
        return parser.get_parsed_content("postprocessing")(data)["pred"][0].numpy()


def write_auto3dseg(root, *, folds=2, algorithm="segresnet", **changes):
    """A work folder of Auto3DSeg; ``changes`` go into the configuration of every checkpoint."""
    for fold in range(folds):
        network = {
            "_target_": "SegResNetDS", "init_filters": 8, "blocks_down": [1, 1], "norm": "INSTANCE_NVFUSER",
            "in_channels": 1, "out_channels": 3, "dsdepth": 2,
        }  # fmt: skip
        config = {
            "bundle_root": "/somewhere/else", "network": network, "roi_size": [16, 16, 16],
            "input_channels": 1,
            "output_classes": 3, "class_names": ["front", "back"], "class_index": None, "sigmoid": False,
            "modality": "mri", "normalize_mode": "meanstd", "intensity_bounds": [-250, 250], "resample": True,
            "resample_resolution": [1.0, 1.0, 1.5], "orientation_ras": True, "crop_foreground": True,
            "extra_modalities": {}, "fold": fold, **changes,
        }  # fmt: skip
        torch.manual_seed(fold)
        plain = {key: value for key, value in config["network"].items() if key != "_target_"}
        state = SegResNetDS(**{**plain, "norm": "INSTANCE"}).state_dict()
        folder = Path(root) / f"{algorithm}_{fold}" / "model"
        folder.mkdir(parents=True)
        torch.save(
            {"state_dict": state, "config": config, "epoch": 3, "best_metric": 0.5}, folder / "model.pt"
        )
    return Path(root)
