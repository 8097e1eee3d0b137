"""A MONAI bundle as a specification: its JSON is read, and none of its expressions is evaluated."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from segtrust.errors import ModelError
from segtrust.models import Intensity, Label, ModelSpec

__all__ = ["read_bundle"]

_HOME = "monai.networks.nets."
_DEFAULT_ORIENTATION = "RAS"


def read_bundle(folder: Path, *, name: str) -> tuple[ModelSpec, Path]:
    """Read what a bundle of MONAI's own networks says about itself.

    Args:
        folder: holds ``configs/metadata.json``, ``configs/inference.json`` and ``models/model.pt``.
        name: of the model.

    Returns:
        The specification, and the weights.

    Raises:
        ModelError: if a part is missing, or is an expression (``$...``, ``@...``) that would have to be run:
            then export the network with `torch.export` and write the specification by hand.

    Source:
        MONAI Bundle specification 1.x; only literal values are taken.
    """
    metadata, inference = (
        _json(folder / "configs" / "metadata.json"),
        _json(folder / "configs" / "inference.json"),
    )
    weights = folder / "models" / "model.pt"
    if not weights.is_file():
        raise ModelError(f"{weights} must hold the bundle's weights, got no file.")
    network = _literal(inference.get("network_def"), "network_def")
    home, _, target = str(network.get("_target_", "")).rpartition(".")
    if home not in ("", _HOME.rstrip(".")) or not target:
        raise ModelError(f"the bundle's network must be one of MONAI's own, got {network.get('_target_')!r}.")
    formats = metadata.get("network_data_format", {})
    channels = formats.get("outputs", {}).get("pred", {}).get("channel_def", {})
    names = [str(channels[key]) for key in sorted(channels, key=int) if int(key) > 0]
    if not names:
        raise ModelError(f"{folder} must name its classes in network_data_format.outputs.pred.channel_def.")
    steps = list(_steps(inference.get("preprocessing", {})))
    inputs: Mapping[str, Any] = next(iter(formats.get("inputs", {}).values()), {})
    patch = tuple(_literal(inference.get("inferer", {}).get("roi_size"), "inferer.roi_size"))
    return (
        ModelSpec(
            name=name,
            labels=tuple(Label(label, value, value) for value, label in enumerate(names, start=1)),
            network={**network, "_target_": _HOME + target},
            patch=patch,
            channels=tuple(f"channel {k}" for k in range(int(inputs.get("num_channels", 1)))),
            spatial_dims=2 if len(patch) == 2 else 3,
            spacing=_spacing(steps),
            orientation=_orientation(steps),
            intensity=_intensity(steps),
            overlap=float(inference.get("inferer", {}).get("overlap", 0.25)),
            members=1,
            description=str(metadata.get("description", "")),
        ),
        weights,
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} must be a bundle's JSON, but {error}.") from error
    return document


def _literal(value: Any, name: str) -> Any:  # noqa: ANN401  # whatever JSON can hold
    """The value, if nothing in it would have to be evaluated."""
    if value is None:
        raise ModelError(f"the bundle must have `{name}` in configs/inference.json, got none.")
    if isinstance(value, str) and value.startswith(("$", "@", "%")):
        raise ModelError(f"`{name}` of the bundle must be plain values, got {value!r}, which is code.")
    if isinstance(value, Mapping):
        return {key: _literal(inner, name) for key, inner in value.items() if inner is not None}
    return [_literal(inner, name) for inner in value] if isinstance(value, list) else value


def _steps(preprocessing: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for step in preprocessing.get("transforms", []):
        if isinstance(step, Mapping) and not step.get("_disabled_"):
            yield step


def _of(steps: list[Mapping[str, Any]], *kinds: str) -> Mapping[str, Any] | None:
    return next((s for s in steps if str(s.get("_target_", "")).rpartition(".")[2] in kinds), None)


def _spacing(steps: list[Mapping[str, Any]]) -> tuple[float, ...] | None:
    step = _of(steps, "Spacingd")
    return (
        None if step is None else tuple(float(mm) for mm in _literal(step.get("pixdim"), "Spacingd.pixdim"))
    )


def _orientation(steps: list[Mapping[str, Any]]) -> str:
    step = _of(steps, "Orientationd")
    return (
        _DEFAULT_ORIENTATION if step is None else str(_literal(step.get("axcodes"), "Orientationd.axcodes"))
    )


def _intensity(steps: list[Mapping[str, Any]]) -> Intensity:
    if step := _of(steps, "ScaleIntensityRanged"):
        ends = [
            _literal(step.get(key), f"ScaleIntensityRanged.{key}")
            for key in ("a_min", "a_max", "b_min", "b_max")
        ]
        if ends[2:] != [0, 1] or not step.get("clip"):
            raise ModelError(
                "ScaleIntensityRanged of the bundle must map to 0 to 1 and clip. Use torch.export."
            )
        return Intensity("window", float(ends[0]), float(ends[1]))
    step = _of(steps, "NormalizeIntensityd")
    if step is None or step.get("nonzero"):
        raise ModelError(
            "the bundle must normalise by ScaleIntensityRanged, or NormalizeIntensityd of all voxels. For "
            "another way export the network with torch.export, the normalisation included."
        )
    return Intensity()
