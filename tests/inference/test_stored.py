"""Members that are files of their own, and probabilities alone, answer like the model they came from."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from phantoms import make_blob, publish_random_version, spec_of, write_scan
from segtrust.errors import ModelError, ScanError, SettingError
from segtrust.inference import Predictor
from segtrust.inference.members import load_member
from segtrust.inference.stored import STORED, StoredPredictor, open_predictor
from segtrust.models import Head, publish_version

SPEC = spec_of(members=1)
UNCALIBRATED = {"calibrator": {"name": "identity"}}


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    return publish_random_version(tmp_path_factory.mktemp("models") / SPEC.name, SPEC)


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    return write_scan(make_blob(), tmp_path_factory.mktemp("scans") / "ball.nii.gz")


@pytest.fixture(scope="module")
def expected(version, scan):
    return Predictor(version).predict(scan)


def test_an_exported_member_answers_like_its_weights(version, scan, expected, tmp_path):
    program = torch.export.export(load_member(SPEC, version.members[0]), (torch.zeros(1, 1, *SPEC.patch),))
    torch.export.save(program, tmp_path / "a.pt2")
    network = {"_target_": "segtrust.adapters.networks.ExportedNetwork"}
    spec = replace(SPEC, name="exported", network=network)
    published = publish_version(tmp_path / "exported", spec, [tmp_path / "a.pt2"], UNCALIBRATED, {})
    found = open_predictor(published).predict(scan)
    assert np.allclose(found.probs, expected.probs, atol=1e-5)
    assert np.mean(found.mask != expected.mask) < 1e-3


def stored(folder, scan, probs, *, name=None, **changes):
    """A model folder whose only knowledge is one volume."""
    spec = replace(SPEC, name="stored", network={"_target_": STORED}, members=0, **changes)
    version = publish_version(folder / "stored", spec, [], UNCALIBRATED, {})
    (folder / "stored" / "volumes").mkdir()
    put(folder / "stored" / "volumes", name or scan.name.removesuffix(".nii.gz"), probs)
    return version


def put(folder, name, probs):
    """A volume with its header, whose voxels lie where those of the phantoms do."""
    nib.save(nib.Nifti1Image(np.moveaxis(probs, 0, -1), make_blob().affine), folder / f"{name}.nii.gz")


def test_stored_probabilities_give_mask_maps_and_scores(scan, expected, tmp_path):
    found = open_predictor(stored(tmp_path, scan, expected.probs)).predict(scan)
    assert np.array_equal(found.mask, expected.mask)
    assert np.allclose(found.entropy, expected.entropy, atol=1e-5)
    assert found.scores.entropy == pytest.approx(expected.scores.entropy, abs=1e-5)
    assert found.scores.pairwise_dice is None  # one sample has no pairs
    assert json.loads(json.dumps(found.params()))["members"] == 1


def test_a_scan_without_volume_is_refused(scan, expected, tmp_path):
    predictor = open_predictor(stored(tmp_path, scan, expected.probs))
    other = write_scan(make_blob(), tmp_path / "other.nii.gz")
    with pytest.raises(ScanError, match="there must be probabilities of 'other' in `volumes` of 'stored'"):
        predictor.predict(other)


def test_stored_volumes_have_no_mirrored_views(scan, expected, tmp_path):
    with pytest.raises(SettingError, match="need a network to run; 'stored' is a folder of stored"):
        open_predictor(stored(tmp_path, scan, expected.probs)).views(scan)


def test_a_volume_of_another_grid_is_refused(scan, expected, tmp_path):
    predictor = open_predictor(stored(tmp_path, scan, expected.probs[:, 1:]))
    with pytest.raises(ScanError, match=r"grid of the scan ball\.nii\.gz, 20 x 18 x 16 .*, got 19 x 18 x 16"):
        predictor.predict(scan)


def test_a_sigmoid_model_is_refused(scan, expected, tmp_path):
    version = stored(tmp_path, scan, expected.probs, head=Head("sigmoid", (1, 2)))
    with pytest.raises(ModelError, match="must be those of a softmax"):
        StoredPredictor(version)


LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def test_a_volume_in_another_order_answers_on_the_scan_s_grid(scan, expected, tmp_path):
    version = stored(tmp_path, scan, expected.probs)
    affine = make_blob().affine @ LPS
    affine[:3, 3] = make_blob().affine[:3] @ [19, 17, 0, 1]
    image = nib.Nifti1Image(np.moveaxis(expected.probs, 0, -1)[::-1, ::-1], affine)
    nib.save(image, tmp_path / "stored" / "volumes" / "ball.nii.gz")
    found = open_predictor(version).predict(scan)
    assert np.array_equal(found.mask, expected.mask)
    assert np.allclose(found.affine, expected.affine)


@pytest.mark.parametrize(
    ("scan_name", "volume"),
    [
        ("case_0000", "case_0000"),
        ("case_0000", "case"),
        ("case", "case_0000"),
        ("p.1", "p.1"),
        ("1.2.840.10", "1.2.840.10"),
    ],
)
def test_volumes_are_found_under_the_names_that_nnu_net_gives_them(scan_name, volume, expected, tmp_path):
    scan = write_scan(make_blob(), tmp_path / f"{scan_name}.nii.gz")
    version = stored(tmp_path, scan, expected.probs, name=volume)
    put(tmp_path / "stored" / "volumes", "p", expected.probs[[0, 2, 1]])
    assert np.array_equal(open_predictor(version).predict(scan).mask, expected.mask)


def test_a_volume_of_other_classes_is_refused(scan, expected, tmp_path):
    probs = np.concatenate([expected.probs, np.zeros_like(expected.probs[:1])])
    with pytest.raises(ScanError, match="'ball' must be of 3 classes as 'stored' has, got 4"):
        open_predictor(stored(tmp_path, scan, probs)).predict(scan)


def test_an_npz_without_a_mask_is_not_served(scan, expected, tmp_path):
    version = stored(tmp_path, scan, expected.probs)
    volumes = tmp_path / "stored" / "volumes"
    (volumes / "ball.nii.gz").unlink()
    np.savez(volumes / "ball.npz", probabilities=expected.probs.transpose(0, 3, 2, 1))
    with pytest.raises(ScanError, match=r"ball\.npz does not say where its voxels lie"):
        open_predictor(version).predict(scan)
