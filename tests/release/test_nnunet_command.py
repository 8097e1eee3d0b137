"""Adopted folders against nnU-Net's own command, and folders of the form of TotalSegmentator."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from segtrust import cli
from segtrust.inference.predictor import Predictor
from segtrust.models import open_version
from tiny_nnunet import dataset, nnunet_answer, plans, write_results, write_scan

ORGANS = 24  # as in a part of TotalSegmentator


@pytest.mark.slow
def test_mask_is_that_of_the_command_of_nnunet(tmp_path):
    results = write_results(tmp_path / "results", plans(spacing=(1.4, 1.0, 1.2)), dataset())
    scan = write_scan(tmp_path / "scans")[0]
    command = Path(sys.executable).with_name("nnUNetv2_predict")
    words = ["-i", scan.parent, "-o", tmp_path / "out", "-d", "999", "-c", "3d_fullres", "-f", "0", "1"]
    words += ["-device", "cpu", "-npp", "1", "-nps", "1", "--disable_progress_bar"]
    folders = {
        name: str(tmp_path / "results") for name in ("nnUNet_results", "nnUNet_raw", "nnUNet_preprocessed")
    }
    subprocess.run([command, *words], env=os.environ | folders, check=True, capture_output=True)
    assert cli.main(["adopt", str(results), "--models-dir", str(tmp_path / "models"), "--name", "tiny"]) == 0
    mask = Predictor(open_version(tmp_path / "models" / "tiny")).predict(scan).mask
    theirs = np.asarray(nib.load(tmp_path / "out" / "case.nii.gz").dataobj)
    assert len(np.unique(theirs)) > 1
    assert np.array_equal(mask, theirs)


def totalsegmentator(root):
    """One fold, many classes, a trainer that mirrors nothing, plans as nnU-Net 2.0 wrote them."""
    planned = plans(spacing=(1.5, 1.5, 1.5))
    configuration = planned["configurations"]["3d_fullres"]
    del configuration["architecture"]
    configuration |= {
        "UNet_class_name": "PlainConvUNet", "UNet_base_num_features": 4, "unet_max_num_features": 8,
        "n_conv_per_stage_encoder": [1, 1], "n_conv_per_stage_decoder": [1], "num_pool_per_axis": [1, 1, 1],
        "pool_op_kernel_sizes": [[1, 1, 1], [2, 2, 2]], "conv_kernel_sizes": [[3, 3, 3], [3, 3, 3]],
        "normalization_schemes": ["CTNormalization"],
    }  # fmt: skip
    described = dataset(labels={"background": 0} | {f"organ_{k}": k for k in range(1, ORGANS + 1)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of plans in the older form
        return write_results(
            root, planned, described, folds=1, trainer="nnUNetTrainerNoMirroring", mirroring=None
        )


@pytest.mark.slow
def test_folder_of_the_form_of_totalsegmentator_is_a_model_of_one_member(tmp_path, capsys):
    folder = totalsegmentator(tmp_path)
    scan = write_scan(tmp_path / "scans", shape=(30, 24, 20))
    assert (
        cli.main(["adopt", str(folder.parent), "--models-dir", str(tmp_path / "models"), "--name", "ts"]) == 0
    )
    assert "One member: nothing is known between members." in capsys.readouterr().out
    version = open_version(tmp_path / "models" / "ts")
    assert len(version.spec.labels) == ORGANS
    assert version.spec.network["mirroring"] is None
    prediction = Predictor(version).predict(scan[0])
    mask, _ = nnunet_answer(folder, scan)
    assert np.array_equal(prediction.mask, mask)
    assert prediction.members == 1
