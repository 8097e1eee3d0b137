"""The last results stay in memory, so that mask, uncertainty and bands of one scan cost one run."""

import threading
from collections.abc import Callable, Hashable
from typing import TypeVar

from cachetools import LRUCache, cached

__all__ = ["Results", "last_results"]

T = TypeVar("T")
Results = Callable[[Hashable, Callable[[], T]], T]
"""Gives the result of a key, or computes it; what raises leaves nothing behind."""


def last_results(size: int = 1) -> Results[T]:
    """Keep the results asked for last; threads that ask for the same one compute it once.

    Args:
        size: number of results in memory.

    Returns:
        Function of a key, which names scan, version and settings, and of what computes the result.

    Example:
        >>> last_results()("scan", lambda: 7)
        7
    """

    @cached(LRUCache(size), key=lambda key, _compute: key, condition=threading.Condition())
    def get_or_compute(key: Hashable, compute: Callable[[], T]) -> T:  # noqa: ARG001  # the decorator's key
        return compute()

    return get_or_compute
