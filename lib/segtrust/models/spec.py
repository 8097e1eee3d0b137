"""What a model is, apart from its weights: structures, input, network and head."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from segtrust.errors import ModelError

__all__ = ["Head", "Intensity", "Label", "ModelSpec"]

_NETWORK_HOMES = ("monai.networks.nets.", "segtrust.")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True)
class Label:
    """One structure: its name, its value in masks (1..N), its value in the training labels, its colour."""

    name: str
    value: int
    source_value: int
    colour: tuple[int, int, int] = (128, 174, 128)


@dataclass(frozen=True)
class Head:
    """How logits become probabilities.

    ``softmax``: one channel per class, background first. ``sigmoid``: one channel per structure, which may be
    nested; a voxel gets the last structure in ``priority`` whose probability exceeds ``threshold``.
    ``rank``: the network puts out a low-rank Gaussian over logits (:mod:`segtrust.stochastic`) of that many
    factors; ``None``: the logits themselves.
    """

    kind: Literal["softmax", "sigmoid"] = "softmax"
    priority: tuple[int, ...] = ()
    threshold: float = 0.5
    rank: int | None = None


@dataclass(frozen=True)
class Intensity:
    """How voxel values are normalised, per scan and channel: ``zscore``, or ``window`` to [0, 1]."""

    method: Literal["zscore", "window"] = "zscore"
    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True)
class ModelSpec:
    """Everything that is needed to run a model, apart from its weights.

    Raises:
        ModelError: if two fields contradict each other.
    """

    name: str
    labels: tuple[Label, ...]
    network: Mapping[str, Any]
    patch: tuple[int, ...]
    channels: tuple[str, ...] = ("image",)
    spatial_dims: Literal[2, 3] = 3
    spacing: tuple[float, ...] | None = None
    orientation: str = "RAS"
    intensity: Intensity = Intensity()
    overlap: float = 0.25
    head: Head = Head()
    members: int = 5
    extent_mm: tuple[tuple[float, float], ...] | None = None
    intensity_ranges: tuple[tuple[float, float], ...] | None = None
    modality: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        self._check_names()
        self._check_input()
        if self.head.kind not in ("softmax", "sigmoid"):
            raise ModelError(f"`head.kind` must be softmax or sigmoid, got {self.head.kind!r}.")
        if self.head.kind == "sigmoid" and sorted(self.head.priority) != list(range(1, len(self.labels) + 1)):
            raise ModelError(
                f"`head.priority` of a sigmoid model must order all label values, got {self.head.priority}."
            )
        if self.head.rank is not None and self.head.rank < 0:
            raise ModelError(f"`head.rank` must be 0 or more, or left out, got {self.head.rank}.")

    def _check_names(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ModelError(f"a model's name must be letters, digits, - and _, got {self.name!r}.")
        if [label.value for label in self.labels] != list(range(1, len(self.labels) + 1)):
            raise ModelError(
                f"label values of {self.name!r} must be 1..{len(self.labels)} in order, got "
                f"{[label.value for label in self.labels]}. Put the file's own values into `source_value`."
            )
        if not self.labels or len({label.name for label in self.labels}) != len(self.labels):
            raise ModelError(f"labels of {self.name!r} must be at least one, with different names.")
        target = str(self.network.get("_target_", ""))
        if not target.startswith(_NETWORK_HOMES):
            raise ModelError(
                f"`network._target_` must come from {' or '.join(_NETWORK_HOMES)}, got {target!r}. "
                "Code is never loaded from a model folder."
            )

    def _check_input(self) -> None:
        if self.spatial_dims not in (2, 3) or len(self.patch) != self.spatial_dims:
            raise ModelError(
                f"`patch` must have one size per spatial dimension ({self.spatial_dims}), got {self.patch}."
            )
        method, low, high = self.intensity.method, self.intensity.low, self.intensity.high
        if method not in ("zscore", "window") or not low < high:
            raise ModelError(
                f"`intensity` must be zscore, or window with low < high, got {method!r} {low} to {high}."
            )
        lengths = {"spacing": self.spatial_dims, "extent_mm": 3, "intensity_ranges": len(self.channels)}
        for name, length in lengths.items():
            value = getattr(self, name)
            if value is not None and len(value) != length:
                raise ModelError(f"`{name}` must have {length} entries, got {len(value)}.")

    @property
    def n_classes(self) -> int:
        """Output channels: structures plus background for softmax, structures for sigmoid."""
        return len(self.labels) + (self.head.kind == "softmax")

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read the content of ``spec.json``.

        Args:
            document: the parsed file.

        Returns:
            The specification.

        Raises:
            ModelError: if a field is unknown, missing or of the wrong form.
        """
        try:
            fields = dict(document)
            fields["labels"] = tuple(
                Label(**{**label, **({"colour": tuple(label["colour"])} if "colour" in label else {})})
                for label in fields["labels"]
            )
            if "head" in fields:
                head = dict(fields["head"])
                fields["head"] = Head(**{**head, "priority": tuple(head.get("priority", ()))})
            if "intensity" in fields:
                fields["intensity"] = Intensity(**fields["intensity"])
            for name in ("patch", "channels", "spacing"):
                fields[name] = tuple(fields[name]) if fields.get(name) is not None else None
            for name in ("extent_mm", "intensity_ranges"):
                fields[name] = tuple(map(tuple, fields[name])) if fields.get(name) is not None else None
            fields["channels"] = fields["channels"] or ("image",)
            return cls(**fields)
        except ModelError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ModelError(f"spec.json must fit the form of a model, but {error}. See docs.") from error

    def to_json(self) -> dict[str, Any]:
        """The content of ``spec.json``; :meth:`from_json` reads it back unchanged."""
        document = asdict(self)
        if self.head.rank is None:  # digests of models without it stay what they were
            del document["head"]["rank"]
        return document
