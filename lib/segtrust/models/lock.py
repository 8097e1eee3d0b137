"""One training of a model at a time, also across processes."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from segtrust.errors import TrainingError

__all__ = ["training_lock"]


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
