"""Ending work that nobody waits for any more."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from segtrust.errors import SegtrustError

__all__ = ["StoppedError", "check_stopped", "stoppable"]

_PAUSE_S = 0.25  # asking costs a turn of the server's event loop


class StoppedError(SegtrustError, RuntimeError):
    """Work was ended because whoever asked for it went away."""

    code = "stopped"


class _Question:
    """Asks at most every quarter of a second whether somebody still waits."""

    def __init__(self, is_over: Callable[[], bool]) -> None:
        self._is_over, self._asked, self._over = is_over, time.monotonic(), False

    def is_over(self) -> bool:
        if not self._over and time.monotonic() - self._asked >= _PAUSE_S:
            self._over, self._asked = self._is_over(), time.monotonic()
        return self._over


_question: ContextVar[_Question | None] = ContextVar("stopped", default=None)


@contextmanager
def stoppable(is_over: Callable[[], bool]) -> Iterator[None]:
    """Let the work inside a ``with`` be ended between its steps.

    Args:
        is_over: whether nobody waits for it any more; asked in the thread that works.
    """
    token = _question.set(_Question(is_over))
    try:
        yield
    finally:
        _question.reset(token)


def check_stopped() -> None:
    """Go on only if somebody still waits; called between two steps of long work.

    Raises:
        StoppedError: if nobody waits any more.
    """
    question = _question.get()
    if question is not None and question.is_over():
        raise StoppedError("the work was ended, because the client that asked for it has gone.")
