"""A MONAI bundle as a specification: its configuration is read, and none of its code is run.

A bundle is a program. What it does is compared with lists of steps that are done here too
(:mod:`.bundle_steps`); what is on none of them, or has an option that is on none, is a refusal by name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from segtrust.adapters.bundle_steps import (
    check_options,
    foreground,
    head,
    intensity,
    kind,
    listed_steps,
    orientation,
    spacing,
)
from segtrust.adapters.configuration import Code, Configuration, described, listed, read_document
from segtrust.errors import ModelError
from segtrust.models import Label, ModelSpec, Windows

__all__ = ["Bundle", "is_bundle", "read_bundle", "read_configuration"]

_HOME = "monai.networks.nets."
_NUMBERED = re.compile(r"model[-_]?(?:fold|best|final)?[-_]?(\d+)\.(?:pt|pth|safetensors)")
_GONE = {"SwinUNETR": ("img_size",)}
"""Arguments that changed nothing but a check of sizes, and that MONAI no longer takes."""
_INFERERS = {
    "SlidingWindowInferer": 3,
    "SlidingWindowInfererAdapt": 3,
    "SliceInferer": 2,
}
_INFERER_OPTIONS = (
    "roi_size", "sw_batch_size", "overlap", "mode", "padding_mode", "cval", "sw_device", "device", "progress",
    "cache_roi_weight_map", "spatial_dim",
)  # fmt: skip


@dataclass(frozen=True)
class Bundle:
    """What a bundle is here: specification, files of its members, and what is otherwise than there."""

    spec: ModelSpec
    weights: tuple[Path, ...]
    remarks: tuple[str, ...] = ()


def is_bundle(path: Path) -> bool:
    """Whether a folder looks like a bundle."""
    return (path / "configs").is_dir() and any(path.glob("configs/metadata.*"))


def read_bundle(folder: Path, *, name: str) -> Bundle:
    """Read what a bundle of MONAI's own networks says about itself.

    Args:
        folder: holds ``configs/metadata`` and ``configs/inference`` (JSON or YAML) and the weights in
            ``models``: the checkpoint that the bundle loads (``model.pt`` unless it says otherwise), or
            numbered ones (``model_0.pt``, ``model_fold1.pt``), each of which is a member.
        name: of the model.

    Returns:
        The specification, the weights, and remarks.

    Raises:
        ModelError: if a part is missing or is code that would have to be run, or if the bundle transforms
            scans or results in a way that is not done here: then export the network with `torch.export` and
            write the specification by hand.

    Source:
        MONAI Bundle specification 1.x.
    """
    spec, remarks, checkpoint = read_configuration(folder / "configs", name=name)
    weights, others = _weights(folder / "models", checkpoint)
    if others:
        remarks = (*remarks, f"not taken as members: {', '.join(path.name for path in others)}")
    return Bundle(_with_members(spec, len(weights)), weights, remarks)


def read_configuration(folder: Path, *, name: str) -> tuple[ModelSpec, tuple[str, ...], str]:
    """Read the configuration of a bundle alone.

    Args:
        folder: with ``metadata`` and ``inference``, JSON or YAML.
        name: of the model.

    Returns:
        The specification of one member, remarks, and the file name of the checkpoint.

    Raises:
        ModelError: as :func:`read_bundle`.
    """
    metadata, _ = read_document(folder, "metadata")
    inference = Configuration(*read_document(folder, "inference"))
    network = _network(inference)
    pre = listed_steps(inference.look_up("preprocessing"), "preprocessing")
    post = listed_steps(inference.look_up("postprocessing"), "postprocessing")
    inputs, outputs = _formats(metadata)
    decision, remarks = head(post)
    labels = _labels(outputs, inference.path, background=decision.kind == "softmax")
    if decision.kind == "sigmoid":
        decision = replace(decision, priority=tuple(range(1, len(labels) + 1)))
    channels = _channels(inputs)
    dims, patch, overlap, windows = _inferer(inference.look_up("inferer"), inference.path)
    voxel = spacing(pre)
    spec = ModelSpec(
        name=name,
        labels=labels,
        network=network,
        patch=patch,
        channels=channels,
        spatial_dims=2 if dims == 2 else 3,
        spacing=None if voxel is None else voxel[:dims],
        orientation=orientation(pre),
        intensity=intensity(pre, len(channels)),
        foreground=foreground(pre),
        overlap=overlap,
        windows=windows,
        head=decision,
        members=1,
        modality=str(inputs.get("modality", "")) if inputs.get("modality") in ("CT", "MR") else "",
        description=str(metadata.get("description", "")),
    )
    return spec, remarks, _checkpoint(inference)


def _network(inference: Configuration) -> dict[str, Any]:
    network = inference.look_up("network_def", "network")
    if network is None:
        raise ModelError(f"{inference.path} must have `network_def`, got none.")
    if (code := _first_code(network)) is not None:
        raise ModelError(f"`network_def` of the bundle must be plain values, got {code!r}, which is code.")
    if not isinstance(network, Mapping):
        raise ModelError(f"`network_def` of the bundle must name a class, got {described(network)}.")
    home, _, target = str(network.get("_target_", "")).rpartition(".")
    if home not in ("", _HOME.rstrip(".")) or not target:
        raise ModelError(f"the bundle's network must be one of MONAI's own, got {network.get('_target_')!r}.")
    gone = _GONE.get(target, ())
    plain = {key: value for key, value in network.items() if value is not None and key not in gone}
    return plain | {"_target_": _HOME + target}


def _first_code(value: Any) -> str | None:  # noqa: ANN401  # whatever a configuration can hold
    """The first part of a value that would have to be run."""
    if isinstance(value, Code):
        return str(value)
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return next((code for part in inner if (code := _first_code(part)) is not None), None)


def _formats(metadata: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    formats = metadata.get("network_data_format")
    parts = formats if isinstance(formats, Mapping) else {}
    inputs, outputs = parts.get("inputs"), parts.get("outputs")
    if not isinstance(inputs, Mapping) or not isinstance(outputs, Mapping) or len(inputs) != 1:
        raise ModelError(
            "metadata of the bundle must describe one input and `pred` in `network_data_format`, got "
            f"{described(inputs)} and {described(outputs)}."
        )
    if not isinstance(outputs.get("pred"), Mapping):
        raise ModelError(f"metadata of the bundle must describe the output `pred`, got {described(outputs)}.")
    (only,) = inputs.values()
    return only if isinstance(only, Mapping) else {}, outputs["pred"]


def _labels(output: Mapping[str, Any], path: Path, *, background: bool) -> tuple[Label, ...]:
    named = output.get("channel_def") or output.get("label_def")
    if not isinstance(named, Mapping) or not all(str(key).isdigit() for key in named):
        raise ModelError(
            f"{path.parent}: metadata must name its classes in network_data_format.outputs.pred.channel_def, "
            f"got {described(named)}."
        )
    ordered = sorted((int(key), str(value)) for key, value in named.items())
    names = [label for value, label in ordered if value > 0 or not background]
    if [value for value, _ in ordered] != list(range(len(ordered))) or not names:
        raise ModelError(
            f"{path.parent}: metadata must name every class from 0 on, got {[value for value, _ in ordered]}."
        )
    return tuple(Label(label, value, value) for value, label in enumerate(names, start=1))


def _channels(inputs: Mapping[str, Any]) -> tuple[str, ...]:
    count = inputs.get("num_channels", 1)
    if not isinstance(count, int) or count < 1:
        raise ModelError(f"metadata of the bundle must give num_channels as a number, got {count!r}.")
    named = inputs.get("channel_def")
    if isinstance(named, Mapping) and sorted(map(str, named)) == sorted(map(str, range(count))):
        return tuple(str(named.get(str(k), named.get(k))) for k in range(count))
    return tuple(f"channel {k}" for k in range(count))


def _inferer(inferer: Any, path: Path) -> tuple[int, tuple[int, ...], float, Windows]:  # noqa: ANN401
    name = kind(inferer)
    if name not in _INFERERS:
        raise ModelError(
            f"the bundle must use {' or '.join(_INFERERS)}, got {name or 'no inferer'}. Export the network "
            "with torch.export and write spec.json by hand (docs/how-to/own-model.md)."
        )
    check_options(inferer, _INFERER_OPTIONS, "inferer")
    size = inferer.get("roi_size")
    if not isinstance(size, list) or not all(isinstance(n, int) and n > 0 for n in size):
        raise ModelError(
            f"{path}: `inferer.roi_size` of the bundle must be plain values above 0, got {described(size)}."
        )
    dims, slices = _INFERERS[name], inferer.get("spatial_dim", 0)
    if len(size) != dims or (dims == 2 and slices != 2):
        raise ModelError(
            f"`inferer` of the bundle must have {dims} sizes, and slices along the last axis "
            f"(spatial_dim 2), got {size} and {described(slices)}."
        )
    overlap = inferer.get("overlap", 0.25)
    if not isinstance(overlap, int | float) or not 0 <= overlap < 1:
        raise ModelError(f"`inferer.overlap` of the bundle must be plain values, got {described(overlap)}.")
    blending, padding = inferer.get("mode", "constant"), inferer.get("padding_mode", "constant")
    if (
        blending not in ("gaussian", "constant")
        or padding not in ("constant", "replicate")
        or inferer.get("cval", 0) != 0
    ):
        raise ModelError(
            "`inferer` of the bundle must blend by gaussian or constant and pad with zeros or replicate, got "
            f"{described(blending)}, {described(padding)} and {described(inferer.get('cval', 0))}."
        )
    return dims, tuple(size), float(overlap), Windows(blending, padding)


def _checkpoint(inference: Configuration) -> str:
    """File name of the weights that the bundle loads; folders that it names are not gone to."""
    handlers = listed(inference.look_up("handlers") or [])
    loaders = [inference.look_up("checkpointloader"), *handlers]
    loader: Mapping[str, Any] = next((one for one in loaders if kind(one) == "CheckpointLoader"), {})
    path = loader.get("load_path")
    return PurePosixPath(path).name if isinstance(path, str) and not isinstance(path, Code) else "model.pt"


def _weights(models: Path, checkpoint: str) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Files of the members, and other checkpoints."""
    there = sorted(p for p in models.glob("*") if p.suffix in (".pt", ".pth", ".safetensors") and p.is_file())
    numbered = sorted((int(m[1]), p) for p in there if (m := _NUMBERED.fullmatch(p.name)))
    members = [path for _, path in numbered] or [p for p in there if p.name == checkpoint]
    if not members:
        raise ModelError(
            f"{models} must hold the bundle's weights {checkpoint}, or numbered ones (model_0.pt, "
            f"model_1.pt), got {', '.join(path.name for path in there) or 'no file'}."
        )
    return tuple(members), tuple(path for path in there if path not in members)


def _with_members(spec: ModelSpec, count: int) -> ModelSpec:
    return ModelSpec.from_json({**spec.to_json(), "members": count})
