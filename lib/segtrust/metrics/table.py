"""All figures of calibration by name and region."""

from collections.abc import Mapping, Sequence

import numpy as np

from segtrust._binning import Bins
from segtrust.metrics.calibration import (
    average_calibration_error,
    debiased_calibration_error,
    expected_calibration_error,
    kolmogorov_smirnov_error,
    maximum_calibration_error,
)
from segtrust.metrics.reliability import brier_parts
from segtrust.metrics.voxels import VoxelTotals

__all__ = ["calibration_table"]

_BINS = 15


def calibration_table(totals: Mapping[str, VoxelTotals]) -> dict[str, float]:
    """Every figure of calibration in every region; each name ends in its region, as in ``ece_band``.

    Args:
        totals: region -> totals made with :data:`~segtrust.metrics.FINE_CELLS` for the top label and the
            classes, of one scan or added over scans.

    Returns:
        ``nll``, ``brier``, ``brier_reliability``, ``brier_resolution``, ``brier_uncertainty``,
        ``brier_within``; for the top label and, as ``classwise_...``, plainly averaged over the classes:
        ``ece``, ``mce`` and ``ace`` of 15 equally wide bins (``mce`` of bins of at least 1000 voxels),
        ``ece_equal_mass`` of 15 bins of equal mass, ``ece_squared_debiased`` and ``ks``. NaN without voxels.

    Raises:
        ShapeError: if the cells cannot be joined to 15.

    Note:
        The formula of each stands in its own function.
    """
    return {
        f"{name}_{region}": value for region, one in totals.items() for name, value in _figures(one).items()
    }


def _figures(totals: VoxelTotals) -> dict[str, float]:
    n = totals.n or float("nan")
    parts = brier_parts(totals.classes, totals.brier / n)
    return {
        "nll": totals.nll / n,
        "brier": totals.brier / n,
        **{f"brier_{name}": value for name, value in parts._asdict().items()},
        **_gaps(totals.bins),
        **_classwise(totals.classes),
    }


def _gaps(bins: Bins) -> dict[str, float]:
    wide = bins.coarsen(_BINS)
    return {
        "ece": expected_calibration_error(wide),
        "ece_equal_mass": expected_calibration_error(bins.equal_mass(_BINS)),
        "ece_squared_debiased": debiased_calibration_error(wide),
        "mce": maximum_calibration_error(wide),
        "ace": average_calibration_error(wide),
        "ks": kolmogorov_smirnov_error(bins),
    }


def _classwise(classes: Sequence[Bins]) -> dict[str, float]:
    tables = [_gaps(bins) for bins in classes] or [_gaps(Bins.empty(_BINS))]
    return {f"classwise_{name}": float(np.mean([table[name] for table in tables])) for name in tables[0]}
