"""Members in, a served version out: calibrated, measured, and let through by the gate."""

from segtrust.release.publish import release
from segtrust.release.round import run_round

__all__ = ["release", "run_round"]
