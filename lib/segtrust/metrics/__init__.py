"""Measures of a prediction against a reference: pure functions first, totals that can be added second."""

from segtrust.metrics.bootstrap import Interval, Resamples, bootstrap_of, cluster_bootstrap, finite_or_none
from segtrust.metrics.calibration import (
    average_calibration_error,
    bin_classes,
    classwise_calibration_error,
    debiased_calibration_error,
    expected_calibration_error,
    kolmogorov_smirnov_error,
    maximum_calibration_error,
)
from segtrust.metrics.comparisons import holm, sign_flip_p
from segtrust.metrics.correlation import MapMoments
from segtrust.metrics.detection import (
    DetectionLimits,
    ErrorHistogram,
    detection_limits,
    error_aupr,
    error_auroc,
    error_fpr,
)
from segtrust.metrics.observed import ObservedErrors
from segtrust.metrics.overlap import Confusion, dice_per_structure
from segtrust.metrics.proper import LEAST_PROBABILITY, brier_map, nll_map
from segtrust.metrics.reliability import BrierParts, ReliabilityCurve, brier_parts, reliability_curve
from segtrust.metrics.risk import augrc, aurc
from segtrust.metrics.samples import SampleDistances, iou_distances, largest_part
from segtrust.metrics.table import calibration_table
from segtrust.metrics.voxels import FINE_CELLS, VoxelTotals, voxel_totals

__all__ = [
    "FINE_CELLS",
    "LEAST_PROBABILITY",
    "BrierParts",
    "Confusion",
    "DetectionLimits",
    "ErrorHistogram",
    "Interval",
    "MapMoments",
    "ObservedErrors",
    "ReliabilityCurve",
    "Resamples",
    "SampleDistances",
    "VoxelTotals",
    "augrc",
    "aurc",
    "average_calibration_error",
    "bin_classes",
    "bootstrap_of",
    "brier_map",
    "brier_parts",
    "calibration_table",
    "classwise_calibration_error",
    "cluster_bootstrap",
    "debiased_calibration_error",
    "detection_limits",
    "dice_per_structure",
    "error_aupr",
    "error_auroc",
    "error_fpr",
    "expected_calibration_error",
    "finite_or_none",
    "holm",
    "iou_distances",
    "kolmogorov_smirnov_error",
    "largest_part",
    "maximum_calibration_error",
    "nll_map",
    "reliability_curve",
    "sign_flip_p",
    "voxel_totals",
]
