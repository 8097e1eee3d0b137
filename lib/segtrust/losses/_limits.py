"""Allowed values of the losses' hyper-parameters, as data; a name means the same in every loss."""

from dataclasses import dataclass

from segtrust.errors import SettingError

__all__ = ["LIMITS", "Limits", "check_limits"]


@dataclass(frozen=True)
class Limits:
    """Numbers from ``low`` to ``high``, both allowed."""

    low: float
    high: float
    whole: bool = False

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{'a whole number' if self.whole else 'a number'} from {self.low:g} to {self.high:g}"


LIMITS = {
    "alpha": Limits(0, 0.5),
    "bins": Limits(2, 100, whole=True),
    "gamma": Limits(0, 10),
    "margin": Limits(0, 100),
    "sigma": Limits(0.5, 10),
    "warm_up": Limits(0, 1),
    "weight": Limits(1e-4, 1e3),
}
"""Numbers that a loss or a term of a sum takes, by name."""


def check_limits(**numbers: float) -> None:
    """Refuse a hyper-parameter outside its limits.

    Args:
        **numbers: value of each, by name.

    Raises:
        SettingError: if one is outside; the message names the range.
    """
    for name, value in numbers.items():
        if value not in LIMITS[name]:
            raise SettingError(f"`{name}` must be {LIMITS[name]}, got {value!r}.")
