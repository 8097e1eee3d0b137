"""The steps of a bundle that are done here too: which transforms, with which options, in which order."""

from collections.abc import Mapping, Sequence
from typing import Any

from segtrust.adapters.configuration import Code, described, listed
from segtrust.errors import ModelError
from segtrust.models import Foreground, Head, Intensity

__all__ = [
    "check_options",
    "foreground",
    "head",
    "intensity",
    "kind",
    "listed_steps",
    "orientation",
    "spacing",
]

_ANYWHERE = {
    "EnsureTyped": ("data_type", "dtype", "device", "track_meta", "wrap_sequence"),
    "CastToTyped": ("dtype",),
    "ToDeviced": ("device", "non_blocking"),
}
_GRID = {
    "Orientationd": ("axcodes", "labels"),
    "Spacingd": ("pixdim", "mode", "padding_mode", "dtype", "align_corners"),
}
_INTENSITY = {
    "ScaleIntensityRanged": ("a_min", "a_max", "b_min", "b_max", "clip", "dtype"),
    "NormalizeIntensityd": ("nonzero", "channel_wise", "subtrahend", "divisor", "dtype"),
    "ScaleIntensityd": ("minv", "maxv", "channel_wise", "factor", "dtype"),
}
_STEPS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "preprocessing": {
        "LoadImaged": ("reader", "image_only", "ensure_channel_first", "dtype", "simple_keys"),
        "EnsureChannelFirstd": ("channel_dim", "strict_check"),
        "CropForegroundd": ("source_key", "margin", "allow_smaller", "mode", "return_coords"),
        **_ANYWHERE,
        **_GRID,
        **_INTENSITY,
    },
    "postprocessing": {
        "Activationsd": ("softmax", "sigmoid", "other"),
        "AsDiscreted": ("argmax", "threshold", "to_onehot", "rounding", "dim"),
        "Invertd": (
            "transform", "orig_keys", "meta_keys", "orig_meta_keys", "meta_key_postfix", "nearest_interp",
            "to_tensor", "device", "post_func",
        ),
        "SaveImaged": (),
        **_ANYWHERE,
    },
}  # fmt: skip
_ALWAYS = ("_target_", "_disabled_", "_desc_", "_requires_", "_mode_", "keys", "allow_missing_keys")
_FLOATS = ("float32", "$torch.float32", "$torch.float", "$np.float32", "$numpy.float32", "$torch.float64")
_EXPORT = (
    "Export the network with torch.export, with what it needs before and after it, and write spec.json by "
    "hand (docs/how-to/own-model.md)."
)


def kind(part: object) -> str:
    """Name of the class that a part of a bundle names, without MONAI's own modules."""
    if not isinstance(part, Mapping):
        return ""
    home, _, name = str(part.get("_target_", "")).rpartition(".")
    return name if home in ("", "monai.transforms", "monai.inferers", "monai.handlers") else f"{home}.{name}"


def listed_steps(part: Any, name: str) -> list[Mapping[str, Any]]:  # noqa: ANN401  # whatever a file can hold
    """Steps that are switched on, all of which are done here too, or change nothing.

    Args:
        part: the value, looked up.
        name: ``preprocessing`` or ``postprocessing``.

    Raises:
        ModelError: if a step or an option is on no list; the message names it.
    """
    steps: Any = part.get("transforms") if isinstance(part, Mapping) else part
    if steps is None:
        return []
    if not isinstance(steps, list) or (isinstance(part, Mapping) and kind(part) not in ("Compose", "")):
        raise ModelError(f"`{name}` of the bundle must list its transforms, got {described(steps)}.")
    active = [s for s in steps if not (isinstance(s, Mapping) and s.get("_disabled_") is True)]
    allowed = _STEPS[name]
    for step in active:
        if kind(step) not in allowed:
            raise ModelError(
                f"`{name}` of the bundle must hold steps that are done here too, got "
                f"{kind(step) or described(step)}. {_EXPORT}"
            )
        if step.get("_disabled_") not in (None, False):
            raise ModelError(
                f"`_disabled_` of {kind(step)} must be true or false, got {described(step['_disabled_'])}."
            )
        if kind(step) != "SaveImaged":
            check_options(step, allowed[kind(step)], name)
        if step.get("dtype") is not None and step["dtype"] not in _FLOATS:
            raise ModelError(f"`dtype` of {kind(step)} must be float32, got {described(step['dtype'])}.")
    return active


def check_options(step: Mapping[str, Any], allowed: Sequence[str], name: str) -> None:
    """Refuse an option that is not known, and so not kept to.

    Raises:
        ModelError: it names the option.
    """
    if unknown := sorted(set(step) - set(allowed) - set(_ALWAYS)):
        raise ModelError(
            f"{kind(step)} in `{name}` of the bundle must have no options but "
            f"{', '.join(allowed) or 'none'}, got "
            f"{', '.join(f'{key}={described(step[key])}' for key in unknown)}. {_EXPORT}"
        )


def spacing(steps: Sequence[Mapping[str, Any]]) -> tuple[float, ...] | None:
    """Voxel size to resample to.

    Raises:
        ModelError: if it is no plain numbers, or what is interpolated is otherwise than here.
    """
    step = _only(steps, "Spacingd")
    if step is None:
        return None
    pixdim = step.get("pixdim")
    if not isinstance(pixdim, list):
        pixdim = [pixdim] * 3
    if len(pixdim) != 3 or not all(isinstance(mm, int | float) and mm > 0 for mm in pixdim):
        raise ModelError(f"Spacingd.pixdim must be three plain values above 0, got {described(pixdim)}.")
    if listed(step.get("mode", "bilinear")) != ["bilinear"] or step.get("align_corners"):
        raise ModelError(f"Spacingd of the bundle must interpolate bilinearly, got {_options(step)}.")
    kinds = [kind(one) for one in steps]
    if (
        "Orientationd" in kinds
        and kinds.index("Orientationd") > kinds.index("Spacingd")
        and len(set(pixdim)) > 1
    ):
        raise ModelError("the bundle must turn scans (Orientationd) before it resamples them (Spacingd).")
    if any(one in _INTENSITY for one in kinds[: kinds.index("Spacingd")]):
        raise ModelError("the bundle must resample scans (Spacingd) before it normalises them.")
    return tuple(float(mm) for mm in pixdim)


def orientation(steps: Sequence[Mapping[str, Any]]) -> str:
    """Three letters, or nothing where the bundle takes the file's own order.

    Raises:
        ModelError: if the letters are no plain value.
    """
    step = _only(steps, "Orientationd")
    if step is None:
        return ""
    letters = step.get("axcodes")
    if not isinstance(letters, str) or isinstance(letters, Code) or step.get("labels") is not None:
        raise ModelError(f"Orientationd of the bundle must have plain axcodes, got {_options(step)}.")
    return letters


def foreground(steps: Sequence[Mapping[str, Any]]) -> Foreground | None:
    """The box that the bundle crops a scan to.

    Raises:
        ModelError: if the crop is otherwise than that of values above 0, before or after a window.
    """
    step = _only(steps, "CropForegroundd")
    if step is None:
        return None
    margin = step.get("margin", 0)
    if not isinstance(margin, int) or margin < 0 or (margin and step.get("allow_smaller") is not True):
        raise ModelError(f"CropForegroundd of the bundle must not pad a scan, got {_options(step)}.")
    before = [one for one in steps[: list(steps).index(step)] if kind(one) in _INTENSITY]
    if not before:
        return Foreground(0.0, margin)
    if [kind(one) for one in before] != ["ScaleIntensityRanged"]:
        raise ModelError(
            f"the bundle must crop (CropForegroundd) before it normalises, got {kind(before[0])} first."
        )
    return Foreground(float(_window(before[0])[0]), margin)


def intensity(steps: Sequence[Mapping[str, Any]], channels: int) -> Intensity:
    """How the bundle normalises.

    Raises:
        ModelError: if there is no way here to do the same.
    """
    parts = [step for step in steps if kind(step) in _INTENSITY]
    kinds = [kind(step) for step in parts]
    for step in parts:
        if channels > 1 and kind(step) != "ScaleIntensityRanged" and step.get("channel_wise") is not True:
            raise ModelError(f"{kind(step)} of the bundle must be channel_wise with several channels.")
    if kinds == ["ScaleIntensityRanged"]:
        return Intensity("window", *_window(parts[0]))
    if kinds == ["NormalizeIntensityd"]:
        return Intensity(_zscore(parts[0]))
    if kinds == ["ScaleIntensityd"]:
        return Intensity("none", rescale=_range(parts[0]))
    if kinds == ["NormalizeIntensityd", "ScaleIntensityd"]:
        return Intensity(_zscore(parts[0]), rescale=_range(parts[1]))
    if kinds == ["ScaleIntensityd", "NormalizeIntensityd"] and _zscore(parts[1]) == "zscore":
        _range(parts[0])
        return Intensity()  # mean and spread of all voxels take a scale before them away
    raise ModelError(
        f"the bundle must normalise by {', '.join(_INTENSITY)} or NormalizeIntensityd and ScaleIntensityd "
        f"after it, got {' and '.join(kinds) or 'nothing'}. {_EXPORT}"
    )


def head(steps: Sequence[Mapping[str, Any]]) -> tuple[Head, tuple[str, ...]]:
    """How logits become probabilities and these a mask, and what is otherwise than here.

    Raises:
        ModelError: if it is neither a softmax and its argmax, nor a sigmoid and a threshold.
    """
    activation, discrete = _only(steps, "Activationsd"), _only(steps, "AsDiscreted")
    kinds = [kind(step) for step in steps]
    remarks = []
    if "AsDiscreted" in kinds and "Invertd" in kinds and kinds.index("AsDiscreted") < kinds.index("Invertd"):
        remarks.append("the bundle resamples its mask; here probabilities are, and the mask is made of them")
    active = (
        {} if activation is None else {key: activation.get(key) for key in ("softmax", "sigmoid", "other")}
    )
    if any(value not in (None, True, False) for value in active.values()) or (
        activation is not None and sum(value is True for value in active.values()) != 1
    ):
        raise ModelError(
            f"Activationsd of the bundle must be a softmax or a sigmoid, got {_options(activation)}."
        )
    chosen = (
        {} if discrete is None else {k: v for k, v in discrete.items() if k not in _ALWAYS and v is not None}
    )
    if active.get("sigmoid"):
        threshold = chosen.pop("threshold", 0.5)
        if chosen or isinstance(threshold, bool) or not isinstance(threshold, int | float):
            raise ModelError(f"AsDiscreted of the bundle must be a threshold, got {_options(discrete)}.")
        remarks.append("structures may overlap; a mask shows the one that is named last")
        return Head("sigmoid", threshold=float(threshold)), tuple(remarks)
    if chosen not in ({}, {"argmax": True}):
        raise ModelError(f"AsDiscreted of the bundle must be an argmax, got {_options(discrete)}.")
    if activation is None:
        remarks.append(
            "the bundle names no activation; probabilities are the softmax of what the network puts out"
        )
    return Head(), tuple(remarks)


def _window(step: Mapping[str, Any]) -> tuple[float, float]:
    low, high, to_low, to_high = (step.get(key) for key in ("a_min", "a_max", "b_min", "b_max"))
    plain = all(isinstance(end, int | float) for end in (low, high))
    if not plain or (to_low, to_high) != (0, 1) or step.get("clip") is not True:
        raise ModelError(
            f"ScaleIntensityRanged of the bundle must map to 0 to 1 and clip, got {_options(step)}. {_EXPORT}"
        )
    return float(low), float(high)  # type: ignore[arg-type]  # checked above


def _zscore(step: Mapping[str, Any]) -> Any:  # noqa: ANN401  # one of two literals
    if step.get("subtrahend") is not None or step.get("divisor") is not None:
        raise ModelError(
            f"NormalizeIntensityd of the bundle must take mean and spread of each scan, got {_options(step)}."
        )
    if step.get("nonzero") not in (None, True, False):
        raise ModelError(
            f"NormalizeIntensityd.nonzero must be true or false, got {described(step['nonzero'])}."
        )
    return "zscore_nonzero" if step.get("nonzero") else "zscore"


def _range(step: Mapping[str, Any]) -> tuple[float, float]:
    low, high = step.get("minv", 0.0), step.get("maxv", 1.0)
    if step.get("factor") is not None or not all(isinstance(end, int | float) for end in (low, high)):
        raise ModelError(
            f"ScaleIntensityd of the bundle must have plain minv and maxv, got {_options(step)}."
        )
    return float(low), float(high)


def _only(steps: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    several = [step for step in steps if kind(step) == name]
    if len(several) > 1:
        raise ModelError(f"the bundle must have one {name}, got {len(several)}. {_EXPORT}")
    return several[0] if several else None


def _options(step: Mapping[str, Any] | None) -> str:
    options = {} if step is None else {key: value for key, value in step.items() if key not in _ALWAYS}
    return (
        ", ".join(
            f"{key}={value if isinstance(value, bool) else described(value)}"
            for key, value in options.items()
        )
        or "none"
    )
