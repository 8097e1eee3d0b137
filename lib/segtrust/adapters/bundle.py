"""A MONAI bundle as a specification: its JSON is read, and none of its expressions is evaluated."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segtrust.errors import ModelError
from segtrust.models import Intensity, Label, ModelSpec

__all__ = ["read_bundle"]

_REFERENCE = re.compile(r"@[A-Za-z0-9_]+(#[A-Za-z0-9_]+)*")
_HOME = "monai.networks.nets."
_DEFAULT_ORIENTATION = "RAS"
_READING = ("LoadImaged", "EnsureChannelFirstd", "EnsureTyped")
_GRID = ("Orientationd", "Spacingd")
_INTENSITY = ("ScaleIntensityRanged", "NormalizeIntensityd")
_WRITING = ("Activationsd", "AsDiscreted", "EnsureTyped", "Invertd", "SaveImaged")


def read_bundle(folder: Path, *, name: str) -> tuple[ModelSpec, Path]:
    """Read what a bundle of MONAI's own networks says about itself.

    Args:
        folder: holds ``configs/metadata.json``, ``configs/inference.json`` and ``models/model.pt``.
        name: of the model.

    Returns:
        The specification, and the weights.

    Raises:
        ModelError: if a part is missing, is an expression (``$...``) that would have to be run, or if the
            bundle transforms scans or results in a way that is not done here: then export the network with
            `torch.export` and write the specification by hand. A plain reference (``@key``, ``@key#inner``)
            is looked up.

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
    inference = _resolved(inference, inference, ())
    network = _literal(inference.get("network_def"), "network_def")
    home, _, target = str(network.get("_target_", "")).rpartition(".")
    if home not in ("", _HOME.rstrip(".")) or not target:
        raise ModelError(f"the bundle's network must be one of MONAI's own, got {network.get('_target_')!r}.")
    formats = metadata.get("network_data_format", {})
    channels = formats.get("outputs", {}).get("pred", {}).get("channel_def", {})
    names = [str(channels[key]) for key in sorted(channels, key=int) if int(key) > 0]
    if not names:
        raise ModelError(f"{folder} must name its classes in network_data_format.outputs.pred.channel_def.")
    steps = _steps(inference, "preprocessing", (*_READING, *_GRID, *_INTENSITY))
    _check_results(_steps(inference, "postprocessing", _WRITING))
    inputs: Mapping[str, Any] = next(iter(formats.get("inputs", {}).values()), {})
    inferer = inference.get("inferer", {})
    if _kind(inferer) != "SlidingWindowInferer":
        raise ModelError(f"the bundle must use SlidingWindowInferer, got {_kind(inferer) or 'no inferer'}.")
    patch = tuple(_literal(inferer.get("roi_size"), "inferer.roi_size"))
    channels_in = int(inputs.get("num_channels", 1))
    return (
        ModelSpec(
            name=name,
            labels=tuple(Label(label, value, value) for value, label in enumerate(names, start=1)),
            network={**network, "_target_": _HOME + target},
            patch=patch,
            channels=tuple(f"channel {k}" for k in range(channels_in)),
            spatial_dims=2 if len(patch) == 2 else 3,
            spacing=_spacing(steps),
            orientation=_orientation(steps),
            intensity=_intensity(steps, channels_in),
            overlap=float(_literal(inferer.get("overlap", 0.25), "inferer.overlap")),
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


def _resolved(value: Any, root: Mapping[str, Any], on_the_way: tuple[str, ...]) -> Any:  # noqa: ANN401
    """The same with plain references replaced by what they name; nothing is evaluated, no other file read."""
    if isinstance(value, Mapping):
        return {key: _resolved(inner, root, on_the_way) for key, inner in value.items()}
    if isinstance(value, list):
        return [_resolved(inner, root, on_the_way) for inner in value]
    if not (isinstance(value, str) and _REFERENCE.fullmatch(value)) or value in on_the_way:
        return value
    target: Any = root
    for key in value[1:].split("#"):
        if isinstance(target, list) and key.isdigit() and int(key) < len(target):
            target = target[int(key)]
        elif isinstance(target, Mapping) and key in target:
            target = target[key]
        else:
            return value
    return _resolved(target, root, (*on_the_way, value))


def _kind(part: object) -> str:
    """Name of the class that a part of the bundle names."""
    if not isinstance(part, Mapping):
        return ""
    home, _, name = str(part.get("_target_", "")).rpartition(".")
    return name if not home or home.startswith("monai.") else str(part["_target_"])


def _steps(inference: Mapping[str, Any], part: str, allowed: Sequence[str]) -> list[Mapping[str, Any]]:
    """Transforms that are switched on, all of which are done here too, or change nothing."""
    listed = inference.get(part, {})
    steps = listed.get("transforms", []) if isinstance(listed, Mapping) else listed
    if not isinstance(steps, list):
        raise ModelError(f"`{part}` of the bundle must list its transforms, got {steps!r}, which is code.")
    active = [s for s in steps if not (isinstance(s, Mapping) and s.get("_disabled_") is True)]
    for step in active:
        if _kind(step) not in allowed:
            raise ModelError(
                f"`{part}` of the bundle must hold {', '.join(allowed)} only, got "
                f"{_kind(step) or repr(step)[:80]}. Export the network with torch.export, with what it "
                "needs before and after it, and write spec.json by hand (docs/how-to/own-model.md)."
            )
        if step.get("_disabled_") not in (None, False):
            raise ModelError(
                f"`_disabled_` of {_kind(step)} must be true or false, got {step['_disabled_']!r}."
            )
    return active


def _check_results(steps: list[Mapping[str, Any]]) -> None:
    """Logits become probabilities by a softmax, and these a mask by the argmax."""
    activation, discrete = _of(steps, "Activationsd"), _of(steps, "AsDiscreted")
    if activation is not None and activation.get("softmax") is not True:
        raise ModelError(f"Activationsd of the bundle must be a softmax, got {_options(activation)}.")
    if discrete is not None and discrete.get("argmax") is not True:
        raise ModelError(f"AsDiscreted of the bundle must be an argmax, got {_options(discrete)}.")


def _options(step: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in step.items() if key not in ("_target_", "keys"))


def _of(steps: list[Mapping[str, Any]], *kinds: str) -> Mapping[str, Any] | None:
    return next((step for step in steps if _kind(step) in kinds), None)


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


def _intensity(steps: list[Mapping[str, Any]], channels: int) -> Intensity:
    if len(several := [_kind(step) for step in steps if _kind(step) in _INTENSITY]) > 1:
        raise ModelError(f"the bundle must normalise once, got {' and '.join(several)}. Use torch.export.")
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
    if channels > 1 and step.get("channel_wise") is not True:
        raise ModelError("NormalizeIntensityd of the bundle must be channel_wise with several channels.")
    if step.get("subtrahend") is not None or step.get("divisor") is not None:
        raise ModelError("NormalizeIntensityd of the bundle must take mean and spread of each scan.")
    return Intensity()
