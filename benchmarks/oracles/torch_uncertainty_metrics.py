"""The classification metrics of torch-uncertainty without its trainers, plots and models.

Importing `torch_uncertainty` runs lightning and torchvision; its metrics need neither.
"""

import importlib
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

__all__ = ["classification"]


def _import_alone() -> ModuleType:
    spec = find_spec("torch_uncertainty")
    if spec is None or spec.origin is None:
        raise ImportError(
            "torch-uncertainty must be installed in this environment: see run_other_libraries.py."
        )
    folder = Path(spec.origin).parent
    for name, place in (("torch_uncertainty", folder), ("torch_uncertainty.metrics", folder / "metrics")):
        package = sys.modules[name] = ModuleType(name)
        package.__path__ = [str(place)]
    return importlib.import_module("torch_uncertainty.metrics.classification")


classification = _import_alone()
