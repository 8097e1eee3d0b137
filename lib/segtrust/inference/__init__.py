"""Prediction: reading scans, sources of samples, whole-scan prediction, writing volumes."""

from segtrust.inference.looked_at import NOT_LOOKED_AT, LookedAt
from segtrust.inference.maps import EXCESS, MAP_NAMES, VIEW_MAPS
from segtrust.inference.members import check_device
from segtrust.inference.prediction import Flag, Prediction, SliceHint, StructureSummary
from segtrust.inference.predictor import Predictor
from segtrust.inference.sample_masks import SampleMasks
from segtrust.inference.scan import Scan, fingerprint, read_scan
from segtrust.inference.sources import (
    DrawBound,
    DropoutSource,
    EnsembleSource,
    FlipSource,
    SampleSource,
    StochasticSource,
)
from segtrust.inference.volumes import write_volume

__all__ = [
    "EXCESS",
    "MAP_NAMES",
    "NOT_LOOKED_AT",
    "VIEW_MAPS",
    "DrawBound",
    "DropoutSource",
    "EnsembleSource",
    "Flag",
    "FlipSource",
    "LookedAt",
    "Prediction",
    "Predictor",
    "SampleMasks",
    "SampleSource",
    "Scan",
    "SliceHint",
    "StochasticSource",
    "StructureSummary",
    "check_device",
    "fingerprint",
    "read_scan",
    "write_volume",
]
