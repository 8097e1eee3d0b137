"""A model is a folder: a specification, immutable versions with checksums, and the version served now."""

import hashlib
import json
import re
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

from segtrust._files import replace_text, sync
from segtrust.errors import ModelError, ModelNotFoundError

__all__ = [
    "UNPUBLISHED",
    "Head",
    "Intensity",
    "Label",
    "ModelSpec",
    "ModelVersion",
    "find_models",
    "list_versions",
    "open_version",
    "publish_version",
    "set_current",
    "shipped_models_dir",
]

_NETWORK_HOMES = ("monai.networks.nets.", "segtrust.")
UNPUBLISHED = "unpublished.txt"
"""File in the folder of a version that was kept but is not to be served; it holds the reason."""
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
            given = dict(document)
            given["labels"] = tuple(
                Label(**{**label, **({"colour": tuple(label["colour"])} if "colour" in label else {})})
                for label in given["labels"]
            )
            if "head" in given:
                head = dict(given["head"])
                given["head"] = Head(**{**head, "priority": tuple(head.get("priority", ()))})
            if "intensity" in given:
                given["intensity"] = Intensity(**given["intensity"])
            for name in ("patch", "channels", "spacing"):
                given[name] = tuple(given[name]) if given.get(name) is not None else None
            for name in ("extent_mm", "intensity_ranges"):
                given[name] = tuple(map(tuple, given[name])) if given.get(name) is not None else None
            given["channels"] = given["channels"] or ("image",)
            return cls(**given)
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


@dataclass(frozen=True)
class ModelVersion:
    """One immutable version of a model; ``digest`` names its exact content."""

    folder: Path
    id: str
    spec: ModelSpec
    members: tuple[Path, ...]
    calibration: Mapping[str, Any]
    card: Mapping[str, Any]
    digest: str


def shipped_models_dir() -> Path:
    """Folder of the models that come with the package; read only."""
    return Path(__file__).parent / "shipped"


def find_models(*folders: Path) -> dict[str, Path]:
    """Find model folders.

    Args:
        folders: where to look, most important first; folders that do not exist are skipped.

    Returns:
        Name -> folder with a published version, sorted by name; of two with one name the first folder wins.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            continue
        for model in sorted(folder.iterdir()):
            if (model / "spec.json").is_file() and (model / "current").is_file():
                found.setdefault(model.name, model)
    return dict(sorted(found.items()))


def list_versions(model: Path) -> list[str]:
    """Ids of the versions in a model folder, oldest first."""
    versions = model / "versions"
    if not versions.is_dir():
        return []
    return sorted(
        p.name for p in versions.iterdir() if _NAME.fullmatch(p.name) and (p / "card.json").is_file()
    )


def open_version(model: Path, version_id: str | None = None) -> ModelVersion:
    """Open a version and check every byte of it.

    Args:
        model: the model folder.
        version_id: which version; the one named in ``current`` unless given.

    Returns:
        The version, its files checked against the SHA-256 sums of its card.

    Raises:
        ModelNotFoundError: if the folder or the version does not exist.
        ModelError: if a file is missing, truncated or changed; file, expected and got are named.
    """
    spec = ModelSpec.from_json(_read_json(model / "spec.json"))
    if spec.name != model.name:
        raise ModelError(f"{model / 'spec.json'} must name the model {model.name!r}, got {spec.name!r}.")
    if version_id is None:
        version_id = _read_text(model / "current").strip()
    folder = model / "versions" / version_id
    if not _NAME.fullmatch(version_id) or not folder.is_dir():
        raise ModelNotFoundError(
            f"model {spec.name!r} has no version {version_id!r}. "
            f"Known: {', '.join(list_versions(model)) or 'none'}."
        )
    return _checked_version(spec, folder, version_id)


def _checked_version(spec: ModelSpec, folder: Path, version_id: str) -> ModelVersion:
    card = _read_json(folder / "card.json")
    files = card.get("files")
    if not isinstance(files, dict) or "calibration.json" not in files:
        raise ModelError(f"{folder / 'card.json'} must list the files of the version under `files`.")
    for name, expected in sorted(files.items()):
        _check_file(folder, name, expected)
    members = tuple(folder / name for name in sorted(files) if name.startswith("members/"))
    if len(members) != spec.members:
        raise ModelError(f"{folder} must hold {spec.members} members, got {len(members)}.")
    whole = json.dumps([spec.to_json(), sorted(files.items())], sort_keys=True)
    return ModelVersion(
        folder=folder,
        id=version_id,
        spec=spec,
        members=members,
        calibration=_read_json(folder / "calibration.json"),
        card=card,
        digest=hashlib.sha256(whole.encode()).hexdigest(),
    )


def publish_version(
    model: Path,
    spec: ModelSpec,
    members: Sequence[Path],
    calibration: Mapping[str, Any],
    card: Mapping[str, Any],
    *,
    keep_because: str = "",
) -> ModelVersion:
    """Write a new version, check it, and serve it; a crash at any point leaves the old one served.

    Args:
        model: the model folder, made if it is missing; its name is the model's name.
        spec: the specification; must equal the folder's if that has one.
        members: weight files, copied.
        calibration: content of ``calibration.json``.
        card: content of ``card.json``; the checksums are added under ``files``.
        keep_because: why the version is only kept, and the old one stays served; empty to serve it.

    Returns:
        The version as it was read back.

    Raises:
        ModelError: if the specification differs from the folder's, or the version does not check.

    Note:
        Write, fsync, rename is the usual recipe for a crash-safe replacement.
    """
    (model / "versions").mkdir(parents=True, exist_ok=True)
    if (model / "spec.json").exists():
        if ModelSpec.from_json(_read_json(model / "spec.json")).to_json() != spec.to_json():
            raise ModelError(f"{model / 'spec.json'} describes another model. Publish under a new name.")
    else:
        replace_text(model / "spec.json", _dump(spec.to_json()))
    draft = model / "versions" / f".draft-{uuid.uuid4().hex}"
    try:
        _write_draft(draft, members, calibration, card)
        _checked_version(spec, draft, draft.name)
        if keep_because:
            replace_text(draft / UNPUBLISHED, keep_because + "\n")
        for path in (*draft.rglob("*"), draft):
            sync(path)
        version_id = f"{max([int(v) for v in list_versions(model) if v.isdigit()], default=0) + 1:04d}"
        draft.rename(model / "versions" / version_id)
        sync(model / "versions")
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    if not keep_because:
        set_current(model, version_id)
    return open_version(model, version_id)


def _write_draft(
    draft: Path, members: Sequence[Path], calibration: Mapping[str, Any], card: Mapping[str, Any]
) -> None:
    (draft / "members").mkdir(parents=True)
    for index, source in enumerate(members):
        shutil.copyfile(source, draft / "members" / f"{index}{source.suffix}")
    replace_text(draft / "calibration.json", _dump(calibration))
    names = [p.relative_to(draft).as_posix() for p in sorted(draft.rglob("*")) if p.is_file()]
    replace_text(draft / "card.json", _dump({**card, "files": {n: _sha256(draft / n) for n in names}}))


def set_current(model: Path, version_id: str) -> None:
    """Serve a version that exists: publish forward or roll back.

    Args:
        model: the model folder.
        version_id: id of a complete version.

    Raises:
        ModelNotFoundError: if there is no such version.
        ModelError: if the version does not check.
    """
    open_version(model, version_id)
    replace_text(model / "current", version_id + "\n")


def _check_file(folder: Path, name: str, expected: str) -> None:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ModelError(f"{folder / 'card.json'} must list files inside the version, got {name!r}.")
    if not path.is_file():
        raise ModelError(f"{path} is missing. Copy the version again or roll back to another one.")
    got = _sha256(path)
    if got != expected:
        raise ModelError(
            f"{path} must have SHA-256 {expected}, got {got} ({path.stat().st_size} bytes). "
            "The file was changed or cut off: copy the version again or roll back."
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise ModelNotFoundError(
            f"{path} is missing: this is no model folder, or nothing was published in it."
        )
    return path.read_text(encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    text = _read_text(path)
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ModelError(f"{path} must be JSON, but {error}. Was the file cut off?") from error
    if not isinstance(document, dict):
        raise ModelError(f"{path} must hold a JSON object, got {type(document).__name__}.")
    return document


def _dump(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n"
