"""Folders of probability volumes and labels as nnU-Net and others leave them, small and made up."""

import json

import nibabel as nib
import nrrd
import numpy as np

__all__ = ["AFFINE", "FORMS", "made_volume", "write_cohort", "write_volume_as"]

SHAPE = (12, 10, 8)  # three different lengths: a swapped axis cannot hide
AFFINE = np.array([[-1.0, 0, 0, 30], [0, 1.5, 0, -20], [0, 0, 2.0, 5], [0, 0, 0, 1]])  # x runs to the left


def made_volume(seed, *, sharp=6.0, noise=1.0):
    """Probabilities ``(3, X, Y, Z)`` and a label: two blocks one above the other, blurred and disturbed."""
    rng = np.random.default_rng(seed)
    x, y, z = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    inside = 2.5 - np.maximum(abs(x - 6 + rng.normal(0, 0.3)), abs(y - 5))
    logits = np.stack([-inside, np.where(z < 4, inside, -4.0), np.where(z < 4, -4.0, inside)])
    truth = np.argmax(logits + rng.normal(0, 0.4, logits.shape), axis=0).astype(np.uint8)
    logits = sharp * (logits + rng.normal(0, noise * 0.3, logits.shape))
    e = np.exp(logits - logits.max(axis=0))
    return (e / e.sum(axis=0)).astype(np.float32), truth


def _npz(folder, name, probs):
    np.savez_compressed(folder / f"{name}.npz", probabilities=probs.transpose(0, 3, 2, 1))
    nib.save(nib.Nifti1Image(probs.argmax(0).astype(np.uint8), AFFINE), folder / f"{name}.nii.gz")
    (folder / f"{name}.pkl").write_bytes(b"must not be opened")


def _nifti(folder, name, probs):
    nib.save(nib.Nifti1Image(np.moveaxis(probs, 0, -1), AFFINE), folder / f"{name}.nii.gz")


def _nrrd(folder, name, probs):
    directions = np.vstack([[np.nan] * 3, (AFFINE[:3, :3] * [[-1], [-1], [1]]).T])
    header = {
        "space": "left-posterior-superior",
        "space directions": directions,
        "space origin": AFFINE[:3, 3] * [-1, -1, 1],
        "kinds": ["list", "domain", "domain", "domain"],
    }
    nrrd.write(str(folder / f"{name}.nrrd"), probs, header)


def _numbered(folder, name, probs):
    for k, one in enumerate(probs):
        nib.save(nib.Nifti1Image(one, AFFINE), folder / f"{name}_{k}.nii.gz")


def _inner(folder, name, probs):
    (folder / name).mkdir()
    for k, one in enumerate(probs):
        nib.save(nib.Nifti1Image(one, AFFINE), folder / name / f"class_{k}.nii.gz")


FORMS = {"npz": _npz, "nifti": _nifti, "nrrd": _nrrd, "numbered": _numbered, "inner": _inner}


def write_volume_as(form, folder, name, probs):
    """Write one volume in one of the forms that can be read."""
    folder.mkdir(parents=True, exist_ok=True)
    FORMS[form](folder, name, probs)


def write_cohort(root, n, *, form="npz", **options):
    """``labelsTr``, ``imagesTr``, ``pred`` and ``dataset.json`` of n scans; returns (pred, labels)."""
    pred, labels, images = root / "pred", root / "labelsTr", root / "imagesTr"
    for folder in (pred, labels, images):
        folder.mkdir(parents=True)
    for k in range(n):
        probs, truth = made_volume(k, **options)
        write_volume_as(form, pred, f"scan{k:02d}", probs)
        nib.save(nib.Nifti1Image(truth, AFFINE), labels / f"scan{k:02d}.nii.gz")
        image = (probs[1] * 100 + np.arange(SHAPE[0])[:, None, None]).astype(np.float32)
        nib.save(nib.Nifti1Image(image, AFFINE), images / f"scan{k:02d}_0000.nii.gz")
    labels_of = {"background": 0, "lower": 1, "upper": 2}
    (root / "dataset.json").write_text(json.dumps({"labels": labels_of}))
    return pred, labels
