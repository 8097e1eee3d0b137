"""A model is a folder: a specification, immutable versions with checksums, and the version served now."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segtrust.errors import ModelError, ModelNotFoundError
from segtrust.models.spec import ModelSpec

__all__ = [
    "ModelVersion",
    "checksum",
    "find_models",
    "list_versions",
    "open_version",
    "read_document",
    "read_version",
    "shipped_finders_dir",
    "shipped_models_dir",
]

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True)
class ModelVersion:
    """One immutable version of a model; ``digest`` names its exact content.

    ``documents`` are JSON files, by name, that its kind of network needs besides; most need none.
    """

    folder: Path
    id: str
    spec: ModelSpec
    members: tuple[Path, ...]
    calibration: Mapping[str, Any]
    card: Mapping[str, Any]
    digest: str
    documents: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def shipped_models_dir() -> Path:
    """Folder of the models that come with the package; read only."""
    return Path(__file__).parents[1] / "shipped"


def shipped_finders_dir() -> Path:
    """Folder of the networks that find what a crop model needs crops of; read only."""
    return shipped_models_dir() / "finders"


def find_models(*folders: Path) -> dict[str, Path]:
    """Find model folders.

    Args:
        folders: where to look, most important first; folders that do not exist are skipped.

    Returns:
        Name -> folder with a published version, sorted by name; of two with one name the first folder wins.
    """
    models: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            continue
        for model in sorted(folder.iterdir()):
            if (model / "spec.json").is_file() and (model / "current").is_file():
                models.setdefault(model.name, model)
    return dict(sorted(models.items()))


def list_versions(model: Path) -> list[str]:
    """Ids of the versions in a model folder, oldest first."""
    versions = model / "versions"
    if not versions.is_dir():
        return []
    return sorted(p.name for p in versions.iterdir() if _ID.fullmatch(p.name) and (p / "card.json").is_file())


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
    spec = ModelSpec.from_json(read_document(model / "spec.json"))
    if spec.name != model.name:
        raise ModelError(f"{model / 'spec.json'} must name the model {model.name!r}, got {spec.name!r}.")
    if version_id is None:
        version_id = _read_text(model / "current").strip()
    folder = model / "versions" / version_id
    if not _ID.fullmatch(version_id) or not folder.is_dir():
        raise ModelNotFoundError(
            f"model {spec.name!r} has no version {version_id!r}. "
            f"Known: {', '.join(list_versions(model)) or 'none'}."
        )
    return read_version(spec, folder, version_id)


def read_version(spec: ModelSpec, folder: Path, version_id: str) -> ModelVersion:
    """Read a version's folder, wherever it lies, and check every byte of it.

    Args:
        spec: of the model.
        folder: of the version, a draft perhaps.
        version_id: the id it has or is going to have.

    Returns:
        The version.

    Raises:
        ModelError: if a file is missing, truncated or changed, or the number of members is another one.
    """
    card = read_document(folder / "card.json")
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
        calibration=read_document(folder / "calibration.json"),
        card=card,
        digest=hashlib.sha256(whole.encode()).hexdigest(),
        documents={name: read_document(folder / name) for name in sorted(files) if _is_document(name)},
    )


def _is_document(name: str) -> bool:
    return name.endswith(".json") and name != "calibration.json" and not name.startswith("members/")


def _check_file(folder: Path, name: str, expected: str) -> None:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ModelError(f"{folder / 'card.json'} must list files inside the version, got {name!r}.")
    if not path.is_file():
        raise ModelError(f"{path} is missing. Copy the version again or roll back to another one.")
    got = checksum(path)
    if got != expected:
        raise ModelError(
            f"{path} must have SHA-256 {expected}, got {got} ({path.stat().st_size} bytes). "
            "The file was changed or cut off: copy the version again or roll back."
        )


def checksum(path: Path) -> str:
    """SHA-256 of a file, as cards list it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise ModelNotFoundError(
            f"{path} is missing: this is no model folder, or nothing was published in it."
        )
    return path.read_text(encoding="utf-8")


def read_document(path: Path) -> dict[str, Any]:
    """Read a JSON object of a model folder.

    Args:
        path: the file.

    Returns:
        Its content.

    Raises:
        ModelNotFoundError: if there is no such file.
        ModelError: if it is no JSON object.
    """
    text = _read_text(path)
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ModelError(f"{path} must be JSON, but {error}. Was the file cut off?") from error
    if not isinstance(document, dict):
        raise ModelError(f"{path} must hold a JSON object, got {type(document).__name__}.")
    return document
