"""A model is a folder: what it is, its versions with checksums, and which of them is served.

- ``spec``: what is needed to run a model, apart from its weights
- ``folder``: finding a model and opening a version, checked to the last byte
- ``life``: versions are published, kept, rolled back and pruned
- ``lock``: one training of a model at a time
"""

from segtrust.models.folder import (
    ModelVersion,
    find_models,
    list_versions,
    open_version,
    shipped_finders_dir,
    shipped_models_dir,
)
from segtrust.models.life import (
    adopt_version,
    best_version,
    prune_versions,
    publish_kept,
    publish_version,
    published_versions,
    roll_back,
    set_current,
    why_unpublished,
)
from segtrust.models.lock import training_lock
from segtrust.models.spec import Foreground, Head, Intensity, Label, ModelSpec, Windows

__all__ = [
    "Foreground",
    "Head",
    "Intensity",
    "Label",
    "ModelSpec",
    "ModelVersion",
    "Windows",
    "adopt_version",
    "best_version",
    "find_models",
    "list_versions",
    "open_version",
    "prune_versions",
    "publish_kept",
    "publish_version",
    "published_versions",
    "roll_back",
    "set_current",
    "shipped_finders_dir",
    "shipped_models_dir",
    "training_lock",
    "why_unpublished",
]
