"""The page of a cohort: ranked table, how to read it, and three slices of every scan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segtrust.report.overlay import Slice
from segtrust.report.pages import fill_template
from segtrust.report.palette import OUTLINE_COLOURS
from segtrust.report.scale import CHANCE_RANGE, colour_bar

__all__ = ["CohortPage", "ScanCard", "render_cohort", "write_cohort_page"]


@dataclass(frozen=True, kw_only=True)
class ScanCard:
    """One scan on the page; an absent score or volume is ``None``; ``flags`` maps a word to its sentence."""

    scan: str
    rank: int | None
    score: float | None
    volumes_ml: Mapping[str, float | None]
    flags: Mapping[str, str]
    slices: Sequence[Slice]


@dataclass(frozen=True, kw_only=True)
class CohortPage:
    """What the page says about the run as a whole."""

    title: str
    cohort: str
    model: str
    model_facts: Sequence[str]
    limits: str
    structures: Sequence[str]
    next_scan: str | None
    cards: Sequence[ScanCard]


def render_cohort(page: CohortPage) -> str:
    """The page as HTML that needs no other file and no network.

    Args:
        page: what to show; cards in the order of the table.

    Returns:
        A complete HTML document.
    """
    low, high = CHANCE_RANGE
    return fill_template(
        "cohort.html.jinja",
        page=page,
        bar=colour_bar(),
        ticks=[low + (high - low) * k / 5 for k in range(6)],
        colours={name: OUTLINE_COLOURS[k % len(OUTLINE_COLOURS)] for k, name in enumerate(page.structures)},
    )


def write_cohort_page(page: CohortPage, path: Path) -> None:
    """Write the page to a file.

    Args:
        page: what to show.
        path: the HTML file; replaced if it exists.
    """
    path.write_text(render_cohort(page), encoding="utf-8")
