"""A small cache of predictions, so that mask, uncertainty and bands of one scan cost one run."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

__all__ = ["PredictionCache"]

T = TypeVar("T")


class PredictionCache(Generic[T]):
    """Keeps the last results; two threads that ask for the same one compute it once.

    Args:
        size: number of results kept.

    Example:
        >>> PredictionCache[int](1).get_or_compute("scan", lambda: 7)
        7
    """

    def __init__(self, size: int = 1) -> None:
        self._size = size
        self._kept: OrderedDict[Hashable, T] = OrderedDict()
        self._guard = threading.Lock()
        # a turn lives as long as a thread holds it or waits for it
        self._turns: WeakValueDictionary[Hashable, threading.Lock] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._kept)

    def get_or_compute(self, key: Hashable, compute: Callable[[], T]) -> T:
        """Return a kept result, or compute and keep it.

        Args:
            key: names the result: scan, version and settings.
            compute: called at most once at a time per key; if it raises, nothing is kept.

        Returns:
            The result.
        """
        with self._guard:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            turn = self._turns.setdefault(key, threading.Lock())
        with turn:
            with self._guard:
                if key in self._kept:
                    return self._kept[key]
            result = compute()
            with self._guard:
                self._kept[key] = result
                while len(self._kept) > self._size:
                    self._kept.popitem(last=False)
            return result
