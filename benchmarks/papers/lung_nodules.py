"""Lung nodules with four raters each, cut to the middle 64 x 64 pixels: training cases and test sets."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from segtrust.inference import Scan
from segtrust.models import Head, Intensity, Label, ModelSpec
from segtrust.stochastic import n_channels
from segtrust.training.cases import Case

__all__ = ["FOLDER", "RATERS", "SIZE", "Slices", "cases_of", "digest", "scan_of", "spec_of"]

FOLDER = Path(__file__).parents[2] / ".." / "shared" / "data" / "lung_nodules"
RATERS = 4
SIZE = 64


@dataclass(frozen=True)
class Slices:
    """Slices of one role: images ``(n, 64, 64)`` in [0, 1], masks ``(n, 4, 64, 64)``, patient of each."""

    images: NDArray[np.float32]
    masks: NDArray[np.uint8]
    patients: NDArray[np.str_]

    @classmethod
    def read(cls, role: str, folder: Path = FOLDER) -> Self:
        """Read ``train``, ``val`` or ``test``."""
        with np.load(folder / f"{role}.npz") as file:
            edge = (file["images"].shape[1] - SIZE) // 2
            middle = (slice(None), slice(edge, edge + SIZE), slice(edge, edge + SIZE))
            images, bits = file["images"][middle], file["masks_bits"][middle]
            masks = np.stack([(bits >> rater) & 1 for rater in range(RATERS)], axis=1)
            return cls(images.astype(np.float32) / 255, masks, file["patient"])

    def of(self, chosen: NDArray[np.bool_]) -> "Slices":
        """Some of the slices."""
        return Slices(self.images[chosen], self.masks[chosen], self.patients[chosen])

    def divided(self, share: float) -> tuple["Slices", "Slices"]:
        """Two parts by patient, the second with about this share, by a hash: the same in every run."""
        apart = {p: _unit_hash(f"inside train|{p}") < share for p in np.unique(self.patients)}
        second = np.array([apart[p] for p in self.patients])
        return self.of(~second), self.of(second)

    def empty_raters(self) -> NDArray[np.int64]:
        """How many of the four masks of each slice are empty."""
        return (~self.masks.any(axis=(2, 3))).sum(axis=1)


def _unit_hash(text: str) -> float:
    return int(hashlib.sha256(text.encode()).hexdigest()[:12], 16) / 16**12


def cases_of(slices: Slices, raters: int, seed: int = 0) -> list[Case]:
    """Training cases: one per slice and rater that is used.

    Args:
        slices: of the role train.
        raters: how many of a slice's raters are used, drawn per slice without replacement; 1 gives every
            slice one label for good, as in most data sets.
        seed: of the draw.

    Returns:
        ``raters`` cases per slice, which share their image.
    """
    rng = np.random.default_rng(seed)
    cases = []
    for index, (image, masks, patient) in enumerate(
        zip(slices.images, slices.masks, slices.patients, strict=True)
    ):
        plane = torch.from_numpy(image)[None]
        cases += [
            Case(f"{index:05d}-{rater}", str(patient), plane, torch.from_numpy(masks[rater].astype(np.int64)))
            for rater in rng.permutation(RATERS)[:raters]
        ]
    return cases


def spec_of(
    name: str,
    *,
    rank: int | None = None,
    out_channels: int | None = None,
    dropout: float = 0.0,
    members: int = 1,
) -> ModelSpec:
    """The one backbone of the benchmark with another head or dropout rate."""
    channels = out_channels or (2 if rank is None else n_channels(2, rank))
    return ModelSpec(
        name=name,
        labels=(Label("lung nodule", 1, 1, (230, 159, 0)),),
        network={
            "_target_": "monai.networks.nets.BasicUNet",
            "spatial_dims": 2,
            "in_channels": 1,
            "out_channels": channels,
            "features": [8, 8, 16, 32, 64, 8],
            "norm": "batch",
            "dropout": dropout,
        },
        patch=(SIZE, SIZE),
        channels=("CT",),
        spatial_dims=2,
        intensity=Intensity("window", 0.0, 255.0),
        head=Head(rank=rank),
        members=members,
        modality="CT",
    )


def digest(slices: Iterable[Slices]) -> str:
    """Name the content of some roles."""
    found = hashlib.sha256()
    for role in slices:
        for array in (role.images, role.masks):
            found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:16]


def scan_of(image: NDArray[np.float32]) -> Scan:
    """A crop as a scan of one slice; the voxel size is nominal, since the source does not give it."""
    return Scan(torch.from_numpy(255 * image)[None, :, :, None], np.eye(4), (1.0, 1.0, 1.0))
