"""Segmentations that say where not to trust them: calibrated ensembles for MONAI Label.

The names below are the table of contents; each is loaded from its module when it is first used, so that
``import segtrust`` and the command line start at once and need neither MONAI nor MONAI Label.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what a type checker sees; at run time `_HOME` says where each name lives
    from segtrust.errors import SegtrustError
    from segtrust.inference import Prediction, Predictor, read_scan, write_volume
    from segtrust.label.settings import AppSettings
    from segtrust.models import ModelVersion, open_version
    from segtrust.selection import rank_scans
    from segtrust.store import StateStore

__all__ = [
    "AppSettings",
    "ModelVersion",
    "Prediction",
    "Predictor",
    "SegtrustError",
    "StateStore",
    "__version__",
    "open_version",
    "rank_scans",
    "read_scan",
    "write_volume",
]

__version__ = "0.1.0"

_HOME: dict[str, str] = {
    "AppSettings": "label.settings",
    "ModelVersion": "models",
    "Prediction": "inference",
    "Predictor": "inference",
    "SegtrustError": "errors",
    "StateStore": "store",
    "open_version": "models",
    "rank_scans": "selection",
    "read_scan": "inference",
    "write_volume": "inference",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'segtrust' has no attribute {name!r}. Known: {', '.join(__all__)}.")
    value: object = getattr(import_module(f"segtrust.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return list(__all__)
