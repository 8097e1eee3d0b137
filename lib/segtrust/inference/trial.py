"""A model is tried before it is published: its members are loaded, and one small scan is predicted."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from segtrust.adapters import read_probabilities, volume_files
from segtrust.errors import ModelError, SegtrustError
from segtrust.inference.members import load_member
from segtrust.inference.predictor import Predictor
from segtrust.inference.scan import Scan
from segtrust.models import ModelSpec, ModelVersion

__all__ = ["made_up_scan", "made_up_window", "try_members", "try_volumes"]

_SIDE = 32
_WORDS = 300  # PyTorch lists every key that does not fit
_NAMED = 5


def try_members(spec: ModelSpec, members: Sequence[Path], calibration: Mapping[str, Any]) -> None:
    """Load each member and run it on one window, then predict a small made-up scan with all of them.

    Args:
        spec: of the model.
        members: their files.
        calibration: content of ``calibration.json``.

    Raises:
        ModelError: if a file is missing, cannot be loaded, or puts out something else than ``spec`` says; the
            message names the file, what it must put out and what it does.
    """
    for path in members:
        if not path.is_file():
            raise ModelError(f"there must be a file {path} with a member of {spec.name!r}, got none.")
        _try_window(spec, path)
    version = ModelVersion(
        folder=Path(),
        id="trial",
        spec=spec,
        members=tuple(members),
        calibration=calibration,
        card={},
        digest="trial",
    )
    try:
        prediction = Predictor(version).predict_scan(made_up_scan(spec))
    except Exception as error:  # whatever a network makes of a scan
        raise ModelError(
            f"{spec.name!r} must predict a small scan of {_SIDE} x {_SIDE} x {_SIDE} voxels, but "
            f"{_short(error)}. Do spec.json, members and calibration belong together?"
        ) from error
    if not np.isfinite(prediction.probs).all():
        raise ModelError(f"{spec.name!r} must put out finite numbers, got NaN for a scan of plain noise.")


def try_volumes(spec: ModelSpec, folder: Path) -> int:
    """Read every probability volume of a folder that is to be served.

    Args:
        spec: of the model.
        folder: of the volumes.

    Returns:
        How many scans there are.

    Raises:
        ModelError: if there is none, or one cannot be read or has other classes; the message names them.
    """
    try:
        cases = volume_files(folder)
    except SegtrustError as error:
        raise ModelError(f"{folder} must hold probability volumes, but {error}") from error
    if not cases:
        raise ModelError(f"{folder} must hold probability volumes, got none. See docs/reference/files.md.")
    reasons = []
    for files in cases:
        try:
            classes = read_probabilities(files).probs.shape[0]
        except SegtrustError as error:
            reasons.append(str(error))
            continue
        if classes != spec.n_classes:
            reasons.append(
                f"{files.id!r} must have {spec.n_classes} classes as spec.json says, background "
                f"included, got {classes}."
            )
    if reasons:
        more = f" And {len(reasons) - _NAMED} more." if len(reasons) > _NAMED else ""
        raise ModelError(
            f"{len(reasons)} of {len(cases)} volumes cannot be served: {' '.join(reasons[:_NAMED])}{more}"
        )
    return len(cases)


def _try_window(spec: ModelSpec, path: Path) -> None:
    network = load_member(spec, path)
    window = made_up_window(spec)
    expected = f"({1}, {_channels(spec)}, {', '.join(map(str, spec.patch))})"
    wanted = f"{path} must take a window {tuple(window.shape)} and put out {expected}"
    try:
        with torch.inference_mode():
            out: object = network(window)
    except Exception as error:  # whatever a foreign network trips over
        raise ModelError(
            f"{wanted}, but {_short(error)}. Do `channels` and `patch` of spec.json fit it?"
        ) from error
    if not isinstance(out, torch.Tensor):
        raise ModelError(f"{wanted}, got {type(out).__name__}. Export what returns one tensor.")
    if tuple(out.shape) != (1, _channels(spec), *spec.patch):
        raise ModelError(
            f"{wanted}, got {tuple(out.shape)}. Does spec.json name every class, and no other? Background "
            "is not named."
        )
    if not bool(torch.isfinite(out).all()):
        raise ModelError(f"{wanted} in finite numbers, got NaN or infinity.")


def _channels(spec: ModelSpec) -> int:
    """Channels that a network must put out; a stochastic one its means, variances and factors."""
    return spec.n_classes * (1 if spec.head.rank is None else 2 + spec.head.rank)


def made_up_window(spec: ModelSpec) -> torch.Tensor:
    """A window of noise ``(1, C, *patch)``."""
    return torch.randn(1, len(spec.channels), *spec.patch, generator=torch.Generator().manual_seed(0))


def made_up_scan(spec: ModelSpec) -> Scan:
    """A small scan of noise, as a model of this specification takes it."""
    noise = torch.rand(len(spec.channels), _SIDE, _SIDE, _SIDE, generator=torch.Generator().manual_seed(0))
    window = spec.intensity
    if window.method in ("window", "sigmoid_window"):
        noise = window.low + (window.high - window.low) * noise
    mm = tuple((*(spec.spacing or ()), 1.0, 1.0, 1.0)[:3])
    return Scan(noise, np.diag([*mm, 1.0]), (mm[0], mm[1], mm[2]))


def _short(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:_WORDS]
