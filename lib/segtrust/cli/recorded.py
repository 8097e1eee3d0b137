"""What the command line does to a site's models, in the audit trail of that site."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segtrust.models import ModelVersion
from segtrust.store import StateStore, person_here

__all__ = ["record_version"]


def record_version(
    model: Path, kind: str, version: ModelVersion | None, more: Mapping[str, Any] | None = None
) -> None:
    """Write down what was done with a version, if the folder of models is that of a site.

    Args:
        model: folder of the model; a site's lies in ``<state_dir>/models``.
        kind: what was done.
        version: the version; ``None`` for several.
        more: further facts.
    """
    state = model.parent.parent / "state.sqlite"
    if model.parent.name == "models" and state.is_file():
        about = {"version": version.id, "digest": version.digest} if version else {}
        facts = {"model": model.name, **about, **(more or {})}
        StateStore(state).append(kind, person_here(), facts, durable=True)
