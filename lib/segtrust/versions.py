"""The life of a model's versions: taken over, kept, published, rolled back, pruned.

Each step is one rename or one file that appears or goes, in an order in which a kill at any moment leaves a
whole version served.
"""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from segtrust._files import replace_text
from segtrust.errors import ModelError, ModelNotFoundError, TrainingError
from segtrust.models import (
    UNPUBLISHED,
    ModelVersion,
    list_versions,
    open_version,
    publish_version,
    set_current,
    shipped_models_dir,
)

__all__ = [
    "adopt_version",
    "best_version",
    "prune_versions",
    "publish_kept",
    "published_versions",
    "roll_back",
    "training_lock",
    "why_unpublished",
]


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
    return publish_version(model, version.spec, version.members, version.calibration, card)


def why_unpublished(model: Path, version_id: str) -> str:
    """Why a version is only kept; empty if it is, or once was, served."""
    note = model / "versions" / version_id / UNPUBLISHED
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
    (version.folder / UNPUBLISHED).unlink(missing_ok=True)
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
    older = [known for known in published if known < served]
    target = version_id or (older[-1] if older else None)
    if target is None:
        raise ModelNotFoundError(f"model {model.name!r} must have a version before {served} to roll back to.")
    if target not in published:
        known = ", ".join(older) or "none"
        raise ModelNotFoundError(
            f"model {model.name!r} was never served as version {target!r}. Served before {served}: {known}; "
            "a version that was only kept is served by `publish`."
        )
    set_current(model, target)
    for later in published:
        if later > target:
            replace_text(model / "versions" / later / UNPUBLISHED, f"rolled back to {target}\n")
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


@contextmanager
def training_lock(model: Path) -> Iterator[None]:
    """Let one training at a time into a model folder; what a killed one left half written goes.

    Args:
        model: the model folder, made if it is missing.

    Raises:
        TrainingError: if another training of this model runs.

    Note:
        The operating system frees the lock of a process that ends in whatever way.
    """
    model.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(model / ".training.lock", timeout=0):
            for draft in (
                *model.glob("versions/.draft-*"),
                *model.glob(".current.*"),
                *model.glob(".spec.json.*"),
            ):
                shutil.rmtree(draft) if draft.is_dir() else draft.unlink()
            yield
    except Timeout as error:
        raise TrainingError(
            f"one training of {model.name!r} at a time, and one runs already. Wait for it, or stop it."
        ) from error
