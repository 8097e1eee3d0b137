"""What is asked of a contour: how often it is right, and for how much of the structure."""

from dataclasses import dataclass
from typing import Literal

from segtrust.errors import SettingError

__all__ = ["CONTOUR_SHARES", "CONTOUR_WORDS", "ContourRule", "ContourWords"]

CONTOUR_SHARES = (0.95, 0.99, 1.0)
"""Shares of a structure that a contour may be asked to be right for."""
ContourWords = Literal["each", "joint"]
CONTOUR_WORDS: tuple[ContourWords, ...] = ("each", "joint")
"""Contours are right each by itself, or all of a scan at once."""


@dataclass(frozen=True)
class ContourRule:
    """How often a contour is right (``coverage`` of scans), and for how much of the structure (``share``).

    Raises:
        SettingError: for a coverage outside (0, 1), or a share that versions do not keep.
    """

    coverage: float = 0.9
    share: float = 0.99

    def __post_init__(self) -> None:
        if not 0 < self.coverage < 1 or self.share not in CONTOUR_SHARES:
            raise SettingError(
                "`contour_coverage` must lie between 0 and 1 and `contour_share` be one of "
                f"{', '.join(map(str, CONTOUR_SHARES))}, got {self.coverage} and {self.share}. "
                "Example: --conf contour_share 0.99"
            )
