"""The life of a model's versions: published, taken over, kept, rolled back, pruned.

Each step is one rename or one file that appears or goes, in an order in which a kill at any moment leaves a
whole version served.
"""

import contextlib
import json
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segtrust._files import replace_text, sync
from segtrust.errors import ModelError, ModelNotFoundError
from segtrust.models.folder import (
    ModelVersion,
    checksum,
    list_versions,
    open_version,
    read_document,
    read_version,
    shipped_models_dir,
)
from segtrust.models.spec import ModelSpec

__all__ = [
    "adopt_version",
    "best_version",
    "prune_versions",
    "publish_kept",
    "publish_version",
    "published_versions",
    "roll_back",
    "set_current",
    "why_unpublished",
]

# file in the folder of a version that was kept but is not to be served; it holds the reason
_UNPUBLISHED = "unpublished.txt"


def publish_version(
    model: Path,
    spec: ModelSpec,
    members: Sequence[Path],
    calibration: Mapping[str, Any],
    card: Mapping[str, Any],
    *,
    documents: Mapping[str, Mapping[str, Any]] | None = None,
    keep_because: str = "",
) -> ModelVersion:
    """Write a new version, check it, and serve it; a crash at any point leaves the old one served.

    Args:
        model: the model folder, made if it is missing; its name is the model's name.
        spec: the specification; must equal the folder's if that has one.
        members: weight files, copied.
        calibration: content of ``calibration.json``.
        card: content of ``card.json``; the checksums are added under ``files``.
        documents: JSON files, by name, that the network needs besides, see :class:`ModelVersion`.
        keep_because: why the version is only kept, and the old one stays served; empty to serve it.

    Returns:
        The version as it was read back.

    Raises:
        ModelError: if the specification differs from the folder's, or the version does not check.

    Note:
        Write, fsync, rename is the usual recipe for a crash-safe replacement.
    """
    is_new = not (model / "spec.json").exists()
    made = [folder for folder in (model / "versions", model, *model.parents) if not folder.exists()]
    (model / "versions").mkdir(parents=True, exist_ok=True)
    if not is_new:
        if ModelSpec.from_json(read_document(model / "spec.json")).to_json() != spec.to_json():
            raise ModelError(f"{model / 'spec.json'} describes another model. Publish under a new name.")
    else:
        replace_text(model / "spec.json", _dump(spec.to_json()))
    draft = model / "versions" / f".draft-{uuid.uuid4().hex}"
    try:
        _write_draft(draft, members, {**(documents or {}), "calibration.json": calibration}, card)
        read_version(spec, draft, draft.name)
        if keep_because:
            replace_text(draft / _UNPUBLISHED, keep_because + "\n")
        for path in (*draft.rglob("*"), draft):
            sync(path)
        version_id = f"{max([int(v) for v in list_versions(model) if v.isdigit()], default=0) + 1:04d}"
        draft.rename(model / "versions" / version_id)
        sync(model / "versions")
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        if is_new and not list_versions(model):  # a folder without a version is no model
            (model / "spec.json").unlink(missing_ok=True)
        for folder in made:
            with contextlib.suppress(OSError):  # not empty: somebody else writes into it
                folder.rmdir()
        raise
    if not keep_because:
        set_current(model, version_id)
    return open_version(model, version_id)


def _write_draft(
    draft: Path,
    members: Sequence[Path],
    documents: Mapping[str, Mapping[str, Any]],
    card: Mapping[str, Any],
) -> None:
    (draft / "members").mkdir(parents=True)
    for index, source in enumerate(members):
        shutil.copyfile(source, draft / "members" / f"{index}{source.suffix}")
    for name, document in documents.items():
        replace_text(draft / name, _dump(document))
    names = [p.relative_to(draft).as_posix() for p in sorted(draft.rglob("*")) if p.is_file()]
    replace_text(draft / "card.json", _dump({**card, "files": {n: checksum(draft / n) for n in names}}))


def _dump(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=1, sort_keys=True, allow_nan=False) + "\n"


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


def adopt_version(version: ModelVersion, model: Path) -> ModelVersion:
    """Copy a version, shipped or of another folder, into a model folder and serve it there.

    Args:
        version: any opened version.
        model: the model folder.

    Returns:
        The copy; its digest is that of the original, so that scores stay valid.

    Raises:
        ModelError: if the folder holds another model.
    """
    card = {name: value for name, value in version.card.items() if name != "files"}
    return publish_version(
        model, version.spec, version.members, version.calibration, card, documents=version.documents
    )


def why_unpublished(model: Path, version_id: str) -> str:
    """Why a version is only kept; empty if it is, or once was, served."""
    note = model / "versions" / version_id / _UNPUBLISHED
    return note.read_text(encoding="utf-8").strip() if note.is_file() else ""


def published_versions(model: Path) -> list[str]:
    """Ids of the versions that are or were served, oldest first."""
    return [version_id for version_id in list_versions(model) if not why_unpublished(model, version_id)]


def best_version(model: Path) -> ModelVersion:
    """The published version that new ones are held against.

    Args:
        model: the model folder.

    Returns:
        The one that the served version's card names under ``best`` by its digest; the served version if that
        one is gone. So many small steps down cannot add up.

    Raises:
        ModelError: if no version is served or a file does not check.
    """
    served = open_version(model)
    wanted = served.card.get("best", served.digest)
    if wanted != served.digest:
        for version_id in reversed(published_versions(model)):
            version = open_version(model, version_id)
            if version.digest == wanted:
                return version
    return served


def publish_kept(model: Path, version_id: str) -> ModelVersion:
    """Serve a version that was only kept.

    Args:
        model: the model folder.
        version_id: of the version.

    Returns:
        The version.

    Raises:
        ModelNotFoundError: if there is no such version.
        ModelError: if it does not check.
    """
    version = open_version(model, version_id)
    (version.folder / _UNPUBLISHED).unlink(missing_ok=True)
    set_current(model, version_id)
    return version


def roll_back(model: Path, version_id: str | None = None) -> ModelVersion:
    """Serve an older version again; those after it are only kept from now on.

    Args:
        model: the model folder.
        version_id: a version that was served; the one before the present one unless given.

    Returns:
        The version.

    Raises:
        ModelNotFoundError: if there is no such version, or none before the present one.
        ModelError: if it was never served, or does not check.
    """
    served, published = open_version(model).id, published_versions(model)
    older = [version for version in published if version < served]
    target = version_id or (older[-1] if older else None)
    if target is None:
        raise ModelNotFoundError(f"model {model.name!r} must have a version before {served} to roll back to.")
    if target not in published:
        raise ModelNotFoundError(
            f"model {model.name!r} was never served as version {target!r}. Served before {served}: "
            f"{', '.join(older) or 'none'}; "
            "a version that was only kept is served by `publish`."
        )
    set_current(model, target)
    for later in published:
        if later > target:
            replace_text(model / "versions" / later / _UNPUBLISHED, f"rolled back to {target}\n")
    return open_version(model, target)


def prune_versions(model: Path, *, keep: int) -> list[str]:
    """Delete old versions.

    Args:
        model: the model folder.
        keep: how many of the newest stay, besides the one that is served and the one that new ones are held
            against.

    Returns:
        Ids of the versions that are gone.

    Raises:
        ModelError: for a model that came with the package, or ``keep`` below 1.

    Note:
        A version is renamed before its files go, so that nobody lists half of one.
    """
    if model.resolve().is_relative_to(shipped_models_dir().resolve()):
        raise ModelError(f"{model} came with the package and is never pruned.")
    if keep < 1:
        raise ModelError(f"`keep` must be at least 1, got {keep}.")
    spared = {open_version(model).id, best_version(model).id, *list_versions(model)[-keep:]}
    gone = [version_id for version_id in list_versions(model) if version_id not in spared]
    for version_id in gone:
        draft = model / "versions" / f".draft-{uuid.uuid4().hex}"
        (model / "versions" / version_id).rename(draft)
        shutil.rmtree(draft)
    return gone
