"""What the server answered about one scan, as a card of the page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from segtrust.cli.demo.label_client import ModelAnswer
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
    image = nib.as_closest_canonical(_load(path))
    volume = np.asarray(image.dataobj, dtype=np.float32)
    volume = volume.reshape(*volume.shape[:3], -1)[..., 0]  # of several channels the first is drawn
    x, y, z = (float(step) for step in image.header.get_zooms()[:3])
    return volume, (x, y, z)


def _load(path: Path) -> nib.Nifti1Image:
    if path.suffix == ".nrrd":
        from segtrust.inference import read_scan  # noqa: PLC0415 -- MONAI loads slowly, and only NRRD needs it

        scan = read_scan(path)
        return nib.Nifti1Image(scan.data[0].numpy(), scan.affine)
    return nib.Nifti1Image.from_filename(path)
