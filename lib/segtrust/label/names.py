"""Names that a reader sees: structures, and bands of the chance that a label is wrong."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from segtrust.inference.prediction import BLIND_SPOT, RESEARCH_ONLY
from segtrust.models import ModelSpec

__all__ = [
    "BAND_PREFIX",
    "BLIND_SPOT",
    "RESEARCH_ONLY",
    "app_labels",
    "band_colours",
    "band_labels",
    "band_texts",
    "is_band",
    "structure_labels",
]

BAND_PREFIX = "chance of error"
"""Every band's name begins with it, so that bands can be told from structures in a label that comes back."""

# light to dark in even steps, readable without colour vision (matplotlib's `cividis`, reversed)
_BAND_COLOURS = ((234, 211, 87), (142, 136, 119), (32, 60, 109))


def band_texts(edges: Sequence[float]) -> tuple[str, ...]:
    """Say each band of chances in words.

    Args:
        edges: rising lower edges, in (0, 1).

    Returns:
        One text per band.

    Source:
        ours; natural frequencies ("1 in 20") are read more surely than percentages.

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

    Source:
        ours.

    Example:
        >>> band_labels((0.05, 0.2, 1 / 3), "heart")["chance of error above 1 in 3 (heart)"]
        3
    """
    suffix = f" ({model})" if model else ""
    return {f"{BAND_PREFIX} {text}{suffix}": value for value, text in enumerate(band_texts(edges), start=1)}


def band_colours(names: Iterable[str]) -> dict[str, tuple[int, int, int]]:
    """Colour of each band, light for a small chance and dark for a large one."""
    return dict(zip(names, _BAND_COLOURS, strict=True))


def is_band(name: str) -> bool:
    """Whether a segment's name is that of a band, in whatever case a viewer wrote it."""
    return name.strip().lower().startswith(BAND_PREFIX)


def structure_labels(spec: ModelSpec) -> dict[str, int]:
    """Names of a model's structures with their voxel values, in the order of the values."""
    return {label.name: label.value for label in sorted(spec.labels, key=lambda label: label.value)}


def app_labels(bands: Iterable[Mapping[str, int]], structures: Iterable[Mapping[str, int]]) -> list[str]:
    """All names in the order in which 3D Slicer makes its segments.

    Bands come first: where segments overlap, Slicer's export keeps the later one, and that must be the
    structure.

    Args:
        bands: names of the bands of each model.
        structures: names of the structures of each model.

    Returns:
        Names without repetition.
    """
    return list(dict.fromkeys(name for labels in (*bands, *structures) for name in labels))
