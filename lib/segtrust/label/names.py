"""Names that a reader sees: structures, and bands of the chance that a label is wrong."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise

from segtrust.errors import SettingError
from segtrust.inference.prediction import BLIND_SPOT, RESEARCH_ONLY
from segtrust.inference.sample_masks import AGREEMENT_EDGES
from segtrust.label.failures import LabelError
from segtrust.models import ModelSpec

__all__ = [
    "BAND_PREFIX",
    "BLIND_SPOT",
    "FLAGGED",
    "NOT_SEEN",
    "RESEARCH_ONLY",
    "agreement_colours",
    "agreement_labels",
    "app_labels",
    "band_colours",
    "band_labels",
    "band_texts",
    "combined_labels",
    "contour_labels",
    "is_band",
    "refuse_partial",
    "structure_labels",
]

BAND_PREFIX = "chance of error"
"""Every band's name begins with it, so that bands can be told from structures in a label that comes back."""

FLAGGED = f"{BAND_PREFIX} flagged"
"""Name of the voxels of a flag map; a band's name, so that it is taken out of a label that comes back."""

NOT_SEEN = f"{BAND_PREFIX} not known - not looked at"
"""Name of the voxels outside of the boxes that a search found; a band's name, for the same reason."""

SAMPLES_PREFIX = "share of samples"
"""Begins the name of every level of agreement of samples; such names are taken out like bands."""

CONTOUR_PREFIX = "conformal contour"
"""Begins the name of every part of a map of contours; such names are taken out like bands."""

PARTIAL_SUFFIX = " sure part - do not measure"
"""Ends the name of a structure from which the uncertain voxels were taken out."""

_MOST_LABELS = 255

# light to dark in even steps, readable without colour vision (matplotlib's `cividis`, reversed)
_BAND_COLOURS = ((234, 211, 87), (142, 136, 119), (32, 60, 109))
_NOT_SEEN_COLOUR = (128, 128, 128)
_LEVEL_COLOURS = ((32, 60, 109), (101, 105, 113), (167, 157, 117), (234, 211, 87))


def band_texts(edges: Sequence[float]) -> tuple[str, ...]:
    """Say each band of chances in words.

    Args:
        edges: rising lower edges, in (0, 1).

    Returns:
        One text per band.

    Note:
        Natural frequencies ("1 in 20") are read more surely than percentages.

    Example:
        >>> band_texts((0.05, 0.2, 1 / 3))
        ('1 in 20 to 1 in 5', '1 in 5 to 1 in 3', 'above 1 in 3')
    """
    words = [f"1 in {round(1 / edge, 1):g}" for edge in edges]
    between = [f"{low} to {high}" for low, high in pairwise(words)]
    return (*between, f"above {words[-1]}")


def band_labels(edges: Sequence[float], model: str = "") -> dict[str, int]:
    """Names of the bands with their voxel values 1, 2, 3.

    Args:
        edges: rising lower edges.
        model: name put behind each band where several models are served; empty where there is one.

    Returns:
        Name -> value, in rising order.

    Example:
        >>> band_labels((0.05, 0.2, 1 / 3), "heart")["chance of error above 1 in 3 (heart)"]
        3
    """
    suffix = f" ({model})" if model else ""
    return {f"{BAND_PREFIX} {text}{suffix}": value for value, text in enumerate(band_texts(edges), start=1)}


def band_colours(names: Collection[str]) -> dict[str, tuple[int, int, int]]:
    """Colour of each band, light for a small chance and dark for a large one; grey where nobody looked."""
    bands = [name for name in names if name != NOT_SEEN]
    unseen = {NOT_SEEN: _NOT_SEEN_COLOUR} if len(bands) < len(names) else {}
    return dict(zip(bands, _BAND_COLOURS, strict=True)) | unseen


def is_band(name: str) -> bool:
    """Whether a segment's name is that of a band, level of agreement or contour, in any case of letters."""
    return name.strip().lower().startswith((BAND_PREFIX, SAMPLES_PREFIX, CONTOUR_PREFIX))


def agreement_labels(structures: Mapping[str, int], model: str = "") -> dict[str, int]:
    """Names of the view that shows one sample, or how many samples agree, with their voxel values.

    Args:
        structures: names of a model's structures with the values 1..N.
        model: name put behind each level where several models are served; empty where there is one.

    Returns:
        Name -> value: structures keep 1..N, since a sample may become a label; the levels follow.

    Example:
        >>> list(agreement_labels({"nodule": 1}))[1]
        'share of samples up to 25 %'
    """
    suffix = f" ({model})" if model else ""
    ends = [f"{100 * edge:.0f}" for edge in (*AGREEMENT_EDGES, 1)]
    texts = [f"up to {ends[0]} %", *(f"{low} to {high} %" for low, high in pairwise(ends))]
    levels = {f"{SAMPLES_PREFIX} {text}{suffix}": len(structures) + i for i, text in enumerate(texts, 1)}
    return {**structures, **levels}


def agreement_colours(names: Iterable[str]) -> dict[str, tuple[int, int, int]]:
    """Colour of each level of agreement, dark for few samples and light for nearly all."""
    return dict(zip(names, _LEVEL_COLOURS, strict=True))


def contour_labels(structures: Mapping[str, int]) -> dict[str, int]:
    """Names of the parts of a map of contours with their voxel values.

    Args:
        structures: names of a model's structures with the values 1..N.

    Returns:
        Name -> value: three for each structure, as :meth:`Prediction.contour_map` has them.

    Example:
        >>> contour_labels({"spleen": 2})["conformal contour spleen: mask to outer"]
        6
    """
    parts = ("inside inner", "inner to mask", "mask to outer")
    return {
        f"{CONTOUR_PREFIX} {name}: {part}": 3 * (value - 1) + index
        for name, value in structures.items()
        for index, part in enumerate(parts, start=1)
    }


def structure_labels(spec: ModelSpec) -> dict[str, int]:
    """Names of a model's structures with their voxel values, in the order of the values."""
    return {label.name: label.value for label in sorted(spec.labels, key=lambda label: label.value)}


def combined_labels(structures: Mapping[str, int], bands: Mapping[str, int]) -> dict[str, int]:
    """Names of the view that shows structures and bands in one volume, with their voxel values.

    Args:
        structures: names of a model's structures with the values 1..N.
        bands: names of its bands with the values 1..B.

    Returns:
        Name -> value: the sure parts keep 1..N, the bands get N + 1..N + B.

    Note:
        A viewer that replaces the whole label map (OHIF) cannot show mask and bands otherwise.

    Example:
        >>> combined_labels({"spleen": 1}, {"chance of error above 1 in 3": 1})
        {'spleen sure part - do not measure': 1, 'chance of error above 1 in 3': 2}
    """
    sure = {f"{name}{PARTIAL_SUFFIX}": value for name, value in structures.items()}
    return sure | {name: len(sure) + value for name, value in bands.items()}


def refuse_partial(names: Iterable[str]) -> None:
    """Refuse a label with structures from which the uncertain voxels were taken out.

    Args:
        names: names of the segments that hold voxels.

    Raises:
        LabelError: if one of them is a sure part.
    """
    if partial := [name for name in names if PARTIAL_SUFFIX.strip() in name.lower()]:
        raise LabelError(
            f"the segments {partial} are structures without their uncertain voxels: they are too small and "
            "must not be kept or measured. Delete them, run the model's own task, and submit its mask."
        )


def app_labels(views: Iterable[Mapping[str, int]], structures: Iterable[Mapping[str, int]]) -> list[str]:
    """All names in the order in which 3D Slicer makes its segments.

    Bands and sure parts come first: where segments overlap, Slicer's export keeps the later one, and that
    must be the structure.

    Args:
        views: names of the uncertainty views of each model.
        structures: names of the structures of each model.

    Returns:
        Names without repetition.

    Raises:
        SettingError: if there are more than 255: OHIF's plug-in numbers them in one byte, and shows wrong
            structures beyond.
    """
    names = list(dict.fromkeys(name for labels in (*views, *structures) for name in labels))
    if len(names) > _MOST_LABELS:
        raise SettingError(
            f"all models served together may have {_MOST_LABELS} labels, got {len(names)}. "
            "Serve fewer: --conf models NAME,NAME"
        )
    return names
