"""What every fit keeps to: never worse than nothing on its own voxels, never surer than errors allow."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from segtrust.calibrators.identity import Calibrator, Identity
from segtrust.calibrators.voxels import StackedVoxels

__all__ = ["LEAST_WRONG", "unless_worse", "wrong_voxels"]

LEAST_WRONG = 10
"""Wrong voxels that a temperature below 1 needs: right ones alone are likeliest at T = 0, however few."""

C = TypeVar("C", bound=Calibrator)


def unless_worse(calibrator: C, loss: float, identity_loss: float) -> C | Identity:
    """The calibrator if it makes the voxels that it was fitted to more likely, else the identity.

    Args:
        calibrator: as fitted.
        loss: NLL of its own voxels behind it.
        identity_loss: NLL of the same voxels as they are, in the same unit.

    Returns:
        One of the two; the identity too if ``loss`` is no number.
    """
    return calibrator if loss < identity_loss else Identity()


def wrong_voxels(data: StackedVoxels) -> NDArray[np.bool_]:
    """Which voxels are labelled wrongly, ``(n,)``; of a sigmoid head, which have a wrong channel."""
    if data.labels.ndim == 2:
        wrong: NDArray[np.bool_] = ((data.logits > 0) != (data.labels > 0)).any(axis=1)
    else:
        wrong = data.logits.argmax(axis=1) != data.labels
    return wrong
