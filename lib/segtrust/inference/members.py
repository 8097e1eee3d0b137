"""Networks and their weights: building, saving, loading."""

import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, load_model, save_model
from torch import nn

from segtrust.adapters.networks import HOME as EXPORTED_HOME
from segtrust.adapters.networks import SUFFIXES, load_network
from segtrust.errors import DeviceError, ModelError
from segtrust.models import ModelSpec

_WORDS = 300  # PyTorch lists every key that does not fit
_FETCHED = ("path_or_repo_id", "pretrained_url", "weights", "checkpoint")

__all__ = ["build_network", "check_device", "load_member", "load_weights", "save_weights"]


def build_network(spec: ModelSpec) -> nn.Module:
    """Build the network that a specification names, with fresh random weights.

    Args:
        spec: ``spec.network`` holds ``_target_`` and the arguments.

    Returns:
        The network, on the CPU, in training mode.

    Raises:
        ModelError: if the class does not exist or refuses the arguments.

    Note:
        The form is that of MONAI bundles, limited to ``monai.networks.nets`` and ``segtrust``.
    """
    arguments: dict[str, Any] = dict(spec.network)
    home, _, name = str(arguments.pop("_target_")).rpartition(".")
    refused = f"`network` of {spec.name!r} must name a class and its arguments"
    try:
        kind = getattr(importlib.import_module(home), name)
    except (ImportError, AttributeError) as error:
        raise ModelError(f"{refused}, but {error}.") from error
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):  # before anything of it is called
        raise ModelError(f"`network._target_` of {spec.name!r} must be a torch.nn.Module, got {name!r}.")
    try:
        return kind(**_without_downloads(kind, arguments))
    except (TypeError, ValueError) as error:
        raise ModelError(f"{refused}, but {error}.") from error


def _without_downloads(kind: type[nn.Module], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The same arguments, so that a constructor neither fetches weights nor opens a file that they name."""
    names = inspect.signature(kind).parameters
    if asked := sorted(set(_FETCHED) & set(names) & (set(arguments) | {"path_or_repo_id"})):
        raise ValueError(f"{kind.__name__} would read {', '.join(asked)} from elsewhere")
    return {**arguments, **({"pretrained": False} if "pretrained" in names else {})}


def save_weights(network: nn.Module, path: Path) -> None:
    """Write a network's weights and buffers as safetensors.

    Args:
        network: any module; moved to the CPU.
        path: file to write; replaced atomically.
    """
    part = path.with_name(f".{path.name}.part")
    plain = network.to("cpu").to(memory_format=torch.contiguous_format)
    save_model(plain, str(part))  # keeps one copy of weights that two names share
    part.replace(path)


def load_weights(path: Path) -> Mapping[str, torch.Tensor]:
    """Read weights without running any code that is in the file.

    Args:
        path: ``.safetensors``, or ``.pt``/``.pth`` (read with ``weights_only=True``).

    Returns:
        Name -> tensor, on the CPU.

    Raises:
        ModelError: if the file is damaged or holds more than tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251  # the one place
    except Exception as error:  # whatever a damaged file makes the reader trip over
        raise ModelError(f"{path} must hold weights, but {error}. Was the file cut off?") from error
    weights = loaded.get("model", loaded.get("state_dict", loaded)) if isinstance(loaded, dict) else None
    if not isinstance(weights, Mapping) or not weights:
        raise ModelError(f"{path} must hold weights by name, got {type(loaded).__name__}.")
    return weights


def load_member(spec: ModelSpec, path: Path) -> nn.Module:
    """Build a network and fill it with a member's weights.

    Args:
        spec: the model's specification.
        path: the member's weights, or a ``.pt2`` or ``.onnx`` file that is a network itself.

    Returns:
        The network in evaluation mode, without gradients, on the CPU.

    Raises:
        ModelError: if names or shapes do not fit the network.
    """
    if path.suffix in SUFFIXES:  # it has no modes and no gradients
        output = str(spec.network.get("output", "logits"))
        return load_network(path, output=output, head=spec.head.kind)
    if str(spec.network["_target_"]).startswith(EXPORTED_HOME):
        raise ModelError(
            f"{path.name} must be a network of its own ({' or '.join(SUFFIXES)}) as `network` of "
            f"{spec.name!r} says, got {path.suffix or 'no ending'}: weights alone do not say what to do with "
            "them. Export the network with torch.export.save."
        )
    network = build_network(spec)
    try:
        if path.suffix == ".safetensors":
            load_model(network, path)
        else:
            network.load_state_dict(dict(load_weights(path)))
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:_WORDS]
        raise ModelError(f"{path} must fit the network of {spec.name!r}, but {reason}.") from error
    return network.eval().requires_grad_(False)


def check_device(name: str) -> torch.device:
    """Turn a device's name into a device that exists.

    Args:
        name: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ``cuda:1``, ``mps``, ...

    Returns:
        The device.

    Raises:
        DeviceError: if the name means nothing or the device is absent; the message lists what is there.
    """
    available = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        available.append("mps")
    if name == "auto":
        return torch.device("cuda:0" if "cuda:0" in available else "cpu")
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in available:
        raise DeviceError(f"`device` must be one of auto, {', '.join(available)}, got {name!r}.")
    return torch.device(wanted)
