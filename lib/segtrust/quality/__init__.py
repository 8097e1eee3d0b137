"""How good one prediction probably is: predicted Dice, verdict, intervals, contours, likeness, excess.

Everything is fitted on calibration scans alone and holds for scans like those.
"""

from segtrust.quality.assess import (
    CONFIDENCE,
    COVERAGE,
    Assessment,
    ConfidentIntervals,
    FineRule,
    Quality,
    StructureAssessment,
    Verdict,
    fine_limit,
)
from segtrust.quality.conformal import (
    bound_risk,
    confident_coverage,
    conformal_bound,
    conformal_p_value,
    control_risk,
    least_subjects,
)
from segtrust.quality.contour_rule import CONTOUR_SHARES, CONTOUR_WORDS, ContourRule, ContourWords
from segtrust.quality.contours import ContourMargins, Contours, fit_contours
from segtrust.quality.drift import FALSE_ALARMS, SeenScan, StreamDrift, judge_stream, p_values
from segtrust.quality.excess import RimTotals, UsualError, border_distance, fit_usual_error
from segtrust.quality.expected import ExpectedStructures, fit_expected
from segtrust.quality.fit import QualityCase, StructureTruth, fit_quality
from segtrust.quality.line import Line, Rows
from segtrust.quality.log_odds import logit_dice
from segtrust.quality.margins import (
    Margins,
    NeededMargins,
    contour_map,
    contour_masks,
    needed_margins,
)
from segtrust.quality.regression import Regression, fit_regression
from segtrust.quality.ridge import Ridge, fit_ridge
from segtrust.quality.typical import Features, TypicalScans, Unlikeness, fit_typical_scans, scan_features

__all__ = [
    "CONFIDENCE",
    "CONTOUR_SHARES",
    "CONTOUR_WORDS",
    "COVERAGE",
    "FALSE_ALARMS",
    "Assessment",
    "ConfidentIntervals",
    "ContourMargins",
    "ContourRule",
    "ContourWords",
    "Contours",
    "ExpectedStructures",
    "Features",
    "FineRule",
    "Line",
    "Margins",
    "NeededMargins",
    "Quality",
    "QualityCase",
    "Regression",
    "Ridge",
    "RimTotals",
    "Rows",
    "SeenScan",
    "StreamDrift",
    "StructureAssessment",
    "StructureTruth",
    "TypicalScans",
    "Unlikeness",
    "UsualError",
    "Verdict",
    "border_distance",
    "bound_risk",
    "confident_coverage",
    "conformal_bound",
    "conformal_p_value",
    "contour_map",
    "contour_masks",
    "control_risk",
    "fine_limit",
    "fit_contours",
    "fit_expected",
    "fit_quality",
    "fit_regression",
    "fit_ridge",
    "fit_typical_scans",
    "fit_usual_error",
    "judge_stream",
    "least_subjects",
    "logit_dice",
    "needed_margins",
    "p_values",
    "scan_features",
]
