"""Calibrators: fit, apply, choose, save, load. They change probabilities, never the mask.

The mask is the argmax of the uncalibrated mean. Every calibrator here keeps that argmax in every voxel, ties
included, and the order of all classes up to rounding.
"""

from segtrust.calibrators.choice import (
    CANDIDATES,
    LEAST_GAIN,
    Choice,
    Fit,
    choose_calibrator,
    choose_served,
    fit_to_part,
    name_of_best,
)
from segtrust.calibrators.covariate import calibrate_scan, draw_prediction, has_unit
from segtrust.calibrators.distance_fit import fit_distance_temperature
from segtrust.calibrators.identity import Calibrator, Identity
from segtrust.calibrators.isotonic import TopLabelIsotonic, fit_top_label_isotonic
from segtrust.calibrators.observe import cross_fitted_errors
from segtrust.calibrators.stored import calibrator_from_json
from segtrust.calibrators.temperature import (
    DistanceTemperature,
    PooledTemperature,
    fit_pooled_temperature,
)
from segtrust.calibrators.topclass import TopClassTemperature, fit_top_class_temperature
from segtrust.calibrators.voxels import MIN_SUBJECTS, CalibrationVoxels, draw_voxels

__all__ = [
    "CANDIDATES",
    "LEAST_GAIN",
    "MIN_SUBJECTS",
    "CalibrationVoxels",
    "Calibrator",
    "Choice",
    "DistanceTemperature",
    "Fit",
    "Identity",
    "PooledTemperature",
    "TopClassTemperature",
    "TopLabelIsotonic",
    "calibrate_scan",
    "calibrator_from_json",
    "choose_calibrator",
    "choose_served",
    "cross_fitted_errors",
    "draw_prediction",
    "draw_voxels",
    "fit_distance_temperature",
    "fit_pooled_temperature",
    "fit_to_part",
    "fit_top_class_temperature",
    "fit_top_label_isotonic",
    "has_unit",
    "name_of_best",
]
