"""Figures of a result file as cells of a table in Markdown, and the page that they stand on."""

import re
import sys
import textwrap
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from segtrust.errors import SettingError

__all__ = ["Json", "interval", "paragraph", "percent", "pooled_pairs_note", "row", "table", "write_or_check"]

Json = dict[str, Any]


def row(*cells: str) -> str:
    """One row."""
    return f"| {' | '.join(cells)} |"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table, and an empty one behind it."""
    return [row(*head), f"|{'---|' * len(head)}", *(row(*cells) for cells in rows), ""]


def paragraph(*parts: str) -> str:
    """Lines of at most 110 signs, and an empty one behind them."""
    text = textwrap.fill(" ".join(parts), 110, break_long_words=False, break_on_hyphens=False)
    return text + "\n"


def interval(figure: Json | None, digits: int = 3, *, sign: bool = False) -> str:
    """A figure with its interval; a dash where it is not defined, or why it has no ends."""
    if figure is None or figure["value"] is None:
        return "-"
    form = f"{'+' if sign else ''}.{digits}f"
    value = format(figure["value"], form)
    if figure["low"] is None or figure["high"] is None:
        return f"{value} ({figure['interval']})" if "interval" in figure else value
    return f"{value} ({figure['low']:{form}} to {figure['high']:{form}})"


def percent(figure: Json) -> str:
    """A share in per cent with its interval."""
    ends = {n: None if figure[n] is None else 100 * figure[n] for n in ("value", "low", "high")}
    return interval({**figure, **ends}, 0)


def pooled_pairs_note(scores: Collection[str]) -> list[str]:
    """Say what pairwise Dice is in a result that is older than the mean over pairs.

    Args:
        scores: names of all scores of the result.

    Returns:
        Lines, and an empty one behind them; none for a result that knows `doubt`, which came with the mean.
    """
    if "pairwise_dice" not in scores or "doubt" in scores:
        return []
    return [
        "`pairwise_dice` pools the voxels of all pairs of members here; measured since, it is the mean over",
        "pairs, which shows a member that fails.\n",
    ]


def fill_block(page: Path, name: str, text: str) -> str:
    """A page with what stands between two of its comments made anew.

    Args:
        page: holds ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->``, each on a line of its own.
        name: of the block.
        text: what shall stand between, ending with a line break.

    Returns:
        The whole page.

    Raises:
        SettingError: if the page has no such block.
    """
    block = re.compile(rf"(<!-- {name}: begin -->\n).*?(<!-- {name}: end -->)", re.DOTALL)
    filled, count = block.subn(lambda match: f"{match[1]}{text}{match[2]}", page.read_text(encoding="utf-8"))
    if count != 1:
        raise SettingError(f"{page.name} must have one block <!-- {name}: begin --> ... end, got {count}.")
    return filled


def write_or_check(*pages: tuple[Path, str]) -> int:
    """Write pages; with ``--check`` on the command line only say whether they are up to date.

    Args:
        pages: each with what it must hold.

    Returns:
        The exit status: 1 if a page that was only checked is out of date.
    """
    if "--check" not in sys.argv[1:]:
        for path, text in pages:
            path.write_text(text, encoding="utf-8")
        return 0
    stale = [p.name for p, text in pages if not p.is_file() or p.read_text(encoding="utf-8") != text]
    if stale:
        sys.stderr.write(f"out of date: {', '.join(stale)}; write again: python {sys.argv[0]}\n")
    return int(bool(stale))
