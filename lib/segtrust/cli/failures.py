"""A run over many files goes on after a bad one, and says at its end which failed and why."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from segtrust.errors import SegtrustError

__all__ = ["Failures", "failure_table"]


class Failures:
    """Collects what failed, scan by scan."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self.reasons)

    @property
    def status(self) -> int:
        """The exit status of the run."""
        return 1 if self.reasons else 0

    @contextmanager
    def survive(self, name: str) -> Iterator[None]:
        """Keep what goes wrong in the block as the scan's reason, and go on after it.

        Args:
            name: of the scan.
        """
        try:
            yield
        except Exception as error:  # noqa: BLE001  # whatever one file makes a reader trip over
            foreseen = isinstance(error, SegtrustError)
            self.add(name, str(error) if foreseen else f"{type(error).__name__}: {error}")

    def add(self, name: str, reason: str) -> None:
        """Note why a scan failed; the first reason stays.

        Args:
            name: of the scan.
            reason: a sentence.
        """
        if name not in self.reasons:
            self.reasons[name] = reason
            print(f"{name} failed: {reason}", file=sys.stderr, flush=True)

    def tell(self) -> None:
        """Print the table, if anything failed."""
        if self.reasons:
            print(f"\n{failure_table(self.reasons)}")


def failure_table(reasons: Mapping[str, str]) -> str:
    """What failed and why, as Markdown.

    Args:
        reasons: scan -> why it failed.

    Returns:
        A sentence and a table.

    Example:
        >>> print(failure_table({"a": "cut off"}))
        1 failed:
        <BLANKLINE>
        | failed | why |
        |---|---|
        | a | cut off |
    """
    rows = [f"| {name} | {' '.join(reason.replace('|', '/').split())} |" for name, reason in reasons.items()]
    return "\n".join([f"{len(reasons)} failed:", "", "| failed | why |", "|---|---|", *rows])
