"""A release on made-up scans: what it writes about errors in its bands."""

import json

import nibabel as nib
import numpy as np
import pytest

from phantoms import make_blob, spec_of, write_scan
from segtrust.calibrators import cross_fitted_errors, fit_to_part
from segtrust.evaluate.cases import draw_scan
from segtrust.inference import Predictor
from segtrust.metrics import ObservedErrors
from segtrust.release.publish import release
from segtrust.training.cases import read_labelled
from segtrust.training.loop import Budget
from segtrust.training.run import Recipe

SPLITS = {"train": ["a"], "val": ["b", "c", "d", "e", "f"], "test": ["g", "h"]}


@pytest.fixture
def data(tmp_path):
    """Eight scans of a ball, labelled 1 inside and 2 in a thin shell around it."""
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for seed, scan_id in enumerate("abcdefgh"):
        scan = make_blob(radius=4.0 + 0.2 * seed, seed=seed)
        write_scan(scan, tmp_path / "images" / f"{scan_id}.nii.gz")
        values = scan.data[0].numpy()
        labels = np.where(values > 50, 1, np.where(values > 20, 2, 0)).astype(np.uint8)
        nib.save(nib.Nifti1Image(labels, scan.affine), tmp_path / "labels" / f"{scan_id}.nii.gz")
    (tmp_path / "splits.json").write_text(json.dumps({"splits": SPLITS}), encoding="utf-8")
    return tmp_path


@pytest.mark.slow
def test_a_release_holds_the_errors_observed_on_val_without_the_subject(data, tiny_version, tmp_path):
    recipe = Recipe(spec_of(), Budget(), (0, 1))
    made = release(recipe, tiny_version.members, data, tmp_path / "models" / "tiny", command="test")
    predictor = Predictor(made)
    drawn = [
        draw_scan(predictor, *read_labelled(data, scan_id, made.spec), subject=scan_id, seed=index)
        for index, scan_id in enumerate(SPLITS["val"])
    ]
    fit = fit_to_part(made.calibration["choice"]["name"])
    found, expected = made.calibration["observed"], cross_fitted_errors(drawn, fit)
    assert (found["scans"], found["subjects"]) == (5, 5)
    assert ObservedErrors.from_json(found).rate(0.05, 1.0) == pytest.approx(
        expected.rate(0.05, 1.0), abs=0.001
    )
