"""What the server answered about one scan, as a card of the page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtrust.cli.demo.label_client import ModelAnswer
from segtrust.files import ras_axes, toward_ras
from segtrust.files.scan import read_scan_file
from segtrust.report import ScanCard, draw_slices

__all__ = ["scan_card", "structure_values"]


def structure_values(answer: ModelAnswer) -> dict[str, int]:
    """Structures of the model with their values in the mask."""
    return {name: int(value) for name, value in answer.params["label_names"].items()}


def scan_card(scan: str, image: Path, mask: Path, chance: Path, answer: ModelAnswer) -> ScanCard:
    """Read the three volumes of one scan and draw its slices.

    Args:
        scan: id of the scan.
        image: the scan.
        mask: the mask that the server sent.
        chance: the chance of error that the server sent.
        answer: the mask's answer, for the numbers.

    Returns:
        The card, without a rank.
    """
    values, spacing = _canonical(image)
    labels, _ = _canonical(mask)
    doubts, _ = _canonical(chance)
    trust = answer.trust
    return ScanCard(
        scan=scan,
        rank=None,
        score=trust["scores"].get("entropy"),
        volumes_ml=_volumes(trust),
        flags={flag["code"]: flag["text"] for flag in trust["flags"]},
        slices=draw_slices(
            values,
            labels.astype(np.uint8),
            doubts.astype(np.float32),
            spacing=spacing,
            structures=structure_values(answer),
        ),
    )


def _volumes(trust: Mapping[str, Any]) -> dict[str, float | None]:
    return {str(entry["name"]): entry.get("volume_ml") for entry in trust["structures"]}


def _canonical(path: Path) -> tuple[NDArray[np.float32], tuple[float, float, float]]:
    """A volume with its axes towards right, anterior, superior, and its spacing in that order."""
    scan = read_scan_file(path, channels=None)  # of several channels the first is drawn
    axes = ras_axes(scan.grid.affine)
    x, y, z = ((scan.grid.spacing or (1.0, 1.0, 1.0))[axis] for axis in axes)
    return toward_ras(scan.values[0], scan.grid.affine), (x, y, z)
