"""What a model is, apart from its weights: structures, input, network and head."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from segtrust.decisions import LabelRule, Relation
from segtrust.errors import ModelError

__all__ = ["Foreground", "Head", "Intensity", "Label", "ModelSpec", "Windows"]

_NETWORK_HOMES = ("monai.networks.nets.", "segtrust.")
_MOST_LABELS = 65_535  # what two bytes hold, in NIfTI, NRRD and DICOM alike
_METHODS = ("zscore", "zscore_nonzero", "window", "sigmoid_window", "none")
_ORIENTATION = re.compile("(?=.*[LR])(?=.*[PA])(?=.*[IS])[LRPAIS]{3}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True)
class Label:
    """One structure: its name, its value in masks (1..N), its value in the training labels, its colour.

    ``source_value``: several values where a region holds them all, as the whole tumour of a nested head does;
    the first one stands for the region in a label map that shows one region a voxel.
    """

    name: str
    value: int
    source_value: int | tuple[int, ...]
    colour: tuple[int, int, int] = (128, 174, 128)

    @property
    def source_values(self) -> tuple[int, ...]:
        """All values of the training labels that belong to the structure."""
        return self.source_value if isinstance(self.source_value, tuple) else (self.source_value,)


@dataclass(frozen=True)
class Head:
    """How logits become probabilities, and probabilities labels.

    ``softmax``: one channel per class, background first. ``sigmoid``: one channel per structure, which may
    overlap; a voxel belongs to each structure whose probability exceeds its ``threshold`` (one number for
    all, or one per structure in the order of their values), and a mask shows the last of them in
    ``priority``.
    ``structures``: ``nested`` if each one of ``priority`` lies inside the one before it, as regions of brain
    tumours do, else ``independent``; the chance of error depends on it.
    ``rank``: the network puts out a low-rank Gaussian over logits (:mod:`segtrust.stochastic`) of that many
    factors; ``None``: the logits themselves.
    ``largest``: of such a network: foreground voxels on the network's grid (of one slice, if it is 2-D) that
    no draw may exceed, as many as the largest label in training had; ``None``: no limit.
    """

    kind: Literal["softmax", "sigmoid"] = "softmax"
    priority: tuple[int, ...] = ()
    threshold: float | tuple[float, ...] = 0.5
    rank: int | None = None
    structures: Relation = "independent"
    largest: int | None = None

    @property
    def rule(self) -> LabelRule:
        """How probabilities become the labels of a voxel."""
        return LabelRule(self.kind, self.priority, self.threshold, self.structures)


@dataclass(frozen=True)
class Intensity:
    """How voxel values are normalised, per scan and channel.

    ``zscore``: mean 0 and standard deviation 1; ``zscore_nonzero``: that of the voxels that are not 0, and 0
    stays 0; ``window``: ``low`` to ``high`` is mapped to [0, 1] and clipped; ``sigmoid_window``: it is mapped
    to [-1, 1] and goes through a sigmoid; ``none``. Then least and largest value are mapped to ``rescale``,
    if it is there.
    """

    method: Literal["zscore", "zscore_nonzero", "window", "sigmoid_window", "none"] = "zscore"
    low: float = 0.0
    high: float = 1.0
    rescale: tuple[float, float] | None = None


@dataclass(frozen=True)
class Windows:
    """How windows are laid over a scan: weights that blend them, what fills up a scan smaller than one."""

    blending: Literal["gaussian", "constant"] = "gaussian"
    padding: Literal["constant", "replicate"] = "constant"


@dataclass(frozen=True)
class Foreground:
    """The box that a network looks into: voxels ``above`` a value in any channel, and ``margin`` more."""

    above: float = 0.0
    margin: int = 0


@dataclass(frozen=True)
class ModelSpec:
    """Everything that is needed to run a model, apart from its weights.

    What training scans looked like, by which others are flagged (``None``: not compared): the shortest
    and the longest edge of scans, in order of length, as ``extent_mm``, and as ``extent_voxels`` of a model
    that sees voxels without their size; per channel ``intensity_ranges`` of the asymmetry of brightness, and
    ``intensity_levels`` of its 1st and 99th percentile, where absolute values matter.

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
    foreground: Foreground | None = None
    overlap: float = 0.25
    windows: Windows = Windows()
    head: Head = Head()
    members: int = 5
    extent_mm: tuple[tuple[float, float], ...] | None = None
    intensity_ranges: tuple[tuple[float, float], ...] | None = None
    extent_voxels: tuple[tuple[float, float], ...] | None = None
    intensity_levels: tuple[tuple[tuple[float, float], tuple[float, float]], ...] | None = None
    modality: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        self._check_names()
        self._check_input()
        self._check_head()
        self._check_sources()

    def _check_sources(self) -> None:
        sources = [value for label in self.labels for value in label.source_values]
        if self.head.kind == "softmax" and len(set(sources)) != len(sources):
            raise ModelError(
                f"labels of {self.name!r} must have different `source_value`, got {sources}. Regions that "
                "share values need a sigmoid head."
            )
        firsts = [label.source_values[0] for label in self.labels]
        if self.head.structures == "independent" and len(set(firsts)) != len(firsts):
            raise ModelError(
                f"regions of {self.name!r} that are not nested must each name first in `source_value` the "
                f"value that stands for them alone, got {firsts}."
            )

    @property
    def shares_values(self) -> bool:
        """Whether a value of the training labels belongs to several structures that are not nested."""
        sources = [value for label in self.labels for value in label.source_values]
        return self.head.structures == "independent" and len(set(sources)) != len(sources)

    def _check_head(self) -> None:
        head = self.head
        if head.kind not in ("softmax", "sigmoid"):
            raise ModelError(f"`head.kind` must be softmax or sigmoid, got {head.kind!r}.")
        if head.kind == "sigmoid" and sorted(head.priority) != list(range(1, len(self.labels) + 1)):
            raise ModelError(
                f"`head.priority` of a sigmoid model must order all label values, got {head.priority}."
            )
        if head.rank is not None and head.rank < 0:
            raise ModelError(f"`head.rank` must be 0 or more, or left out, got {head.rank}.")
        if head.largest is not None and (head.rank is None or head.largest < 1):
            raise ModelError(
                f"`head.largest` must be 1 or more, of a head with `rank`, or left out, got {head.largest}."
            )
        if head.structures not in ("independent", "nested"):
            raise ModelError(f"`head.structures` must be independent or nested, got {head.structures!r}.")
        if head.kind == "softmax" and (head.structures != "independent" or head.threshold != 0.5):
            raise ModelError(
                "`head.threshold` and `head.structures` are of a sigmoid head; a softmax head takes the "
                f"likeliest class, got {head.threshold} and {head.structures!r}."
            )
        each = head.threshold if isinstance(head.threshold, tuple) else (head.threshold,)
        if isinstance(head.threshold, tuple) and len(each) != len(self.labels):
            raise ModelError(
                f"`head.threshold` must be one number or one per structure ({len(self.labels)}), "
                f"got {len(each)}."
            )
        if not all(0 < threshold < 1 for threshold in each):
            raise ModelError(f"`head.threshold` must lie between 0 and 1, got {head.threshold}.")

    def _check_names(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ModelError(f"a model's name must be letters, digits, - and _, got {self.name!r}.")
        if [label.value for label in self.labels] != list(range(1, len(self.labels) + 1)):
            raise ModelError(
                f"label values of {self.name!r} must be 1..{len(self.labels)} in order, got "
                f"{[label.value for label in self.labels]}. Put the file's own values into `source_value`."
            )
        if len(self.labels) > _MOST_LABELS:
            raise ModelError(f"{self.name!r} may have {_MOST_LABELS} labels, got {len(self.labels)}.")
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
        if method not in _METHODS or not low < high:
            raise ModelError(
                f"`intensity` must be one of {', '.join(_METHODS)} with low < high, got {method!r} {low} to "
                f"{high}."
            )
        if self.intensity.rescale is not None and not self.intensity.rescale[0] < self.intensity.rescale[1]:
            raise ModelError(f"`intensity.rescale` must be two rising numbers, got {self.intensity.rescale}.")
        blending, padding = self.windows.blending, self.windows.padding
        if blending not in ("gaussian", "constant") or padding not in ("constant", "replicate"):
            raise ModelError(
                f"`windows` must blend by gaussian or constant and pad by constant or replicate, got "
                f"{blending!r} and {padding!r}."
            )
        if self.orientation and not _ORIENTATION.fullmatch(self.orientation):
            raise ModelError(
                f"`orientation` must be three letters such as RAS, or empty for the file's own, got "
                f"{self.orientation!r}."
            )
        lengths = {
            "spacing": self.spatial_dims,
            "extent_mm": 3,
            "extent_voxels": 3,
            "intensity_ranges": len(self.channels),
            "intensity_levels": len(self.channels),
        }
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
                Label(**{key: _frozen(value) for key, value in label.items()}) for label in fields["labels"]
            )
            if "head" in fields:
                head = dict(fields["head"])
                if isinstance(head.get("threshold"), list):
                    head["threshold"] = tuple(head["threshold"])
                fields["head"] = Head(**{**head, "priority": tuple(head.get("priority", ()))})
            for name, kind in (("intensity", Intensity), ("windows", Windows), ("foreground", Foreground)):
                if fields.get(name) is not None:
                    fields[name] = kind(**{key: _frozen(value) for key, value in fields[name].items()})
            for name in ("patch", "channels", "spacing"):
                fields[name] = tuple(fields[name]) if fields.get(name) is not None else None
            for name in ("extent_mm", "intensity_ranges", "extent_voxels"):
                fields[name] = tuple(map(tuple, fields[name])) if fields.get(name) is not None else None
            if fields.get("intensity_levels") is not None:
                fields["intensity_levels"] = tuple(
                    tuple((low, high) for low, high in channel) for channel in fields["intensity_levels"]
                )
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
        if self.head.structures == "independent":  # likewise
            del document["head"]["structures"]
        if self.head.largest is None:
            del document["head"]["largest"]
        for name in ("extent_voxels", "intensity_levels"):
            if document[name] is None:
                del document[name]
        if self.intensity.rescale is None:
            del document["intensity"]["rescale"]
        if self.windows == Windows():
            del document["windows"]
        if self.foreground is None:
            del document["foreground"]
        return document


def _frozen(value: Any) -> Any:  # noqa: ANN401  # whatever JSON can hold
    """The value; a list as a tuple."""
    return tuple(value) if isinstance(value, list) else value
