"""The first prediction, made at start so that no user waits for libraries to load."""

import logging
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from segtrust.errors import SegtrustError
from segtrust.inference import write_volume
from segtrust.label.served import ServedModel

__all__ = ["warm_up"]

logger = logging.getLogger(__name__)

_SIDE = 32


def warm_up(models: Iterable[ServedModel]) -> None:
    """Predict a small made-up scan with each model that takes one channel, and write the result.

    Args:
        models: models of the app. A failure is logged and nothing else: the first user then waits longer.
    """
    scan = np.random.default_rng(0).normal(size=(_SIDE, _SIDE, _SIDE)).astype(np.float32)
    with tempfile.TemporaryDirectory(prefix="segtrust-warm-up-") as folder:
        path = Path(folder) / "scan.nii.gz"
        write_volume(scan, np.eye(4), path)
        for model in models:
            if len(model.spec.channels) != 1:
                continue
            try:
                prediction = model.predict_apart(path)
                write_volume(prediction.mask, prediction.affine, Path(folder) / "mask.nrrd")
                logger.info("Model %s is warm", model.name)
            except SegtrustError as error:
                logger.warning("Model %s did not warm up: %s", model.name, error)
