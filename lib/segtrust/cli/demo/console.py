"""What the demo prints: a progress bar on a terminal, plain lines elsewhere, and the table of scans."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from segtrust.report import ScanCard

__all__ = ["Step", "print_table", "progress"]


class Step(Protocol):
    """Tells that one more scan is done."""

    def __call__(self, text: str) -> None: ...


@contextmanager
def progress(console: Console, title: str, total: int) -> Iterator[Step]:
    """Show how far a loop has come.

    Args:
        console: where to write.
        title: what is being done.
        total: number of steps.

    Yields:
        A function to call after each step with a few words about it.
    """
    if not console.is_terminal:
        done = 0

        def line(text: str) -> None:
            nonlocal done
            done += 1
            console.print(f"{title} {done}/{total}: {text}", highlight=False)

        yield line
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[about]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=total, about="")
        yield lambda text: bar.update(task, advance=1, about=text)


def print_table(console: Console, cards: Sequence[ScanCard], structures: Sequence[str]) -> None:
    """Print the ranked scans, then the flags in full.

    Args:
        console: where to write.
        cards: scans in their order.
        structures: names of the structures, in the order of the columns.
    """
    table = Table(title="Scans to label, least sure first", title_justify="left")
    table.add_column("rank", justify="right")
    table.add_column("scan", no_wrap=True)
    table.add_column("score", justify="right")
    for name in structures:
        table.add_column(f"{name} ml", justify="right")
    table.add_column("flags", overflow="fold")
    for card in cards:
        table.add_row(
            "-" if card.rank is None else str(card.rank),
            card.scan,
            _number(card.score, 3),
            *(_number(card.volumes_ml.get(name), 2) for name in structures),
            "; ".join(code.replace("_", " ") for code in card.flags) or "none",
        )
    console.print(table)
    for card in cards:
        for sentence in card.flags.values():
            console.print(f"{card.scan}: {sentence}", highlight=False, markup=False, soft_wrap=True)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
