"""What a release writes about errors in its bands, on made-up scans."""

import json

import nibabel as nib
import numpy as np
import pytest

from phantoms import make_blob, publish_random_version, write_scan
from segtrust import cli
from segtrust.calibrators import cross_fitted_errors, fit_distance_temperature
from segtrust.errors import ModelError
from segtrust.evaluate.cases import draw_scan
from segtrust.evaluate.release import observe_bands
from segtrust.inference import Predictor
from segtrust.metrics import ObservedErrors
from segtrust.models import list_versions, open_version
from segtrust.training.cases import read_labelled

VAL = [f"s{k}" for k in range(5)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Five scans of a ball, labelled 1 inside and 2 in a thin shell around it."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("images", "labels"):
        (folder / name).mkdir()
    for seed, scan_id in enumerate(VAL):
        scan = make_blob(radius=4.0 + 0.3 * seed, seed=seed)
        write_scan(scan, folder / "images" / f"{scan_id}.nii.gz")
        values = scan.data[0].numpy()
        labels = np.where(values > 50, 1, np.where(values > 20, 2, 0)).astype(np.uint8)
        nib.save(nib.Nifti1Image(labels, scan.affine), folder / "labels" / f"{scan_id}.nii.gz")
    splits = {"splits": {"train": [], "val": VAL, "test": []}}
    (folder / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def drawn(data, tiny_version):
    predictor = Predictor(tiny_version)
    return [
        draw_scan(predictor, *read_labelled(data, scan_id, predictor.spec), subject=scan_id, seed=index)
        for index, scan_id in enumerate(VAL)
    ]


@pytest.fixture
def calibrated(drawn, tiny_spec, tmp_path):
    """A model folder whose version was calibrated on these scans."""
    folder = tmp_path / "models" / tiny_spec.name
    folder.mkdir(parents=True)
    publish_random_version(folder, tiny_spec, calibrator=fit_distance_temperature(drawn).to_json())
    return folder


def test_a_version_is_published_again_with_what_was_observed(calibrated, data, drawn):
    old = open_version(calibrated)
    new = observe_bands(old, data)
    assert (new.id, new.card["parent"], new.card["note"]) == ("0002", "0001", old.card["note"])
    assert new.calibration["calibrator"] == old.calibration["calibrator"]
    assert [p.read_bytes() for p in new.members] == [p.read_bytes() for p in old.members]
    found, expected = new.calibration["observed"], cross_fitted_errors(drawn, fit_distance_temperature)
    assert (found["scans"], found["subjects"]) == (5, 5)
    assert ObservedErrors.from_json(found).rate(0.05, 1.0) == pytest.approx(
        expected.rate(0.05, 1.0), abs=1e-3
    )


def test_the_command_line_does_it(calibrated, data, capsys):
    words = ["versions", "observe", "tiny", "--models-dir", str(calibrated.parent), "--data", str(data)]
    assert cli.main(words) == 0
    assert "published tiny 0002" in capsys.readouterr().out


def test_scans_that_the_version_was_not_calibrated_on_are_refused(data, tiny_model):
    other = {"name": "distance_temperature", "a": 2.0, "b": 0.0, "d0": 4.0, "s": 1.0}
    version = open_version(tiny_model)
    publish_random_version(tiny_model, version.spec, calibrator=other, seed=3)
    with pytest.raises(ModelError, match=r"must give the calibrator of version 0002.*calibrated on\?"):
        observe_bands(open_version(tiny_model), data)
    assert list_versions(tiny_model) == ["0001", "0002"]
