"""Losses by name: one line of text, or its JSON form, says which losses are summed and how."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from torch import Tensor

from segtrust.errors import SettingError
from segtrust.losses._limits import LIMITS, check_limits
from segtrust.losses.binned import hard_l1_ace, soft_l1_ace
from segtrust.losses.neighbours import neighbour_penalty, svls_loss
from segtrust.losses.overlap import cross_entropy, dice_ce, dice_loss
from segtrust.losses.voxelwise import brier_loss, focal_loss, label_smoothing_loss, margin_penalty
from segtrust.uncertainty import HeadKind

__all__ = ["LOSSES", "PENALTIES", "LossSum", "LossTerm", "parse_loss"]

LOSSES: dict[str, Callable[..., Tensor]] = {
    "ce": cross_entropy,
    "dice": dice_loss,
    "dice_ce": dice_ce,
    "focal": focal_loss,
    "label_smoothing": label_smoothing_loss,
    "svls": svls_loss,
    "brier": brier_loss,
    "mbls": margin_penalty,
    "nacl": neighbour_penalty,
    "hard_l1_ace": hard_l1_ace,
    "soft_l1_ace": soft_l1_ace,
}
"""Losses that a training run can choose by name."""

PENALTIES = ("mbls", "nacl", "hard_l1_ace", "soft_l1_ace")
"""Names in :data:`LOSSES` that teach no segmentation alone: a sum needs a loss beside them."""

_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?"
_TERM = re.compile(rf"\s*(?:({_NUMBER})\s*\*\s*)?([a-z]\w*)\s*(?:\(([^()]*)\))?\s*", re.ASCII)
_PARAMETER = re.compile(rf"\s*([a-z]\w*)\s*=\s*({_NUMBER}|true|false)\s*", re.ASCII)
_FORM = "Write it like dice_ce or dice_ce + 0.3*hard_l1_ace(bins=20, warm_up=0.1)."


@dataclass(frozen=True, kw_only=True)
class LossTerm:
    """One term of a sum.

    Args:
        name: one of :data:`LOSSES`.
        weight: its factor.
        warm_up: share of the training over which the factor rises linearly from 0; 0: full from the start.
        parameters: hyper-parameters of the loss; what is left out keeps its default.

    Raises:
        SettingError: if the name or a hyper-parameter is unknown, or a value outside its limits.
    """

    name: str
    weight: float = 1.0
    warm_up: float = 0.0
    parameters: Mapping[str, float | bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in LOSSES:
            raise SettingError(f"`loss` must be one of {', '.join(LOSSES)}, got {self.name!r}. {_FORM}")
        check_limits(weight=self.weight, warm_up=self.warm_up)
        parameters = _parameters(self.name)
        for name, value in self.parameters.items():
            if name not in parameters:
                allowed = ", ".join([*parameters, "warm_up"])
                raise SettingError(f"`{self.name}` takes {allowed}, got {name!r}.")
            if name in LIMITS:
                check_limits(**{name: value})
            elif not isinstance(value, bool):
                raise SettingError(f"`{name}` must be true or false, got {value!r}.")

    def __str__(self) -> str:
        options = dict(self.parameters) | ({"warm_up": self.warm_up} if self.warm_up else {})
        inside = ", ".join(f"{name}={_text(value)}" for name, value in options.items())
        weight = "" if self.weight == 1 else f"{_text(self.weight)}*"
        return f"{weight}{self.name}{f'({inside})' if inside else ''}"

    def factor(self, progress: float) -> float:
        """Weight of the term when this share of the training is done."""
        return self.weight * min(1.0, progress / self.warm_up) if self.warm_up else self.weight


@dataclass(frozen=True)
class LossSum:
    """A weighted sum of losses; ``str`` writes it as :func:`parse_loss` reads it.

    Args:
        terms: at least one that is no penalty and counts from the start.

    Raises:
        SettingError: if there is no such term.
    """

    terms: tuple[LossTerm, ...]

    def __post_init__(self) -> None:
        if all(term.name in PENALTIES or term.warm_up for term in self.terms):
            losses = ", ".join(name for name in LOSSES if name not in PENALTIES)
            raise SettingError(
                f"`loss` must hold one of {losses} without warm_up, got {str(self)!r}. "
                "Put dice_ce + in front of it."
            )

    def __str__(self) -> str:
        return " + ".join(map(str, self.terms))

    def __call__(
        self,
        logits: Tensor,
        labels: Tensor,
        *,
        progress: float = 1.0,
        head: HeadKind = "softmax",
        ignore: int | None = None,
    ) -> Tensor:
        r"""Add the terms; low is good.

        .. math:: L = \sum_t w_t \min(1, s / u_t) L_t, \quad s \text{ the progress}, u_t \text{ the warm-up}

        Args:
            logits: ``(B, C, *spatial)``.
            labels: integers ``(B, *spatial)``, see :func:`~segtrust.losses.cross_entropy`.
            progress: share of the training that is done, 0 to 1.
            head: ``softmax`` or ``sigmoid``.
            ignore: label of voxels that do not count; ``None``: all count.

        Returns:
            Scalar, float32.

        Raises:
            ShapeError: if the shapes do not fit.
            ProbabilityError: if a label is outside the range.

        Note:
            The warm-up keeps a calibration penalty from rewarding base rates in an untrained network.
        """
        losses = [
            term.factor(progress)
            * LOSSES[term.name](logits, labels, head=head, ignore=ignore, **term.parameters)
            for term in self.terms
        ]
        return sum(losses[1:], start=losses[0])

    def to_json(self) -> list[dict[str, Any]]:
        """The sum as a list of objects; :meth:`from_json` reads it back."""
        return [
            {"name": t.name, "weight": t.weight, "warm_up": t.warm_up, **t.parameters} for t in self.terms
        ]

    @classmethod
    def from_json(cls, document: Sequence[Mapping[str, Any]]) -> Self:
        """Read what :meth:`to_json` wrote; all but the name may be left out.

        Raises:
            SettingError: if an entry is no object with a name, or as for :class:`LossTerm`.
        """
        try:
            return cls(tuple(_term(**entry) for entry in document))
        except TypeError as error:
            raise SettingError(
                f'`loss` must be a list like [{{"name": "dice_ce"}}], got {document!r}: {error}.'
            ) from error


def parse_loss(text: str) -> LossSum:
    """Read a loss as a recipe, a request or the command line writes it.

    Args:
        text: terms ``[WEIGHT*]NAME[(PARAMETER=VALUE, ...)]`` joined by ``+``; every term takes ``warm_up``.

    Returns:
        The sum, ready to be called.

    Raises:
        SettingError: if the text has another form, a name is unknown, or a value is outside its limits.

    Example:
        >>> parse_loss("dice_ce + .1*mbls(margin=5, warm_up=0.2)").terms[1].factor(progress=0.1)
        0.05
    """
    terms, begin = [], 0
    while match := _TERM.match(text, begin):
        weight, name, options = match.groups()
        terms.append(_term(name=name, weight=float(weight or 1), **_options(options or "", text)))
        begin = match.end()
        if begin == len(text):
            return LossSum(tuple(terms))
        if text[begin] != "+":
            break
        begin += 1
    raise SettingError(f"`loss` must be terms joined by +, got {text!r}, wrong at position {begin}. {_FORM}")


def _options(inside: str, text: str) -> dict[str, float | bool]:
    options: dict[str, float | bool] = {}
    for part in inside.split(",") if inside.strip() else []:
        match = _PARAMETER.fullmatch(part)
        if not match or match[1] in {*options, "name", "weight"}:
            raise SettingError(
                f"hyper-parameters must be NAME=VALUE, each once, got {part.strip()!r} in {text!r}. {_FORM}"
            )
        options[match[1]] = _value(match[2])
    return options


def _value(text: str) -> float | bool:
    if text in {"true", "false"}:
        return text == "true"
    number = float(text)
    return int(number) if number.is_integer() else number


def _text(value: float | bool) -> str:
    return str(value).lower()


def _term(*, name: str, weight: float = 1.0, warm_up: float = 0.0, **parameters: float | bool) -> LossTerm:
    return LossTerm(name=name, weight=weight, warm_up=warm_up, parameters=parameters)


def _parameters(name: str) -> list[str]:
    keywords = inspect.signature(LOSSES[name]).parameters.values()
    return [p.name for p in keywords if p.kind is p.KEYWORD_ONLY and p.name not in {"head", "ignore"}]
