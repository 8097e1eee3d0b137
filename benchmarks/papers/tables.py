"""Figures of a result file as cells of a table in Markdown, and the page that they stand on."""

import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["interval", "paragraph", "percent", "row", "table", "write_or_check"]

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


def write_or_check(path: Path, text: str) -> int:
    """Write a page; with ``--check`` on the command line only say whether it is up to date.

    Args:
        path: the page.
        text: what it must hold.

    Returns:
        The exit status.
    """
    if "--check" not in sys.argv[1:]:
        path.write_text(text, encoding="utf-8")
        return 0
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return 0
    print(f"{path.name} is out of date: python benchmarks/papers/{Path(sys.argv[0]).name}", file=sys.stderr)
    return 1
