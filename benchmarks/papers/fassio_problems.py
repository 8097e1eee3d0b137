"""The three problems of the CaPE benchmark: what is shown to the network, and what is really true."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.networks.nets import UNet
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

Array = NDArray[Any]

CROP = slice(40, 88)
"""Centre of a slice, 48 x 48: 99.2 % of all marked pixels."""
_BATCH = 16


@dataclass(frozen=True)
class Part:
    """Images ``(n, 1, H, W)``, chances of the label ``(n, *spatial)``, what was seen of them, patients."""

    images: Tensor
    chance: Array
    labels: Tensor
    patients: Array

    def chosen(self, rows: Array) -> "Part":
        """Some of the images."""
        return Part(self.images[rows], self.chance[rows], self.labels[rows], self.patients[rows])


@dataclass(frozen=True)
class Problem:
    """A network and the stage's settings for it; ``draw`` makes fit and watch, whose labels follow a seed."""

    name: str
    network: Callable[[], nn.Module]
    draw: Callable[[int], tuple[Part, Part]]
    test: Callable[[], Part]
    stage: dict[str, Any]
    base: dict[str, Any]


def batches_of(
    part: Part, seed: int, *, flip: bool = True
) -> Callable[[int], Iterator[tuple[Tensor, Tensor]]]:
    """Shuffled batches of an epoch, each image mirrored at random; the same ones for the same epoch."""

    def of_epoch(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(part.images))
        for begin in range(0, len(order), _BATCH):
            rows = order[begin : begin + _BATCH]
            images, labels = part.images[rows], part.labels[rows]
            for axis in (-1, -2) if flip else ():
                turned = torch.from_numpy(rng.random(len(rows)) < 0.5)
                images = torch.where(turned.view(-1, 1, 1, 1), images.flip(axis), images)
                if labels.ndim == 3:
                    labels = torch.where(turned.view(-1, 1, 1), labels.flip(axis), labels)
            yield images, labels

    return of_epoch


def share_of(part: Part, share: float) -> Part:
    """Images of the first share of the patients, in the order of their hashes."""
    patients = sorted(set(part.patients), key=_hash)
    kept = patients[: max(1, round(share * len(patients)))]
    return part.chosen(np.flatnonzero(np.isin(part.patients, kept)))


def _hash(patient: str) -> str:
    return hashlib.sha256(f"fassio {patient}".encode()).hexdigest()


def _u_net() -> nn.Module:
    return UNet(2, 1, 2, (8, 16, 32, 64), (2, 2, 2), norm="instance")


def _classifier() -> nn.Module:
    """Two logits for a slice, as a map of one voxel."""
    layers: list[nn.Module] = []
    for before, after in ((1, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(before, after, 5, 2, 2), nn.InstanceNorm2d(after, affine=True), nn.ReLU()]
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 2), nn.Unflatten(1, (2, 1))
    )


def synthetic(seed: int) -> tuple[Part, Part, Part]:
    """Segmentations with known chances: 24 images to fit, 12 to watch, 200 to test, 32 x 32.

    The chance is sigmoid(3 g - 1), g the image behind a Gaussian of 2 pixels scaled to variance 1; labels of
    pixels are independent.
    """
    rng = np.random.default_rng([seed, 1])
    images = rng.normal(size=(236, 32, 32))
    smooth = ndimage.gaussian_filter(images, (0, 2, 2), mode="wrap")
    chance = 1 / (1 + np.exp(1 - 3 * smooth / smooth.std()))
    labels = torch.from_numpy(rng.random(chance.shape) < chance).long()
    names = np.array([f"{seed}-{i}" for i in range(len(images))])
    part = Part(torch.from_numpy(images[:, None]).float(), chance, labels, names)
    return part.chosen(np.arange(24)), part.chosen(np.arange(24, 36)), part.chosen(np.arange(36, 236))


@lru_cache(maxsize=2)
def _nodules(path: Path) -> tuple[Tensor, Array, Array]:
    """One slice of every nodule: images, masks of the four raters ``(n, 4, H, W)``, patients."""
    with np.load(path) as file:
        keys = [f"{p}/{n}" for p, n in zip(file["patient"], file["nodule"], strict=True)]
        rows = np.sort(np.unique(keys, return_index=True)[1])
        images = file["images"][rows][:, CROP, CROP].astype(np.float32)
        bits = file["masks_bits"][rows][:, CROP, CROP]
        patients = file["patient"][rows].astype(str)
    masks = np.stack([(bits >> k) & 1 for k in range(4)], axis=1)
    return torch.from_numpy(images / 127.5 - 1)[:, None], masks, patients


def _part(data: Path, role: str, seed: int, *, per_slice: bool) -> Part:
    images, masks, patients = _nodules(data / f"{role}.npz")
    if per_slice:
        masks = masks.any(axis=(2, 3)).astype(np.uint8)[..., None]
    rater = np.random.default_rng([seed, 2]).integers(0, 4, len(masks))
    labels = torch.from_numpy(masks[np.arange(len(masks)), rater]).long()
    return Part(images, masks.mean(axis=1), labels, patients)


def _halves(data: Path, seed: int, *, per_slice: bool) -> tuple[Part, Part]:
    """Train without a fifth of its patients, and that fifth."""
    part = _part(data, "train", seed, per_slice=per_slice)
    watched = np.array([int(_hash(p)[:8], 16) % 5 == 0 for p in part.patients])
    return part.chosen(np.flatnonzero(~watched)), part.chosen(np.flatnonzero(watched))


_FREE = {"least_voxels": 1, "least_scans": 1, "batch": _BATCH}  # bins are chosen by the watched loss instead


def nodules(data: Path, *, per_slice: bool) -> Problem:
    """Lung nodules: pixels that a rater marks, or slices in which a rater marks anything."""
    whole = {"band": 0, "background": 1.0, "window": 0.05}
    near = {"band": 10, "background": 0.01, "window": 0.01}
    stage = {**_FREE, **(whole if per_slice else near), "epochs": 6}
    return Problem(
        "slices" if per_slice else "pixels",
        _classifier if per_slice else _u_net,
        lambda seed: _halves(data, seed, per_slice=per_slice),
        lambda: _part(data, "test", 0, per_slice=per_slice),
        stage,
        {**stage, "target": "labels", "epochs": 12, "learning_rate": 2e-3},
    )


def made_up(seed: int) -> Problem:
    """The synthetic problem of one seed."""
    fit, watch, test = synthetic(seed)
    stage = {**_FREE, "mass": "voxels", "band": 0, "background": 1.0, "window": 0.05, "epochs": 12}
    base = {**stage, "target": "labels", "epochs": 40, "learning_rate": 3e-3}
    return Problem("synthetic", _u_net, lambda _: (fit, watch), lambda: test, stage, base)
