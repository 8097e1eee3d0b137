"""A folder of nnU-Net's results, version 2: what was trained, which folds are there, what its plans ask for.

Plans name classes and functions that nnU-Net looks up by their names. Only names on the lists here are let
through, so that a folder from elsewhere decides nothing but numbers.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from segtrust.errors import ModelError
from segtrust.models import Head, Label, ModelSpec

__all__ = [
    "DATASET",
    "NNUNET",
    "PLANS",
    "FoldFiles",
    "NnunetResults",
    "check_plans",
    "is_nnunet",
    "nnunet_spec",
    "read_nnunet",
]

NNUNET = "segtrust.inference.nnunet.NnunetSource"
"""``network._target_`` of an adopted nnU-Net."""
PLANS, DATASET = "plans.json", "dataset.json"
"""Documents of its versions."""

_LIBRARY = "dynamic_network_architectures.architectures."
_NETWORKS = tuple(
    f"{_LIBRARY}unet.{name}" for name in ("PlainConvUNet", "ResidualEncoderUNet", "ResidualUNet")
)
_OLD_NETWORKS = ("PlainConvUNet", "ResidualEncoderUNet")
_RESAMPLING = (
    "resample_data_or_seg_to_shape",
    "resample_torch_simple",
    "resample_torch_fornnunet",
    "no_resampling_hack",
)
_NORMALIZATION = (
    "ZScoreNormalization",
    "CTNormalization",
    "NoNormalization",
    "RescaleTo01Normalization",
    "RGBTo01Normalization",
)
_READERS = ("SimpleITKIO", "SimpleITKIOWithReorient", "NibabelIO", "NibabelIOWithReorient")
_LAYER = re.compile(r"(torch\.nn|dynamic_network_architectures\.building_blocks)(\.[A-Za-z_][A-Za-z0-9_]*)+")
_TRAINED = re.compile(r"(?P<trainer>\w+)__(?P<plans>\w+)__(?P<configuration>\w+)")
_NEEDED = ("channel_names", "modality", "labels", "regions_class_order", "file_ending", "name", "description")
_COLOURS = (
    (128, 174, 128),
    (241, 214, 145),
    (177, 122, 101),
    (111, 184, 210),
    (216, 101, 79),
    (221, 130, 101),
)


@dataclass(frozen=True)
class FoldFiles:
    """A trained fold: its number (or ``all``), its checkpoint, its folder ``validation`` if there is one."""

    name: str
    checkpoint: Path
    validation: Path | None


@dataclass(frozen=True)
class NnunetResults:
    """One trained configuration: ``plans`` and ``dataset`` are the content of the JSON files."""

    folder: Path
    trainer: str
    configuration: str
    plans: Mapping[str, Any]
    dataset: Mapping[str, Any]
    folds: tuple[FoldFiles, ...]
    remarks: tuple[str, ...] = ()

    @property
    def documents(self) -> dict[str, Mapping[str, Any]]:
        """What a version keeps of both files; of the dataset no names of cases."""
        return {PLANS: self.plans, DATASET: {k: self.dataset[k] for k in _NEEDED if k in self.dataset}}


def is_nnunet(path: Path) -> bool:
    """Whether a folder looks like results of nnU-Net, of one configuration or of a dataset."""
    return path.is_dir() and (
        any(path.glob("fold_*")) or bool(_trained(path)) or (path / "plans.pkl").is_file()
    )


def read_nnunet(
    path: Path,
    *,
    configuration: str = "",
    folds: Sequence[str] = (),
    checkpoint: str = "checkpoint_final.pth",
) -> NnunetResults:
    """Read what nnU-Net left in a results folder, apart from the weights.

    Args:
        path: ``nnUNet_results/DatasetXXX_NAME/TRAINER__PLANS__CONFIG``, or the folder of the dataset.
        configuration: which one of a dataset, such as ``3d_fullres``, or the whole name of its folder; unless
            given the only one, or the one that ``nnUNetv2_find_best_configuration`` wrote down as the best.
        folds: which folds; all that are there unless given, but ``all`` only if it is the only one.
        checkpoint: name of the file in each fold.

    Returns:
        The results. Folds are in the order in which nnU-Net averages them.

    Raises:
        ModelError: if a file is missing or damaged, the plans are of nnU-Net 1, ask for a cascade, or name
            something that is on no list here.

    Note:
        nnU-Net 2, ``documentation/how_to_use_nnunet.md`` and ``plans_handler.py``.
    """
    folder, remarks = _choose(path, configuration)
    if (folder / "plans.pkl").is_file() and not (folder / PLANS).is_file():
        raise ModelError(f"{folder} must be of nnU-Net 2, got plans.pkl of version 1. Train it again with 2.")
    plans, dataset = _document(folder / PLANS), _document(folder / DATASET)
    match = _TRAINED.fullmatch(folder.name)
    chosen = match["configuration"] if match else configuration
    if not chosen:
        raise ModelError(
            f"{folder} must be named TRAINER__PLANS__CONFIGURATION as nnU-Net names it, got {folder.name!r}. "
            "Say --configuration."
        )
    check_plans(plans, chosen, folder / PLANS)
    results = NnunetResults(
        folder=folder,
        trainer=match["trainer"] if match else "",
        configuration=chosen,
        plans=plans,
        dataset=dataset,
        folds=_folds(folder, folds, checkpoint),
        remarks=remarks,
    )
    nnunet_spec(results, name="check", mirroring=None)
    return results


def check_plans(plans: Mapping[str, Any], configuration: str, path: Path) -> Mapping[str, Any]:
    """Check that plans name nothing but what nnU-Net itself brings, and are no cascade.

    Args:
        plans: content of ``plans.json``.
        configuration: the one that was trained.
        path: of the file, for messages.

    Returns:
        The configuration, with what it inherits.

    Raises:
        ModelError: as :func:`read_nnunet`.
    """
    if "configurations" not in plans:
        raise ModelError(f"{path} must be plans of nnU-Net 2 with `configurations`, got {_few(plans)}.")
    chosen = _inherited(plans["configurations"], configuration, path)
    if chosen.get("previous_stage"):
        raise ModelError(
            f"{path}: the configuration {configuration!r} is the second stage of a cascade and needs the "
            f"masks of {chosen['previous_stage']!r}; cascades are not adopted. Adopt 3d_fullres or 3d_lowres."
        )
    if isinstance(chosen.get("architecture"), Mapping):
        _check_network(chosen["architecture"], path)
    else:  # before nnU-Net 2.3; nnU-Net itself brings them to the newer form
        _allowed(chosen.get("UNet_class_name"), _OLD_NETWORKS, "UNet_class_name", path)
    _allowed(chosen.get("preprocessor_name"), ("DefaultPreprocessor",), "preprocessor_name", path)
    _allowed(plans.get("image_reader_writer"), _READERS, "image_reader_writer", path)
    _allowed(plans.get("label_manager", "LabelManager"), ("LabelManager",), "label_manager", path)
    for kind in ("data", "seg", "probabilities"):
        _allowed(chosen.get(f"resampling_fn_{kind}"), _RESAMPLING, f"resampling_fn_{kind}", path)
    for scheme in chosen.get("normalization_schemes", [None]):
        _allowed(scheme, _NORMALIZATION, "normalization_schemes", path)
    return chosen


def nnunet_spec(results: NnunetResults, *, name: str, mirroring: Sequence[int] | None) -> ModelSpec:
    """Describe the model as the rest of the system needs it.

    Args:
        results: of nnU-Net.
        name: of the model.
        mirroring: axes of nnU-Net's grid that are mirrored; ``None`` for no mirroring.

    Returns:
        The specification. With region-based training each region is a structure of a sigmoid head, painted in
        the order of ``dataset.json``; its ``source_value`` are the values that it holds, first that of
        ``regions_class_order``. Regions of which each holds the next one are nested.

    Raises:
        ModelError: if labels or channels of ``dataset.json`` are not as nnU-Net writes them.
    """
    path = results.folder / DATASET
    labels, head = _labels(results.dataset, path)
    channels = results.dataset.get("channel_names", results.dataset.get("modality"))
    if not isinstance(channels, Mapping) or not channels:
        raise ModelError(f"{path} must name its channels in `channel_names`, got {channels!r}.")
    chosen = _inherited(results.plans["configurations"], results.configuration, results.folder / PLANS)
    order = _file_axes(results.plans["transpose_forward"], len(chosen["patch_size"]))
    patch = tuple(int(chosen["patch_size"][axis]) for axis in order)
    return ModelSpec(
        name=name,
        labels=labels,
        network={
            "_target_": NNUNET,
            "source": "nnunet",
            "pooling": "logits",
            "class": _network_class(chosen),
            "configuration": results.configuration,
            "mirroring": None if mirroring is None else list(mirroring),
            "trainer": results.trainer,
        },
        patch=patch,
        channels=tuple(str(channels[key]) for key in sorted(channels, key=int)),
        spatial_dims=2 if len(patch) == 2 else 3,
        spacing=tuple(float(chosen["spacing"][axis]) for axis in order),
        overlap=0.5,
        head=head,
        members=len(results.folds),
        description=str(results.dataset.get("description", "")),
    )


def _file_axes(transpose: Sequence[int], dims: int) -> list[int]:
    """For each axis of a file, x first, where its size stands in the plans.

    Example:
        >>> _file_axes([0, 1, 2], 3), _file_axes([2, 0, 1], 3), _file_axes([0, 1, 2], 2)
        ([2, 1, 0], [0, 2, 1], [1, 0])
    """
    of_file = [2 - axis for axis in transpose][3 - dims :]  # readers turn x, y, z round
    return sorted(range(dims), key=lambda place: of_file[place])


def _labels(dataset: Mapping[str, Any], path: Path) -> tuple[tuple[Label, ...], Head]:
    named = dataset.get("labels")
    if not isinstance(named, Mapping) or named.get("background") != 0:
        raise ModelError(
            f"{path} must hold `labels` with background 0 as nnU-Net 2 writes them, got {named!r}."
        )
    structures = {str(k): v for k, v in named.items() if k not in ("background", "ignore")}
    if any(isinstance(value, list) and len(value) > 1 for value in structures.values()):
        order = dataset.get("regions_class_order")
        if not isinstance(order, list) or len(order) != len(structures):
            raise ModelError(
                f"{path} must give one value per region in `regions_class_order`, got {order!r} for "
                f"{len(structures)} regions."
            )
        held = [
            [int(value) for value in (values if isinstance(values, list) else [values])]
            for values in structures.values()
        ]
        if missing := [
            name for name, own, value in zip(structures, held, order, strict=True) if value not in own
        ]:
            raise ModelError(
                f"{path} must give in `regions_class_order` a value that the region holds, got {order} for "
                f"{dict(structures)}: another one for {', '.join(missing)}."
            )
        regions = tuple(
            Label(name, k, _with_first(own, int(value)), _COLOURS[(k - 1) % len(_COLOURS)])
            for k, (name, own, value) in enumerate(zip(structures, held, order, strict=True), start=1)
        )
        nested = all(set(inner) <= set(outer) for outer, inner in pairwise(held))
        return regions, Head(
            kind="sigmoid",
            priority=tuple(range(1, len(regions) + 1)),
            structures="nested" if nested else "independent",
        )
    values = {name: value[0] if isinstance(value, list) else value for name, value in structures.items()}
    ordered = sorted(values.items(), key=lambda pair: pair[1])
    if [value for _, value in ordered] != list(range(1, len(ordered) + 1)):
        raise ModelError(f"{path} must number its labels 0, 1, 2, ..., got {sorted(values.values())}.")
    return tuple(Label(n, v, v, _COLOURS[(v - 1) % len(_COLOURS)]) for n, v in ordered), Head()


def _with_first(values: Sequence[int], first: int) -> int | tuple[int, ...]:
    """The values with one of them in front; a single one by itself."""
    return first if list(values) == [first] else (first, *(value for value in values if value != first))


def _choose(path: Path, configuration: str) -> tuple[Path, tuple[str, ...]]:
    if not path.is_dir():
        raise ModelError(f"there must be a folder {path} with results of nnU-Net, got none.")
    if any((path / name).exists() for name in (PLANS, "plans.pkl")) or any(path.glob("fold_*")):
        return path, _postprocessing(path.parent)
    trained = _trained(path)
    names = ", ".join(t.name for t in trained)
    if not trained:
        raise ModelError(
            f"{path} must be results of nnU-Net: a folder TRAINER__PLANS__CONFIGURATION with plans.json and "
            "fold_0, fold_1, ..., or the dataset that holds such folders. Got "
            f"{_few(p.name for p in path.iterdir())}."
        )
    wanted = [t for t in trained if configuration in (t.name, t.name.rpartition("__")[2])]
    if configuration:
        if len(wanted) != 1:
            raise ModelError(f"--configuration must name one of {names}, got {configuration!r}.")
        return wanted[0], _postprocessing(path)
    best = _best(path, trained)
    if best is None and len(trained) > 1:
        raise ModelError(
            f"{path} holds {len(trained)} trained configurations: {names}, and no inference_information.json "
            "that says which is best. Say --configuration, or run nnUNetv2_find_best_configuration."
        )
    return best or trained[0], _postprocessing(path)


def _best(dataset: Path, trained: Sequence[Path]) -> Path | None:
    """The configuration that nnU-Net found to be the best; an ensemble of two is refused in words."""
    path = dataset / "inference_information.json"
    if not path.is_file():
        return None
    selected = _document(path).get("best_model_or_ensemble", {}).get("selected_model_or_models", [])
    names = [f"{s.get('trainer')}__{s.get('plans_identifier')}__{s.get('configuration')}" for s in selected]
    if len(names) != 1:
        raise ModelError(
            f"{path} says that an ensemble of {' and '.join(names)} is best; one configuration is adopted at "
            "a time. Say which with --configuration."
        )
    folder = next((t for t in trained if t.name == names[0]), None)
    if folder is None:
        raise ModelError(
            f"{path} says that {names[0]} is best, but there is no such folder. Say --configuration."
        )
    return folder


def _postprocessing(dataset: Path) -> tuple[str, ...]:
    path = dataset / "inference_information.json"
    if not path.is_file():
        return ()
    if not _document(path).get("best_model_or_ensemble", {}).get("postprocessing_file"):
        return ()
    remark = (
        "nnU-Net found a postprocessing for this dataset; masks here are those of nnUNetv2_predict, before it"
    )
    return (remark,)


def _trained(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and _TRAINED.fullmatch(p.name))


def _folds(folder: Path, wanted: Sequence[str], checkpoint: str) -> tuple[FoldFiles, ...]:
    there = sorted(p for p in folder.glob("fold_*") if p.is_dir())
    names = [p.name.removeprefix("fold_") for p in there if (p / checkpoint).is_file()]
    if missing := [fold for fold in wanted if fold not in names]:
        raise ModelError(
            f"{folder} must hold {checkpoint} of fold {', '.join(missing)}, got folds "
            f"{', '.join(names) or 'none'} with that file."
        )
    chosen = list(wanted) or [n for n in names if n != "all"] or names
    if not chosen:
        others = sorted({p.name for f in there for p in f.glob("*.pth")})
        raise ModelError(
            f"{folder} must hold at least one fold_N/{checkpoint}, got {_few(p.name for p in there)} with "
            f"{', '.join(others) or 'no checkpoint'}. Is the training over? --checkpoint names another file."
        )
    chosen.sort(key=lambda n: (n == "all", int(n) if n.isdigit() else 0))
    return tuple(
        FoldFiles(
            name,
            folder / f"fold_{name}" / checkpoint,
            folder / f"fold_{name}" / "validation"
            if (folder / f"fold_{name}" / "validation").is_dir()
            else None,
        )
        for name in chosen
    )


def _inherited(configurations: Mapping[str, Any], name: str, path: Path) -> Mapping[str, Any]:
    chain: list[str] = []
    merged: dict[str, Any] = {}
    while name:
        if name in chain or name not in configurations:
            raise ModelError(
                f"{path} must hold the configuration {name!r}, got {', '.join(configurations) or 'none'}."
            )
        chain.append(name)
        merged = {**configurations[name], **merged}
        name = str(configurations[name].get("inherits_from", ""))
    return merged


def _network_class(chosen: Mapping[str, Any]) -> str:
    architecture = chosen.get("architecture") or {}
    return str(architecture.get("network_class_name", chosen.get("UNet_class_name")))


def _check_network(architecture: Mapping[str, Any], path: Path) -> None:
    _allowed(architecture.get("network_class_name"), _NETWORKS, "network_class_name", path)
    arguments = architecture.get("arch_kwargs", {})
    for key in architecture.get("_kw_requires_import", []):
        value = arguments.get(key)
        if value is not None and not (isinstance(value, str) and _LAYER.fullmatch(value)):
            raise ModelError(f"{path}: `{key}` of the network must be a layer of torch.nn, got {value!r}.")


def _allowed(value: object, allowed: Sequence[str], key: str, path: Path) -> None:
    if value not in allowed:
        raise ModelError(
            f"{path}: `{key}` must be one of {', '.join(allowed)}, got {value!r}. Code of one's own is not "
            "loaded: of such a model the probabilities can be measured (docs/how-to/evaluate-your-model.md)."
        )


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} must be JSON as nnU-Net 2 writes it, but {error}.") from error
    if not isinstance(document, dict):
        raise ModelError(f"{path} must hold a JSON object, got {type(document).__name__}.")
    return document


def _few(names: Iterable[str]) -> str:
    listed = sorted(map(str, names))
    return ", ".join(listed[:8]) + (", ..." if len(listed) > 8 else "") or "nothing"
