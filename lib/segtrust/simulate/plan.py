"""What is replayed: model, strategies, seeds and budgets."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from segtrust.errors import SettingError
from segtrust.selection import STRATEGIES
from segtrust.simulate.oracle import Effort
from segtrust.training.loop import Budget
from segtrust.training.run import Recipe

__all__ = ["BASELINE", "MONAI_LABEL", "WHOLE_POOL", "SimulationPlan"]

BASELINE = "uniform"
"""The strategy that the others are compared with."""

MONAI_LABEL = "monai_label"
"""MONAI Label's own score and order, beside the strategies of :mod:`segtrust.selection`."""

WHOLE_POOL = "whole_pool"
"""No strategy: every round after the first learns from the whole pool, as a ceiling."""


@dataclass(frozen=True, kw_only=True)
class SimulationPlan:
    """What is replayed.

    ``recipe``: specification, training budget of each round, and one seed per member. ``warm``: budget of
    the rounds after the first, whose members then go on from those of the round before; every round starts
    from scratch unless given. ``counts``: scans opened until each round, rising; the first ones are drawn
    uniformly, the same for every strategy under a seed.
    """

    recipe: Recipe
    strategies: tuple[str, ...]
    seeds: tuple[int, ...]
    counts: tuple[int, ...]
    warm: Budget | None = None
    effort: Effort = field(default_factory=Effort)

    def __post_init__(self) -> None:
        names = (*STRATEGIES, MONAI_LABEL)
        unknown = sorted(set(self.strategies) - set(names))
        if unknown or BASELINE not in self.strategies:
            raise SettingError(
                f"strategies must be of {', '.join(names)} and hold {BASELINE}, got {list(self.strategies)}."
            )
        if self.recipe.spec.head.kind != "softmax":
            raise SettingError(f"the model must have a softmax head, got {self.recipe.spec.head.kind!r}.")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise SettingError(f"seeds must be at least one and differ, got {list(self.seeds)}.")
        rising = all(a < b for a, b in zip(self.counts, self.counts[1:], strict=False))
        if len(self.counts) < 2 or self.counts[0] < 1 or not rising:
            raise SettingError(f"counts must be at least two rising numbers, got {list(self.counts)}.")

    def budget(self, number: int) -> Budget:
        """Training budget of a round, counted from 0."""
        return self.recipe.budget if number == 0 or self.warm is None else self.warm

    def to_json(self) -> Mapping[str, Any]:
        """Everything that a replay follows from but the scans."""
        return {
            "spec": self.recipe.spec.to_json(),
            "budget": asdict(self.recipe.budget),
            "warm": None if self.warm is None else asdict(self.warm),
            "members": list(self.recipe.seeds),
            "strategies": list(self.strategies),
            "seeds": list(self.seeds),
            "counts": list(self.counts),
            "effort": asdict(self.effort),
        }
