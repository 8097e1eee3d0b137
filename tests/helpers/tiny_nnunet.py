"""Results folders of nnU-Net with tiny networks and random weights, and nnU-Net's own answer to a scan."""

import contextlib
import io
import json
import os
import warnings
from pathlib import Path
from unittest.mock import patch

import nibabel as nib
import numpy as np
import torch

os.environ.setdefault("nnUNet_def_n_proc", "1")  # read when nnU-Net is imported: its threads would only wait
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

HIPPOCAMPUS = (
    Path(__file__).parents[2].resolve().parent / "shared/data/nnunet_hippocampus/Dataset004_Hippocampus"
    "/nnUNetTrainerTiny__nnUNetPlans__3d_fullres"
)
"""A folder that nnU-Net trained; not everywhere."""


def plans(
    *,
    spacing=(1.0, 1.0, 1.0),
    window=(16, 16, 16),
    transpose=(0, 1, 2),
    reader="SimpleITKIO",
    channels=1,
    use_mask=False,
    **more,
):
    """Plans of one configuration with a network of 2 stages and 4 channels."""
    flat = len(window) == 2
    dim = "2d" if flat else "3d"
    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    return {
        "dataset_name": "Dataset999_Tiny",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": reader,
        "transpose_forward": list(transpose),
        "transpose_backward": [list(transpose).index(axis) for axis in range(3)],
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            str(k): {"max": 900.0, "mean": 300.0, "median": 300.0, "min": 0.0, "percentile_00_5": 10.0,
                     "percentile_99_5": 800.0, "std": 150.0}
            for k in range(channels)
        },
        "configurations": {
            ("2d" if flat else "3d_fullres"): {
                "data_identifier": "nnUNetPlans_3d_fullres",
                "preprocessor_name": "DefaultPreprocessor",
                "batch_size": 2,
                "patch_size": list(window),
                "median_image_size_in_voxels": [20.0] * len(window),
                "spacing": list(spacing),
                "normalization_schemes": ["ZScoreNormalization"] * channels,
                "use_mask_for_norm": [use_mask] * channels,
                "resampling_fn_data": "resample_data_or_seg_to_shape",
                "resampling_fn_seg": "resample_data_or_seg_to_shape",
                "resampling_fn_data_kwargs": resampling,
                "resampling_fn_seg_kwargs": {**resampling, "is_seg": True, "order": 1},
                "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
                "resampling_fn_probabilities_kwargs": {**resampling, "order": 1},
                "batch_dice": False,
                "architecture": {
                    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
                    "arch_kwargs": {
                        "n_stages": 2,
                        "features_per_stage": [4, 8],
                        "conv_op": f"torch.nn.modules.conv.Conv{dim}",
                        "kernel_sizes": [[3] * len(window)] * 2,
                        "strides": [[1] * len(window), [2] * len(window)],
                        "n_conv_per_stage": [1, 1],
                        "n_conv_per_stage_decoder": [1],
                        "conv_bias": True,
                        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dim}",
                        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                        "dropout_op": None,
                        "dropout_op_kwargs": None,
                        "nonlin": "torch.nn.LeakyReLU",
                        "nonlin_kwargs": {"inplace": True},
                    },
                    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
                },
                **more,
            }
        },
    }  # fmt: skip


def dataset(*, labels=None, channels=1, regions_class_order=None):
    """Content of ``dataset.json``; two structures unless others are given."""
    document = {
        "channel_names": {str(k): f"T{k + 1}" for k in range(channels)},
        "labels": labels or {"background": 0, "front": 1, "back": 2},
        "numTraining": 3,
        "file_ending": ".nii.gz",
    }
    return document | ({"regions_class_order": regions_class_order} if regions_class_order else {})


def write_results(root, planned, described, *, folds=2, trainer="nnUNetTrainer", mirroring=(0, 1, 2)):
    """A trained configuration with random weights; returns its folder."""
    configuration = next(iter(planned["configurations"]))
    folder = Path(root) / "Dataset999_Tiny" / f"{trainer}__nnUNetPlans__{configuration}"
    for fold in range(folds):
        (folder / f"fold_{fold}").mkdir(parents=True)
        torch.save(
            {
                "network_weights": random_network(planned, described, seed=fold).state_dict(),
                "optimizer_state": {"state": {}, "param_groups": [{"lr": 0.01}]},
                "_best_ema": np.float64(0.5),
                "init_args": {"configuration": configuration, "fold": fold, "device": torch.device("cpu")},
                "trainer_name": trainer,
                "inference_allowed_mirroring_axes": mirroring,
            },
            folder / f"fold_{fold}" / "checkpoint_final.pth",
        )
    (folder / "plans.json").write_text(json.dumps(planned))
    (folder / "dataset.json").write_text(json.dumps(described))
    return folder


def random_network(planned, described, *, seed):
    """The network that nnU-Net builds of plans, with weights that make its classes differ."""
    manager = PlansManager(planned)
    configuration = manager.get_configuration(next(iter(planned["configurations"])))
    torch.manual_seed(seed)
    network = get_network_from_plans(
        configuration.network_arch_class_name,
        configuration.network_arch_init_kwargs,
        configuration.network_arch_init_kwargs_req_import,
        len(described["channel_names"]),
        manager.get_label_manager(described).num_segmentation_heads,
        deep_supervision=False,
    )
    with torch.no_grad():
        for layer in network.decoder.seg_layers:  # so that no class wins everywhere
            layer.weight -= layer.weight.mean(dim=1, keepdim=True)
    return network


def write_scan(folder, name="case", *, shape=(20, 14, 16), affine=None, channels=1, seed=0, margin=0):
    """A scan of blobs, one file per channel as nnU-Net wants them; ``margin`` voxels of zero around it."""
    rng = np.random.default_rng(seed)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for channel in range(channels):
        coarse = rng.normal(300, 120, [-(-size // 4) for size in shape])
        values = np.kron(coarse, np.ones((4, 4, 4)))[tuple(slice(size) for size in shape)]
        values = np.clip(values + rng.normal(0, 20, shape), 1, None).astype(np.int16)
        if margin:
            inner = np.zeros(shape, bool)
            inner[margin:-margin, margin:-margin, margin:-margin] = True
            values[~inner] = 0
        path = folder / f"{name}_{channel:04d}.nii.gz"
        nib.save(nib.Nifti1Image(values, np.eye(4) if affine is None else affine), path)
        files.append(path)
    return files


@contextlib.contextmanager
def nnunet_predictor(folder, *, mirroring=True, folds=None):
    """nnU-Net's own predictor, which says nothing meanwhile."""
    trainers = {"nnUNet_extTrainer": str(HIPPOCAMPUS.parents[1])}  # nnU-Net itself imports the trainer
    with (
        patch.dict(os.environ, trainers),
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        predictor = nnUNetPredictor(
            tile_step_size=0.5,
            use_gaussian=True,
            use_mirroring=mirroring,
            device=torch.device("cpu"),
            allow_tqdm=False,
        )
        predictor.initialize_from_trained_model_folder(str(folder), use_folds=folds)
        yield predictor


def nnunet_answer(folder, files, *, mirroring=True, folds=None):
    """Mask ``(X, Y, Z)`` and probabilities ``(K, X, Y, Z)`` of nnU-Net's own predictor."""
    with nnunet_predictor(folder, mirroring=mirroring, folds=folds) as predictor:
        plain, properties, (mask, probs) = _answers(predictor, files, (False, True))
        out = Path(files[0]).parent / "nnunet-mask.nii.gz"
        predictor.plans_manager.image_reader_writer_class().write_seg(plain, str(out), properties)
    assert np.array_equal(mask, plain)
    return np.asarray(nib.load(out).dataobj), probs.transpose(0, 3, 2, 1)


def nnunet_mask(folder, files, *, mirroring, probabilities):
    """Mask of nnU-Net's own predictor, axes in its order; with or without probabilities on the way."""
    with nnunet_predictor(folder, mirroring=mirroring) as predictor:
        mask, _, *_ = _answers(predictor, files, (probabilities,))
    return mask[0] if probabilities else mask


def _answers(predictor, files, wanted):
    """What nnU-Net exports of one prediction, with probabilities or without; its properties come second."""
    manager, configuration = predictor.plans_manager, predictor.configuration_manager
    preprocessor = configuration.preprocessor_class(verbose=False)
    data, _, properties = preprocessor.run_case(
        [str(path) for path in files], None, manager, configuration, predictor.dataset_json
    )
    logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data))
    first, *others = (
        convert_predicted_logits_to_segmentation_with_correct_shape(
            logits, manager, configuration, predictor.label_manager, properties, probs
        )
        for probs in wanted
    )
    return first, properties, *others


def label_of(folder, image):
    """A label map beside an image: nnU-Net's own mask of it."""
    mask, _ = nnunet_answer(folder, [image], mirroring=False)
    path = image.parent / "labels" / image.name.replace("_0000", "")
    path.parent.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(mask, nib.load(image).affine), path)
    return path
