"""Dice as log odds."""

import numpy as np
import pytest

from segtrust.quality import logit_dice


def test_a_dice_of_zero_does_not_run_to_infinity():
    assert logit_dice(0.0) == pytest.approx(-5.2933, abs=1e-4)
    assert logit_dice(0.75) == pytest.approx(np.log(3))
