"""Where the two structures of a whole head lie: a small network, and the rule by which its word is taken."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from segtrust.errors import ModelError
from segtrust.files.geometry import ras_reordering
from segtrust.inference.members import load_member
from segtrust.inference.scan import PreparedScan, Scan, normalise_intensity, prepare
from segtrust.models import Intensity, ModelSpec, ModelVersion

__all__ = [
    "SIDES",
    "Finder",
    "FinderRule",
    "Sighting",
    "both_views",
    "coarse_scan",
    "finder_input",
    "normalise_head",
    "pair_problem",
    "side_shares",
    "sightings",
]

SIDES = ("left", "right")
_MULTIPLE = 8  # what the network halves its input by
_CLIP = (-3.0, 4.0)
_PART = 0.5  # probability of a voxel that belongs to a part


@dataclass(frozen=True)
class Sighting:
    """What the network saw of one side; ``None`` in ``centre`` and ``views_mm`` where it saw nothing.

    ``centre``: in voxels of the image. ``mass``: sum of the probabilities of the largest part, in voxels.
    ``second``: that of the next largest over that of the largest. ``views_mm``: distance of the places in the
    image and in its mirror image. ``margin_mm``: from the part to the nearest border of the image.
    """

    side: str
    centre: tuple[float, float, float] | None
    mass: float
    peak: float
    second: float
    views_mm: float | None
    margin_mm: float


@dataclass(frozen=True)
class FinderRule:
    """When a side counts as found, and how its crop lies; ``finder.json`` of the network's version.

    ``crops``: name of the model that is run on the crops. ``box_mm``: size of a crop, to the right, front and
    top, before a mask is there; ``from_mass_mm``: from the centre of mass of a left structure to the centre
    of this crop. ``low_margins_mm`` and ``high_margins_mm``: what a crop has around the mask of a left
    structure, to its left, back and bottom, and to its right, front and top. ``apart_mm`` and
    ``leftwards_mm``: allowed range of the distance of the two sides, and of how far the left one lies to the
    left.
    """

    crops: str
    box_mm: tuple[float, float, float]
    from_mass_mm: tuple[float, float, float]
    low_margins_mm: tuple[float, float, float]
    high_margins_mm: tuple[float, float, float]
    mass: tuple[float, float]
    least_peak: float
    most_second: float
    most_views_mm: float
    least_margin_mm: float
    apart_mm: tuple[float, float]
    leftwards_mm: tuple[float, float]
    volume_ml: tuple[float, float]
    most_moved_mm: float

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read ``finder.json``.

        Raises:
            ModelError: if a number is missing or unknown.
        """
        try:
            fields: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in document.items()
            }
            return cls(**fields)
        except TypeError as error:
            raise ModelError(f"finder.json must hold the rule of a search, but {error}.") from error

    def problem(self, seen: Sighting) -> str | None:
        """Why one side does not count as found, in words; ``None`` if it does."""
        if seen.centre is None or seen.peak < self.least_peak:
            return "nothing in this scan looks like it"
        if not self.mass[0] <= seen.mass <= self.mass[1]:
            how = "smaller" if seen.mass < self.mass[0] else "larger"
            return f"what looks like it is {how} than in any head of the search's own test"
        if seen.second > self.most_second:
            return "two places look like it"
        if seen.views_mm is None or seen.views_mm > self.most_views_mm:
            return "the search sees it in another place when the scan is mirrored"
        if seen.margin_mm < self.least_margin_mm:
            return "it lies at the edge of the scan, whose field of view may cut it"
        return None


class Finder:
    """A version of the network with its rule.

    Args:
        version: with the document ``finder.json``.

    Raises:
        ModelError: if weights or rule do not fit.
    """

    def __init__(self, version: ModelVersion) -> None:
        self.version, self.spec = version, version.spec
        self.rule = FinderRule.from_json(version.documents.get("finder.json", {}))
        self._network: nn.Module | None = None

    def search(self, scan: Scan) -> tuple[tuple[Sighting, ...], NDArray[np.float64]]:
        """Look for both sides.

        Args:
            scan: with known voxel size.

        Returns:
            What was seen, left first, and the affine that takes voxels of the centres to RAS+ millimetres.
        """
        if self._network is None:
            self._network = load_member(self.spec, self.version.members[0])
        image, prepared = finder_input(scan, self.spec)
        assert self.spec.spacing is not None
        with torch.inference_mode():
            views = both_views(self._network, image)
        return sightings(*views, mm=self.spec.spacing[0]), prepared.grid_affine


def pair_problem(left: Sequence[float], right: Sequence[float], rule: FinderRule) -> str | None:
    """Why two places cannot be the two sides of one head, in words; ``None`` if they can.

    Args:
        left: centre in millimetres, to the right, front and top.
        right: of the other.
        rule: holds the ranges.
    """
    away = np.asarray(right) - np.asarray(left)
    apart, leftwards = float(np.linalg.norm(away)), float(away[0])
    if (
        rule.apart_mm[0] <= apart <= rule.apart_mm[1]
        and rule.leftwards_mm[0] <= leftwards <= rule.leftwards_mm[1]
    ):
        return None
    return (
        f"the places seen for left and right lie as those of no head: {apart:.0f} mm apart, the left one "
        f"{leftwards:.0f} mm to the left; expected are {_span(rule.apart_mm)} and {_span(rule.leftwards_mm)}"
    )


def _span(mm: tuple[float, float]) -> str:
    return f"{mm[0]:.0f} to {mm[1]:.0f} mm"


def both_views(network: nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities of left and right, ``(2, X, Y, Z)``, of the image and of its mirror image turned back."""
    plain = side_shares(network, image)[1:]
    mirrored = side_shares(network, image.flip(1))[1:].flip(1).flip(0)
    return plain, mirrored


def sightings(plain: Tensor, mirrored: Tensor, *, mm: float) -> tuple[Sighting, ...]:
    """What two views of a scan show of each side.

    Args:
        plain: probabilities of left and right, ``(2, X, Y, Z)``.
        mirrored: those of the mirror image, turned back.
        mm: voxel size.

    Returns:
        One sighting for each side.
    """
    rows = zip(SIDES, plain.numpy(), mirrored.numpy(), strict=True)
    return tuple(_sighting(side, one, other, mm) for side, one, other in rows)


def _sighting(side: str, plain: NDArray[np.float32], mirrored: NDArray[np.float32], mm: float) -> Sighting:
    shares = (plain.astype(np.float64) + mirrored) / 2
    parts, count = ndimage.label(shares > _PART, structure=np.ones((3, 3, 3)))
    if not count:
        return Sighting(side, None, 0.0, float(shares.max()), 0.0, None, 0.0)
    masses = ndimage.sum_labels(shares, parts, range(1, count + 1))
    order = np.argsort(masses)[::-1]
    largest = parts == order[0] + 1
    box = ndimage.find_objects(largest.astype(np.uint8))[0]
    margins = [min(s.start, size - s.stop) for s, size in zip(box, shares.shape, strict=True)]
    first, second, third = _centre(shares * largest)
    near = ndimage.binary_dilation(largest, iterations=2)  # where each view may put it
    places = [_centre(view * near) for view in (plain, mirrored) if (view * near).max() > _PART / 2]
    views = mm * math.dist(*places) if len(places) == 2 else None
    return Sighting(
        side=side,
        centre=(first, second, third),
        mass=float(masses[order[0]]),
        peak=float(shares[largest].max()),
        second=float(masses[order[1]] / masses[order[0]]) if count > 1 else 0.0,
        views_mm=views,
        margin_mm=float(min(margins)) * mm,
    )


def _centre(weights: NDArray[np.floating[Any]]) -> tuple[float, float, float]:
    first, second, third = ndimage.center_of_mass(weights)
    return float(first), float(second), float(third)


def normalise_head(image: Tensor) -> Tensor:
    """Brightness as the network is given it: mean 0, standard deviation 1, what is far out clipped.

    Args:
        image: ``(1, X, Y, Z)``.

    Returns:
        Same shape, float32.
    """
    return normalise_intensity(image, Intensity("zscore")).clamp(*_CLIP)


def side_shares(network: nn.Module, image: Tensor) -> Tensor:
    """Probabilities of background, left and right, from an image of any size.

    Args:
        network: whose input's sizes must be multiples of 8.
        image: normalised, ``(1, X, Y, Z)``.

    Returns:
        ``(3, X, Y, Z)``.
    """
    extra = [-size % _MULTIPLE for size in image.shape[1:]]
    pads = [side for more in reversed(extra) for side in (more // 2, more - more // 2)]
    padded = functional.pad(image, pads, value=float(image.amin()))
    logits = network(padded[None])[0]
    whole = tuple(
        slice(more // 2, more // 2 + size) for more, size in zip(extra, image.shape[1:], strict=True)
    )
    return torch.softmax(logits[(slice(None), *whole)].float(), dim=0)


def coarse_scan(scan: Scan, mm: float) -> Scan:
    """The scan with fewer voxels, each the mean of a block of its own that is no larger than ``mm``.

    Args:
        scan: with known spacing.
        mm: size that is wanted.

    Returns:
        A scan; voxels of an incomplete block at the right, front or top are left out, in whatever order
        the file stores them.
    """
    assert scan.spacing is not None
    blocks = tuple(
        max(1, min(math.floor(mm / size + 1e-3), n)) for size, n in zip(scan.spacing, scan.shape, strict=True)
    )
    if blocks == (1, 1, 1):
        return scan
    turned = ras_reordering(scan.affine)
    backwards = {axis for axis, flip in zip(turned.axes, turned.flips, strict=True) if flip}
    start = [
        n % block if axis in backwards else 0
        for axis, (n, block) in enumerate(zip(scan.shape, blocks, strict=True))
    ]
    affine = scan.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ (np.array(start) + (np.array(blocks) - 1) / 2)
    affine[:3, :3] = affine[:3, :3] * np.array(blocks)
    spacing = tuple(size * n for size, n in zip(scan.spacing, blocks, strict=True))
    first, second, third = start
    data = functional.avg_pool3d(scan.data[None, :, first:, second:, third:], blocks)[0]
    return Scan(data, affine, (spacing[0], spacing[1], spacing[2]), scan.series)


def finder_input(scan: Scan, spec: ModelSpec) -> tuple[Tensor, PreparedScan]:
    """A scan as the network is given it.

    Args:
        scan: a whole head, as read, with known spacing.
        spec: of the network.

    Returns:
        The image, ``(1, X, Y, Z)``, and what it was made from.
    """
    assert spec.spacing is not None
    prepared = prepare(coarse_scan(scan, spec.spacing[0]), spec)
    return prepared.image.clamp(*_CLIP), prepared
