"""What every calibrator can do, and the one that does nothing."""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from torch import Tensor

from segtrust.uncertainty import HeadKind, Threshold

__all__ = ["Calibrator", "Identity"]


class Calibrator(Protocol):
    """What every calibrator can do."""

    name: ClassVar[str]

    def apply(
        self, probs: Tensor, distance: Tensor, *, head: HeadKind = "softmax", threshold: Threshold = 0.5
    ) -> Tensor:
        """Calibrate ``(C, *spatial)`` given the distance to the prediction in mm, ``(*spatial)``.

        What a sigmoid head decides by ``threshold`` stays decided.
        """

    def to_json(self) -> dict[str, Any]:
        """Numbers that :func:`calibrator_from_json` reads back."""


@dataclass(frozen=True)
class Identity:
    """Leaves probabilities as they are."""

    name: ClassVar[str] = "identity"

    def apply(  # what other calibrators need
        self,
        probs: Tensor,
        distance: Tensor,  # noqa: ARG002
        *,
        head: HeadKind = "softmax",  # noqa: ARG002
        threshold: Threshold = 0.5,  # noqa: ARG002
    ) -> Tensor:
        """Return ``probs`` unchanged."""
        return probs

    def to_json(self) -> dict[str, Any]:
        """``{"name": "identity"}``."""
        return {"name": self.name}
