"""What Auto3DSeg trained: folders `segresnet_0`, `segresnet_1`, ... with `model/model.pt`, a fold each.

A checkpoint holds the whole configuration beside the weights. It is read as plain values; the scripts that
lie beside it are not. What the script of the algorithm does with these values is done here, or refused.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import Tensor

from segtrust.adapters.configuration import described
from segtrust.adapters.plain_pickle import read_plain
from segtrust.errors import ModelError
from segtrust.models import Foreground, Head, Intensity, Label, ModelSpec, Windows

__all__ = ["Auto3dsegFold", "is_auto3dseg", "read_auto3dseg"]

_CHECKPOINT = Path("model") / "model.pt"
_FOLD = re.compile(r"(?P<algorithm>[A-Za-z][A-Za-z0-9]*)_(?P<fold>\d+)")
_ALGORITHMS = ("segresnet",)
_NETWORKS = ("SegResNetDS", "monai.networks.nets.SegResNetDS")
_MARGIN = 10  # voxels round the foreground
_OVERLAP = 0.625
_NORMALISATION: Mapping[str, Any] = {
    "none": "none", "range": "sigmoid_window", "ct": "sigmoid_window", "meanstd": "zscore_nonzero",
    "mri": "zscore_nonzero",
}  # fmt: skip
_CODE = ("custom_data_transforms", "sliding_inferrer", "extra_modalities")
_REMARK = (
    "Auto3DSeg leaves a scan as it is whose voxels are within a quarter of its voxel size; here every scan "
    "is resampled"
)


@dataclass(frozen=True)
class Auto3dsegFold:
    """One trained fold: its number, its file, and its weights by name."""

    fold: int
    path: Path
    weights: Mapping[str, Tensor]


def is_auto3dseg(path: Path) -> bool:
    """Whether a folder looks like a work folder of Auto3DSeg, or one algorithm in it."""
    return path.is_dir() and bool(_folds(path) or _other_algorithms(path))


def read_auto3dseg(
    path: Path, *, name: str, algorithm: str = "", folds: Sequence[str] = ()
) -> tuple[ModelSpec, tuple[Auto3dsegFold, ...], tuple[str, ...]]:
    """Read the folds of one algorithm.

    Args:
        path: the work folder, or the folder of one fold.
        name: of the model.
        algorithm: which one, if several were trained.
        folds: which folds; all that are there unless given.

    Returns:
        The specification, the folds, each of which is a member, and remarks.

    Raises:
        ModelError: if no fold is there, the algorithm is another one, folds differ in anything but weights,
            or their configuration asks for what is not done here.

    Note:
        MONAI's ``research-contributions``, ``auto3dseg/algorithm_templates/segresnet/scripts/segmenter.py``.
    """
    chosen = _chosen(path, algorithm, folds)
    specs, members, remarks = [], [], []
    for fold, file in chosen:
        content = read_plain(file)
        if not isinstance(content, Mapping) or not {"config", "state_dict"} <= content.keys():
            keys = sorted(map(str, content))[:8] if isinstance(content, Mapping) else type(content).__name__
            raise ModelError(
                f"{file} must hold `config` and `state_dict` as Auto3DSeg writes them, got {keys}."
            )
        specs.append(_spec(content["config"], file, name))
        weights = content["state_dict"]
        if not isinstance(weights, Mapping) or not all(isinstance(w, Tensor) for w in weights.values()):
            raise ModelError(f"{file} must hold tensors in `state_dict`, got other values.")
        members.append(Auto3dsegFold(fold, file, weights))
        if content["config"].get("resample") and _REMARK not in remarks:
            remarks.append(_REMARK)
    first = specs[0].to_json()
    for spec, member in zip(specs, members, strict=True):
        if different := sorted(key for key, value in spec.to_json().items() if value != first[key]):
            raise ModelError(
                f"{member.path} must have the same {', '.join(different)} as {members[0].path}, got "
                f"{described(spec.to_json()[different[0]])} instead of {described(first[different[0]])}."
            )
    spec = ModelSpec.from_json({**first, "members": len(members)})
    return spec, tuple(members), tuple(remarks)


def _spec(config: Any, path: Path, name: str) -> ModelSpec:  # noqa: ANN401  # whatever was saved
    if not isinstance(config, Mapping):
        raise ModelError(f"{path} must hold a mapping in `config`, got {type(config).__name__}.")
    for key in _CODE:
        if config.get(key):
            raise ModelError(
                f"{path}: `{key}` must be empty, as it is not done here, got {described(config[key])}."
            )
    try:
        network = json.loads(json.dumps(config["network"]))
        patch = tuple(int(size) for size in config["roi_size"])
        count = int(config["input_channels"])
        voxel = (
            tuple(float(mm) for mm in config.get("resample_resolution") or ())
            if config.get("resample")
            else None
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{path} must hold network, roi_size and input_channels in `config`, but {error!r}."
        ) from error
    if not isinstance(network, dict) or network.get("_target_") not in _NETWORKS:
        raise ModelError(f"{path}: the network must be SegResNetDS, got {described(network)}.")
    labels, head = _labels(config, path)
    return ModelSpec(
        name=name,
        labels=labels,
        network={**network, "_target_": _NETWORKS[1], "norm": _norm(network.get("norm", "batch"))},
        patch=patch,
        channels=tuple(f"channel {k}" for k in range(count)) if count > 1 else ("image",),
        spacing=voxel,
        orientation="RAS" if config.get("orientation_ras") else "",
        intensity=_intensity(config, path),
        foreground=Foreground(0.0, _MARGIN) if config.get("crop_foreground", True) else None,
        overlap=_OVERLAP,
        windows=Windows("gaussian", "constant"),
        head=head,
        members=1,
        modality={"ct": "CT", "mri": "MR"}.get(str(config.get("modality", "")).lower(), ""),
        description="trained by Auto3DSeg",
    )


def _labels(config: Mapping[str, Any], path: Path) -> tuple[tuple[Label, ...], Head]:
    classes, regions = config.get("output_classes"), config.get("class_index")
    sigmoid = config.get("sigmoid") is True
    structures = int(classes) - (not sigmoid) if isinstance(classes, int) else 0
    names = config.get("class_names")
    if not isinstance(names, list | tuple) or len(names) != structures or structures < 1:
        raise ModelError(
            f"{path} must name {structures or 'its'} structures in `class_names` of `config`, got "
            f"{described(names)} for {described(classes)} classes."
        )
    if not regions:
        labels = tuple(Label(str(label), value, value) for value, label in enumerate(names, start=1))
        return labels, _sigmoid(len(labels), "independent") if sigmoid else Head()
    try:
        values = [tuple(int(value) for value in region) for region in regions]
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"{path}: `class_index` must be lists of label values, got {described(regions)}."
        ) from error
    if not sigmoid or len(values) != structures:
        raise ModelError(
            f"{path}: `class_index` must give one list of label values per structure of a sigmoid, got "
            f"{described(regions)}."
        )
    sets = [set(region) for region in values]
    apart = sum(map(len, sets)) == len(set().union(*sets))
    order = sorted(range(structures), key=lambda k: -len(sets[k]))
    nested = all(sets[inner] <= sets[outer] for outer, inner in pairwise(order))
    if not apart and not nested:
        raise ModelError(f"{path}: regions must lie apart or one inside the other, got {described(regions)}.")
    labels = tuple(
        Label(str(label), k, region[0] if len(region) == 1 else region)
        for k, (label, region) in enumerate(zip(names, values, strict=True), start=1)
    )
    if apart:
        return labels, _sigmoid(structures, "independent")
    return labels, Head("sigmoid", tuple(k + 1 for k in order), structures="nested")


def _sigmoid(structures: int, relation: Any) -> Head:  # noqa: ANN401  # one of two literals
    return Head("sigmoid", tuple(range(1, structures + 1)), structures=relation)


def _intensity(config: Mapping[str, Any], path: Path) -> Intensity:
    modality = str(config.get("modality", "mri")).lower()
    mode = config.get("normalize_mode", "range" if modality == "ct" else "meanstd")
    if mode not in _NORMALISATION:
        raise ModelError(
            f"{path}: `normalize_mode` must be one of {', '.join(_NORMALISATION)}, got {described(mode)}."
        )
    if _NORMALISATION[mode] != "sigmoid_window":
        return Intensity(_NORMALISATION[mode])
    bounds = config.get("intensity_bounds") or [-250, 250]
    if not isinstance(bounds, list | tuple) or len(bounds) != 2:
        raise ModelError(f"{path}: `intensity_bounds` must be two numbers, got {described(bounds)}.")
    return Intensity("sigmoid_window", float(bounds[0]), float(bounds[1]))


def _norm(norm: Any) -> Any:  # noqa: ANN401  # a name, or a name and options
    """The same norm without NVIDIA's library, which Auto3DSeg replaces likewise where it is missing."""
    name, *options = norm if isinstance(norm, list) else [norm]
    plain = "INSTANCE" if str(name).upper() == "INSTANCE_NVFUSER" else name
    return [plain, *options] if options else plain


def _chosen(path: Path, algorithm: str, wanted: Sequence[str]) -> list[tuple[int, Path]]:
    folds = _folds(path)
    others = ", ".join(sorted(_other_algorithms(path)))
    if algorithm and algorithm not in _ALGORITHMS:
        raise ModelError(f"{path}: only {', '.join(_ALGORITHMS)} of Auto3DSeg is adopted, got {algorithm}.")
    if not folds:
        raise ModelError(
            f"{path} must hold trained folds of {', '.join(_ALGORITHMS)} ({_ALGORITHMS[0]}_0/{_CHECKPOINT}), "
            f"got {others or 'none'}. Is the training over?"
        )
    if missing := [fold for fold in wanted if not fold.isdigit() or int(fold) not in folds]:
        raise ModelError(
            f"{path} must hold the folds {', '.join(missing)}, got {', '.join(map(str, sorted(folds)))}."
        )
    return [(fold, folds[fold]) for fold in sorted(map(int, wanted) if wanted else folds)]


def _folds(path: Path) -> dict[int, Path]:
    """Fold -> checkpoint, of the algorithms that are adopted."""
    places = [path, *sorted(p for p in path.iterdir() if p.is_dir())]
    return {
        int(match["fold"]): place / _CHECKPOINT
        for place in places
        if (match := _FOLD.fullmatch(place.resolve().name))
        and match["algorithm"] in _ALGORITHMS
        and (place / _CHECKPOINT).is_file()
    }


def _other_algorithms(path: Path) -> list[str]:
    return [
        place.name
        for place in path.iterdir()
        if (match := _FOLD.fullmatch(place.name))
        and match["algorithm"] not in _ALGORITHMS
        and (place / "configs").is_dir()
        and any(place.glob("model*/*.pt"))
    ]
