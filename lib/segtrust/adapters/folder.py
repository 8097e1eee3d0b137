"""Which probability volume belongs to which label: a folder of nnU-Net, TotalSegmentator or anybody else."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from segtrust.errors import ScanError, SettingError
from segtrust.files import ENDINGS, read_claims
from segtrust.files.subjects import SubjectTable

__all__ = [
    "CaseFiles",
    "Cohort",
    "find_cases",
    "find_pairs",
    "find_volumes",
    "named",
    "structure_names",
    "volume_files",
]

_CHANNEL = "_0000"  # nnU-Net's name of a scan's first image
_WORD = r"(?:prob(?:s|seg|ability|abilities)?|softmax|class|label|channel|structure)"
_NUMBERED = (  # names of the file of one class: its number before the scan's id, behind it, or alone
    re.compile(
        rf"(?P<word>(?:{_WORD}[._-]?)+)(?P<number>\d+)(?P<end>[._-])(?P<id>.+)",
        re.IGNORECASE,
    ),
    re.compile(
        rf"(?P<id>.+?)(?P<word>[._-](?:{_WORD}[._-]?)*)(?P<number>\d+)(?P<end>(?:[._-]{_WORD})?)",
        re.IGNORECASE,
    ),
    re.compile(rf"(?P<id>)(?P<word>(?:{_WORD}[._-]?)*)(?P<number>\d+)(?P<end>)", re.IGNORECASE),
)
T = TypeVar("T")
_IMAGE_FOLDERS = {"labelsTr": "imagesTr", "labelsTs": "imagesTs", "labels": "images"}


@dataclass(frozen=True)
class CaseFiles:
    """Files of one scan: its probabilities (one file, or one per class in order), label, and image if any.

    ``label`` is ``None`` where only probabilities are wanted; ``mask`` is the segmentation that lies beside
    an ``.npz`` and knows its geometry.
    """

    id: str
    subject: str
    volumes: tuple[Path, ...]
    label: Path | None = None
    image: Path | None = None
    mask: Path | None = None


@dataclass(frozen=True)
class Cohort:
    """Scans with probabilities and a label, and the ids of labels that have no probabilities.

    ``remarks``: sentences about how the table of subjects fits the scans.
    """

    cases: tuple[CaseFiles, ...]
    without: tuple[str, ...]
    remarks: tuple[str, ...] = ()


def find_cases(
    pred: Sequence[Path],
    labels: Path,
    *,
    images: Path | None = None,
    subjects: SubjectTable | None = None,
) -> Cohort:
    """Match labels and probability volumes by name.

    Args:
        pred: folders of probability volumes, see :func:`find_volumes`; several folds of a cross-validation.
        labels: folder with one label map per scan, ``<id>.nii.gz``, ``.nii`` or ``.nrrd``.
        images: folder of the images, ``<id>`` or, as nnU-Net has it, ``<id>_0000``; the sibling ``images`` or
            ``imagesTr`` of the labels unless given.
        subjects: which subject each label's scan belongs to; a scan is its own subject unless named.

    Returns:
        The scans in order of their ids.

    Raises:
        ScanError: if a folder is missing or no label has probabilities.
        SettingError: if two folders hold the same scan, or the table does not fit the labels.

    Note:
        Names as nnU-Net 2 writes them.
    """
    reference = _by_id(labels)
    of_name: dict[str, tuple[Path, ...]] = {}
    masks: dict[str, Path] = {}
    for folder in pred:
        volumes = find_volumes(folder)
        if twice := sorted(of_name.keys() & volumes.keys() & reference.keys()):
            raise SettingError(f"a scan must lie in one folder only, got {twice[0]!r} in two of them.")
        of_name |= volumes
        masks |= _by_id(folder)
    pictures = _images(labels, images)
    volumes = {name: paths for name in sorted(reference) if (paths := named(name, of_name))}
    if not volumes:
        raise ScanError(_nothing(pred, labels, reference), "scan_missing")
    owners, remarks = _owners(subjects, reference)
    cases = tuple(
        CaseFiles(
            name,
            owners.get(name, name),
            paths,
            reference[name],
            pictures.get(name),
            _mask(paths, masks),
        )
        for name, paths in volumes.items()
    )
    return Cohort(cases, tuple(sorted(reference.keys() - volumes.keys())), remarks)


def find_pairs(images: Path, labels: Path, *, subjects: SubjectTable | None = None) -> Cohort:
    """Match labels and images by name, for a model that makes the probabilities itself.

    Args:
        images: folder of the images, ``<id>`` or ``<id>_0000``.
        labels: folder with one label map per scan.
        subjects: which subject each label's scan belongs to; a scan is its own subject unless named.

    Returns:
        The scans in order of their ids; labels without image under ``without``.

    Raises:
        ScanError: if a folder is missing or no label has an image.
        SettingError: if the table does not fit the labels.
    """
    reference, pictures = _by_id(labels), _images(labels, images)
    names = [name for name in sorted(reference) if name in pictures]
    if not names:
        raise ScanError(
            f"no label of {labels} has an image in {images}. Names must be equal.", "scan_missing"
        )
    owners, remarks = _owners(subjects, reference)
    cases = [CaseFiles(name, owners.get(name, name), (), reference[name], pictures[name]) for name in names]
    return Cohort(tuple(cases), tuple(sorted(reference.keys() - pictures.keys())), remarks)


def find_volumes(folder: Path) -> dict[str, tuple[Path, ...]]:
    """Find probability volumes; of a scan that is there in several forms the first of this list counts.

    1. ``<id>.npz`` as nnU-Net (``--npz``, ``--save_probabilities``) and TotalSegmentator write it;
    2. a folder ``<id>`` with one file per class, ``<anything>_<class>`` or ``<class>``;
    3. files ``<id>_<class>``, one per class; words such as ``prob`` or ``class`` may stand beside the
       number, and before the id;
    4. ``<id>.nii.gz``, ``.nii``, ``.nrrd`` or ``.mha`` with the classes as its fourth axis.

    Args:
        folder: the folder.

    Returns:
        Id -> file, or files in order of their class; of a missing class the file that should be there.

    Raises:
        ScanError: if there is no such folder, or two files of it are of the same class of a scan.
    """
    _check_folder(folder)
    alone = _without_npz(folder)
    volumes: dict[str, tuple[Path, ...]] = {name: (path,) for name, path in alone.items()}
    volumes |= _numbered(alone)
    for inner in sorted(path for path in folder.glob("[!.]*") if path.is_dir()):
        parts = sorted(_numbered(_by_id(inner), inner=True).values(), key=len)
        if parts:
            volumes[inner.name] = parts[-1]
    volumes |= {path.stem: (path,) for path in sorted(folder.glob("[!.]*.npz"))}
    return volumes


def volume_files(folder: Path) -> tuple[CaseFiles, ...]:
    """The volumes of a folder without labels, in order of their ids; see :func:`find_volumes`.

    Files ``<id>_<number>`` are the classes of one scan if the first of them holds one value per voxel, else
    they are scans of their own.
    """
    masks, volumes, alone = _by_id(folder), find_volumes(folder), _without_npz(folder)
    for name, parts in _numbered(alone).items():
        own = [single for single, path in alone.items() if path in parts]
        for other in own if _has_one_value(parts) else [name]:
            volumes.pop(other, None)
    return tuple(
        CaseFiles(name, name, paths, mask=_mask(paths, masks)) for name, paths in sorted(volumes.items())
    )


def named(name: str, entries: Mapping[str, T]) -> T | None:
    """What is filed under a scan's id, or under the id with or without nnU-Net's ``_0000``.

    Args:
        name: id of the scan.
        entries: id -> files.

    Returns:
        The files; ``None`` if there are none.

    Example:
        >>> named("case_0000", {"case": 1}), named("case", {"case_0000": 2})
        (1, 2)
    """
    for candidate in (name, name.removesuffix(_CHANNEL), name + _CHANNEL):
        if candidate in entries:
            return entries[candidate]
    return None


def _mask(volumes: Sequence[Path], masks: Mapping[str, Path]) -> Path | None:
    return named(volumes[0].stem, masks) if volumes[0].suffix == ".npz" else None


def _has_one_value(parts: Sequence[Path]) -> bool:
    """Whether files are of one class each, by the first header that can be read."""
    for path in parts:
        try:
            return read_claims(path, per_voxel="max_classes").components == 1
        except ScanError:
            continue
    return True


def _without_npz(folder: Path) -> dict[str, Path]:
    """Images but for the masks that lie beside an ``.npz``."""
    return {name: path for name, path in _by_id(folder).items() if not (folder / f"{name}.npz").is_file()}


def _numbered(files: Mapping[str, Path], *, inner: bool = False) -> dict[str, tuple[Path, ...]]:
    """Scan -> one file per class in order; ``inner``: files of a folder that is one scan's."""
    left, scans = dict(files), dict[str, tuple[Path, ...]]()
    for pattern in _NUMBERED if inner else _NUMBERED[:-1]:
        for (name, _, _), parts in _groups(left, pattern).items():
            if {0, 1} <= parts.keys():
                scans.setdefault(name, tuple(_part(parts, number) for number in range(max(parts) + 1)))
                left = {one: path for one, path in left.items() if path not in parts.values()}
    return scans


def _groups(
    files: Mapping[str, Path], pattern: re.Pattern[str]
) -> dict[tuple[str, str, str], dict[int, Path]]:
    """Files whose names are equal but for the number of their class."""
    groups: dict[tuple[str, str, str], dict[int, Path]] = {}
    for name, path in files.items():
        if match := pattern.fullmatch(name):
            group = groups.setdefault((match["id"], match["word"], match["end"]), {})
            if (other := group.setdefault(int(match["number"]), path)) is not path:
                raise ScanError(
                    f"there must be one file per class, got {other.name} and {path.name} for class "
                    f"{int(match['number'])}. Remove one of them.",
                    "scan_unreadable",
                )
    return groups


def _part(parts: Mapping[int, Path], number: int) -> Path:
    """The file of a class; if it is missing, what it would be called."""
    first = parts[0]
    return parts.get(number) or first.with_name(f"{first.name.partition('.')[0]} (class {number})")


def structure_names(folders: Sequence[Path]) -> tuple[tuple[str, ...], int | None] | None:
    """Names of the structures from nnU-Net's or the Decathlon's ``dataset.json``, if there is one.

    Args:
        folders: where to look: in each of them, beside it and above that; the first file found counts.

    Returns:
        Names in order of their values, and the value that nnU-Net ignores (``None`` if there is none);
        ``None`` without such a file.

    Raises:
        SettingError: if the labels are regions, or their values have gaps.

    Source:
        nnU-Net 2, ``documentation/dataset_format.md``; Medical Segmentation Decathlon.
    """
    places = [place for folder in folders for place in (folder, *folder.resolve().parents[:3])]
    path = next((p / "dataset.json" for p in places if (p / "dataset.json").is_file()), None)
    if path is None:
        return None
    try:
        labels: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))["labels"]
        # nnU-Net 2: name -> value; the Decathlon: value -> name
        named = {str(k): v for k, v in labels.items()}
        if all(name.isdigit() for name in named):
            named = {str(v): int(k) for k, v in named.items()}
        if any(not isinstance(value, int | str) for value in named.values()):
            raise SettingError(
                f"{path} must give each label one value; region-based training is not supported."
            )
        values = {name: int(value) for name, value in named.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, SettingError):
            raise
        raise SettingError(f"{path} must hold `labels` as nnU-Net writes them, but {error!r}.") from error
    ignore = values.pop("ignore", None)
    ordered = sorted((value, name) for name, value in values.items() if value > 0)
    if [value for value, _ in ordered] != list(range(1, len(ordered) + 1)):
        raise SettingError(f"{path} must number its labels 0, 1, 2, ..., got {sorted(values.values())}.")
    return tuple(name for _, name in ordered), ignore


def _by_id(folder: Path) -> dict[str, Path]:
    _check_folder(folder)
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        suffix = next((s for s in ENDINGS if path.name.endswith(s)), "")
        if suffix and path.is_file() and not path.name.startswith("."):
            files.setdefault(path.name.removesuffix(suffix), path)
    return files


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ScanError(f"there must be a folder {folder}, got none.", "scan_missing")


def _owners(table: SubjectTable | None, labels: Iterable[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    if table is None:
        return {}, ()
    ids = tuple(labels)
    return table.owners(ids), table.remarks(ids)


def _images(labels: Path, images: Path | None) -> dict[str, Path]:
    if images is None:
        images = labels.parent / _IMAGE_FOLDERS.get(labels.name, "images")
        if not images.is_dir():
            return {}
    files = _by_id(images)
    first = {name.removesuffix("_0000"): path for name, path in files.items() if name.endswith("_0000")}
    return {**files, **first}


def _nothing(pred: Sequence[Path], labels: Path, reference: Mapping[str, Path]) -> str:
    first = next(iter(sorted(reference)), None)
    if first is None:
        return f"{labels} must hold label maps ({', '.join(ENDINGS)}), got none."
    return (
        f"no label of {labels} has probabilities in {', '.join(map(str, pred))}: looked for {first}.npz, a "
        f"folder {first}, {first}_0 and so on, and {first}.nii.gz with a class axis. nnU-Net writes them "
        "with --npz (training) or --save_probabilities (prediction)."
    )
