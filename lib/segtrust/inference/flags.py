"""Reasons to look at a scan: what is unlike training, what came out empty."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segtrust.calibrators import Calibrator, has_unit
from segtrust.inference.prediction import Flag
from segtrust.inference.scan import Scan, assumed_spacing, content_box, extent_mm, extent_voxels
from segtrust.models import ModelSpec
from segtrust.quality import Assessment

__all__ = ["brightness_asymmetry", "brightness_levels", "content_flags", "input_flags", "unlike_flags"]

_EXTENT_SLACK = 1.25
_LEVELS = (1.0, 99.0)  # percent
_MOST_VALUES = 1_000_000  # of a channel, for its levels: every n-th voxel is enough


def input_flags(scan: Scan, spec: ModelSpec) -> list[Flag]:
    """Compare a scan with what the model was trained on.

    Args:
        scan: the scan as read.
        spec: what training scans looked like, see :class:`segtrust.models.ModelSpec`; what it does not say
            is not compared.

    Returns:
        Flags ``field_of_view`` (an edge of the scan's content is more than 1.25 times longer or shorter than
        any in training; edges are compared in order of length, so that turning a scan changes nothing; in
        millimetres, or in voxels for a model that sees voxels without their size), ``spacing_unknown`` and
        ``intensity`` (asymmetry or levels of brightness are outside the ranges of training).
    """
    flags = []
    extent = extent_mm(scan)
    if extent is None:
        flags.append(Flag("spacing_unknown", "the file does not say how large its voxels are"))
    elif spec.extent_mm is not None:
        flags += _extent_flags(extent, spec.extent_mm, "mm")
    if spec.extent_voxels is not None and not any(flag.code == "field_of_view" for flag in flags):
        flags += _extent_flags(extent_voxels(scan), spec.extent_voxels, "voxels")
    if spec.intensity_ranges is not None:
        flags += _intensity_flags(scan, spec)
    if spec.intensity_levels is not None:
        flags += _level_flags(scan, spec)
    return flags


def _extent_flags(extent: Sequence[float], ranges: Sequence[tuple[float, float]], unit: str) -> list[Flag]:
    size, seen = sorted(extent), sorted(ranges)
    if all(
        low / _EXTENT_SLACK <= edge <= high * _EXTENT_SLACK
        for edge, (low, high) in zip(size, seen, strict=True)
    ):
        return []
    return [
        Flag(
            "field_of_view",
            f"unlike training: field of view {' x '.join(f'{edge:.0f}' for edge in size)} {unit}, trained on "
            f"{' x '.join(f'{low:.0f}-{high:.0f}' for low, high in seen)} {unit}",
        )
    ]


def calibration_flags(calibrator: Calibrator, scan: Scan, spec: ModelSpec) -> list[Flag]:
    """Say by which voxel size a calibrator was used that needs one, where the scan does not tell.

    Args:
        calibrator: of the version.
        scan: the scan as read.
        spec: of the model.

    Returns:
        The flag ``calibration_spacing``, or none.
    """
    if has_unit(calibrator, scan.spacing):
        return []
    assumed = assumed_spacing(scan, spec)
    if assumed is None:
        return [
            Flag("calibration_spacing", "probabilities are not calibrated: that needs the size of voxels")
        ]
    size = " x ".join(f"{mm:g}" for mm in assumed)
    text = f"probabilities are calibrated as if voxels were {size} mm, as the model's are"
    return [Flag("calibration_spacing", text)]


def brightness_asymmetry(scan: Scan) -> list[float]:
    """(mean - median) / standard deviation of each channel's content: a number that no scaling changes.

    Args:
        scan: the scan as read.

    Returns:
        One number per channel, within [-1, 1].

    Note:
        The nonparametric skew.
    """
    content = scan.data[(slice(None), *content_box(scan.data))].flatten(1).double()
    spread = content.std(dim=1).clamp_min(1e-12)
    skew: list[float] = ((content.mean(dim=1) - content.median(dim=1).values) / spread).tolist()
    return skew


def brightness_levels(scan: Scan) -> list[tuple[float, float]]:
    """1st and 99th percentile of each channel's content, in the file's own values.

    Args:
        scan: the scan as read.

    Returns:
        One pair per channel.
    """
    content = scan.data[(slice(None), *content_box(scan.data))].flatten(1).numpy()
    step = 1 + content.shape[1] // _MOST_VALUES
    levels = np.percentile(content[:, ::step].astype(np.float64), _LEVELS, axis=1)
    return [(float(low), float(high)) for low, high in levels.T]


def _level_flags(scan: Scan, spec: ModelSpec) -> list[Flag]:
    return [
        Flag(
            "intensity",
            f"unlike training: values of {name} (from {levels[0]:g} to {levels[1]:g}; trained on scans that "
            f"begin between {ranges[0][0]:g} and {ranges[0][1]:g} and end between {ranges[1][0]:g} and "
            f"{ranges[1][1]:g})",
        )
        for name, levels, ranges in zip(
            spec.channels, brightness_levels(scan), spec.intensity_levels or (), strict=True
        )
        if not all(low <= level <= high for level, (low, high) in zip(levels, ranges, strict=True))
    ]


def _intensity_flags(scan: Scan, spec: ModelSpec) -> list[Flag]:
    return [
        Flag(
            "intensity",
            f"unlike training: brightness of {name} "
            f"(asymmetry {skew:.2f}, trained on {low:.2f} to {high:.2f})",
        )
        for name, skew, (low, high) in zip(
            spec.channels, brightness_asymmetry(scan), spec.intensity_ranges or (), strict=True
        )
        if not low <= skew <= high
    ]


def content_flags(
    mask: NDArray[np.uint8], spec: ModelSpec, *, sets: NDArray[np.bool_] | None = None
) -> list[Flag]:
    """Say which structures were not found.

    Args:
        mask: predicted labels.
        spec: the model's labels.
        sets: voxels of each structure, ``(N, *spatial)``, where structures overlap: one that lies under
            another is there, although the mask does not show it.

    Returns:
        Flag ``empty`` if nothing was found, else ``structure_missing`` for each structure without a voxel.

    Note:
        An empty prediction has no score, so it must be seen some other way.
    """
    voxels = (
        np.bincount(mask.reshape(-1), minlength=len(spec.labels) + 1)[1:]
        if sets is None
        else np.array([np.count_nonzero(segment) for segment in sets])
    )
    if not voxels.any():
        return [Flag("empty", "nothing was found in this scan")]
    return [
        Flag("structure_missing", f"{label.name} was not found")
        for label, count in zip(spec.labels, voxels, strict=True)
        if count == 0
    ]


def unlike_flags(assessment: Assessment | None) -> list[Flag]:
    """Say whether a scan is unlike those that the version was calibrated on.

    Args:
        assessment: predicted quality of the scan, if the version can predict it.

    Returns:
        Flag ``unlike_calibration``, or ``somewhat_unlike_calibration`` where only the image is unusual;
        nothing for a scan like them.
    """
    if assessment is None or assessment.unlikeness is None or not assessment.is_unlike:
        return []
    code = f"{assessment.unlikeness.likeness.replace(' ', '_')}_calibration"
    text = " ".join(filter(None, (assessment.unlikeness.sentence, assessment.interval_statement)))
    return [Flag(code, text)]
