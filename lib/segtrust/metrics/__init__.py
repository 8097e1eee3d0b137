"""Measures of a prediction against a reference: pure functions first, totals that can be added second."""

from segtrust.metrics.bootstrap import Interval, cluster_bootstrap, finite_or_none
from segtrust.metrics.calibration import (
    bin_classes,
    classwise_calibration_error,
    debiased_calibration_error,
    expected_calibration_error,
    maximum_calibration_error,
)
from segtrust.metrics.detection import ErrorHistogram, error_auroc
from segtrust.metrics.observed import ObservedErrors
from segtrust.metrics.overlap import dice_per_structure
from segtrust.metrics.samples import SampleDistances, iou_distances, largest_part
from segtrust.metrics.voxels import VoxelTotals, brier_map, nll_map, voxel_totals

__all__ = [
    "ErrorHistogram",
    "Interval",
    "ObservedErrors",
    "SampleDistances",
    "VoxelTotals",
    "bin_classes",
    "brier_map",
    "classwise_calibration_error",
    "cluster_bootstrap",
    "debiased_calibration_error",
    "dice_per_structure",
    "error_auroc",
    "expected_calibration_error",
    "finite_or_none",
    "iou_distances",
    "largest_part",
    "maximum_calibration_error",
    "nll_map",
    "voxel_totals",
]
