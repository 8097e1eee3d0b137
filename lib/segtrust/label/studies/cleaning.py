"""Cleaning a submitted label: bands and foreign names removed, structures back to their own values.

Viewers number segments by their order on the screen and submit everything that is there, the uncertainty view
included. Nothing here touches voxels of a structure: its values are renamed, never redrawn.
"""

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from segtrust.errors import ScanError
from segtrust.files import Grid, current_limits
from segtrust.files.geometry import STILL
from segtrust.files.label import LabelFile, read_label_file
from segtrust.files.rewriting import write_like
from segtrust.inference.volumes import write_volume
from segtrust.label.failures import LabelError
from segtrust.label.names import is_band, refuse_partial

__all__ = ["CleaningReport", "Structures", "clean_label", "cleaned_file"]

Structures = Mapping[str, Mapping[str, int]]
"""Model -> name of a structure -> its canonical value."""

_SUFFIXES = (".nii.gz", ".nii", ".nrrd")


@dataclass(frozen=True, kw_only=True)
class CleaningReport:
    """What was done to a label: model it belongs to, ``old value -> new value``, names removed."""

    model: str
    values: Mapping[int, int] = field(default_factory=dict)
    removed: tuple[str, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether any voxel gets another value."""
        return any(old != new for old, new in self.values.items())

    def to_json(self) -> dict[str, Any]:
        """The report in JSON types."""
        values = {str(old): new for old, new in self.values.items()}
        return {"model": self.model, "values": values, "removed": list(self.removed)}


def clean_label(
    label: NDArray[Any], label_info: Sequence[Mapping[str, Any]] | None, structures: Structures
) -> tuple[NDArray[np.unsignedinteger[Any]], CleaningReport]:
    """Give a submitted label the values of the model it belongs to.

    Args:
        label: integer values, any shape.
        label_info: the viewer's segments in their order, ``{"name": ..., "idx": value}``; a missing ``idx``
            is the position, counted from 1. Without a list the values must already be those of one model.
        structures: structures of the served models.

    Returns:
        The cleaned label and what was done.

    Raises:
        LabelError: if values are no labels, no name or value is known, names belong to several models, a band
            that lies over a structure in the viewer's order may have overwritten it, a segment with voxels
            is a structure without its uncertain part, or nothing but bands has voxels.

    Note:
        After measurements of what 3D Slicer's plug-in submits.

    Example:
        >>> info = [{"name": "chance of error above 1 in 3", "idx": 1}, {"name": "spleen", "idx": 2}]
        >>> clean_label(np.array([0, 1, 2, 2]), info, {"abdomen": {"spleen": 1}})[0].tolist()
        [0, 0, 1, 1]
    """
    present = _label_values(label)
    if not label_info:
        return label.astype(_type_for(present)), _check_values(present, structures)
    names = _segments(label_info)
    if missing := [value for value in present if value not in names]:
        raise LabelError(
            f"every value of the label must be in `label_info`, but {missing} are not; it lists {names}."
        )
    refuse_partial(names[value] for value in present)
    report = _match_names({value: names[value] for value in present}, structures)
    _refuse_overwritten(label, names, report)
    table = np.zeros(max([0, *present]) + 1, dtype=_type_for(report.values.values()))
    for old, new in report.values.items():
        table[old] = new
    return table[label.astype(np.uint16)], report


@contextmanager
def cleaned_file(
    path: Path,
    label_info: Sequence[Mapping[str, Any]] | None,
    structures: Structures,
    *,
    scan: tuple[str, Grid] | None = None,
) -> Iterator[tuple[Path, CleaningReport]]:
    """Clean a label file; a file that needs no change is handed on as it is.

    Args:
        path: ``.nii``, ``.nii.gz`` or ``.nrrd``.
        label_info: as for :func:`clean_label`; without it the names in the file's own header count.
        structures: as for :func:`clean_label`.
        scan: name and grid of the scan, onto which the label is turned if its voxels are stored in another
            order.

    Yields:
        A file with exactly the same geometry, or that of the scan, valid inside the ``with``, and what was
        done.

    Raises:
        LabelError: as :func:`clean_label`, or if the file is no readable label, or lies on another grid than
            its scan.
    """
    suffix = next((s for s in _SUFFIXES if path.name.lower().endswith(s)), None)
    if suffix is None:
        raise LabelError(f"a label must be one of {', '.join(_SUFFIXES)}, got {path.name!r}.")
    try:
        label = read_label_file(path)
        turned = label if scan is None else label.on(scan[1], scan[0])
    except ScanError as error:
        raise LabelError(f"the label cannot be used: {error}") from error
    cleaned, report = clean_label(turned.values, _named(label, label_info), structures)
    moves = scan is not None and label.grid.reordering_to(scan[1]) != STILL
    if not (report.changes or moves):
        yield path, report
        return
    with tempfile.TemporaryDirectory(prefix="segtrust-label-") as folder:
        file = Path(folder) / f"label{suffix}"
        if moves:
            write_volume(cleaned, turned.grid.affine, file)
        else:
            write_like(path, label.header, cleaned, file)
        yield file, report


def _named(
    label: LabelFile, label_info: Sequence[Mapping[str, Any]] | None
) -> Sequence[Mapping[str, Any]] | None:
    """The segments as the client or the file's header names them; they must not contradict each other."""
    if not label_info:
        return [{"name": name, "idx": value} for value, name in label.names.items()] or None
    segments = _segments(label_info)
    for value, name in label.names.items():
        if value in segments and segments[value].strip().lower() != name.strip().lower():
            raise LabelError(
                f"`label_info` must name the segments as the file does, but value {value} is "
                f"{segments[value]!r} there "
                f"and {name!r} in the header of {label.name!r}. Submit it again with the names as they are."
            )
    return label_info


def _type_for(values: Iterable[int]) -> type[np.unsignedinteger[Any]]:
    return np.uint8 if max(values, default=0) <= np.iinfo(np.uint8).max else np.uint16


def _label_values(label: NDArray[Any]) -> list[int]:
    values = np.unique(label)
    if not np.array_equal(values, np.floor(values)) or values[0] < 0 or values[-1] > 65535:
        raise LabelError("a label must hold whole numbers from 0 to 65535; was a probability map submitted?")
    try:
        current_limits().check("max_classes", len(values), "the label")
    except ScanError as error:
        raise LabelError(str(error)) from error
    return [int(value) for value in values if value != 0]


def _check_values(present: Sequence[int], structures: Structures) -> CleaningReport:
    for model, names in structures.items():
        if set(present) <= set(names.values()):
            return CleaningReport(model=model, values={value: value for value in present})
    tables = "; ".join(f"{model}: {dict(names)}" for model, names in structures.items())
    strange = sorted(set(present) - {value for names in structures.values() for value in names.values()})
    raise LabelError(
        f"the label has values {strange or list(present)} that no model uses ({tables}) and came without "
        "`label_info`. Send `label_info` with a name for each value."
    )


def _segments(label_info: Sequence[Mapping[str, Any]]) -> dict[int, str]:
    try:
        return {int(s.get("idx", place)): str(s["name"]) for place, s in enumerate(label_info, start=1)}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise LabelError(
            '`label_info` must be a list of {"name": ..., "idx": ...}, one per segment.'
        ) from error


def _match_names(names: Mapping[int, str], structures: Structures) -> CleaningReport:
    fitting = {
        model: {
            value: number for value, name in names.items() if (number := _value_of(name, table)) is not None
        }
        for model, table in structures.items()
    }
    fitting = {model: values for model, values in fitting.items() if values}
    foreign = [name for name in names.values() if not is_band(name)]
    if not fitting:
        if foreign:
            raise LabelError(
                f"no segment has the name of a structure; got {foreign}, "
                f"known are {[name for table in structures.values() for name in table]}. Rename the segments."
            )
        if names:
            raise LabelError(
                f"a label must hold a structure or be empty, but all its voxels are in bands: "
                f"{list(names.values())}. Run the segmentation and submit that, or delete the bands."
            )
        return CleaningReport(model="")
    most = max(len(values) for values in fitting.values())
    best = [model for model, values in fitting.items() if len(values) == most]
    union = set().union(*(fitting[model] for model in fitting))
    if len(union) > most or any(fitting[model] != fitting[best[0]] for model in best):
        raise LabelError(
            f"the segments {foreign} must belong to one model, but fit {sorted(fitting)}. "
            "Submit one model at a time."
        )
    unknown = [name for value, name in names.items() if value not in union and not is_band(name)]
    if unknown:
        raise LabelError(
            f"every segment must have the name of a structure, but {unknown} are none of "
            f"{list(structures[best[0]])}. Rename them, or delete them, and submit again."
        )
    values = {value: fitting[best[0]].get(value, 0) for value in names}
    removed = tuple(names[value] for value, new in values.items() if new == 0)
    return CleaningReport(model=best[0], values=values, removed=removed)


def _value_of(name: str, table: Mapping[str, int]) -> int | None:
    """Value of the structure that a segment's name means; 3D Slicer calls a second one ``name_1``."""
    values = {structure.strip().lower(): value for structure, value in table.items()}
    word = name.strip().lower()
    if word in values or is_band(name):
        return values.get(word)
    return values.get(re.sub(r"_\d+$", "", word))


def _refuse_overwritten(label: NDArray[Any], names: Mapping[int, str], report: CleaningReport) -> None:
    """Later segments win in a viewer's export: a band that touches an earlier structure may have eaten it."""
    order = list(names)
    for old, new in report.values.items():
        if new == 0:
            continue
        later = [v for v in order[order.index(old) + 1 :] if is_band(names[v])]
        over = np.isin(label, later) if later else np.zeros(1, bool)
        if over.any() and bool((binary_dilation(label == old) & over).any()):
            raise LabelError(
                f"the segments {[names[v] for v in later]} lie over {names[old]!r} and may have cut it. "
                f"Move {names[old]!r} below them in the list of segments, or delete them, and submit again."
            )
