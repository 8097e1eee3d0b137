"""Figures of a result file as cells of a table in Markdown."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["interval", "paragraph", "percent", "row", "table"]

Found = dict[str, Any]


def row(cells: Iterable[str]) -> str:
    """One row."""
    return f"| {' | '.join(cells)} |"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table, and an empty one behind it."""
    return [row(head), f"|{'---|' * len(head)}", *map(row, rows), ""]


def paragraph(*parts: str) -> str:
    """Lines of at most 110 signs, and an empty one behind them."""
    text = textwrap.fill(" ".join(parts), 110, break_long_words=False, break_on_hyphens=False)
    return text + "\n"


def interval(found: Found | None, digits: int = 3, *, sign: bool = False) -> str:
    """A figure with its interval; a dash where it is not defined, its missing ends left out."""
    if found is None or found["value"] is None:
        return "-"
    form = f"{'+' if sign else ''}.{digits}f"
    value = format(found["value"], form)
    if found["low"] is None or found["high"] is None:
        return value
    return f"{value} ({found['low']:{form}} to {found['high']:{form}})"


def percent(found: Found) -> str:
    """A share in per cent with its interval."""
    return interval(
        {name: None if found[name] is None else 100 * found[name] for name in ("value", "low", "high")}, 0
    )
