"""One map over processes: the same result as a loop, in less time."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

import torch

__all__ = ["parallel_map"]

J = TypeVar("J")
R = TypeVar("R")


def parallel_map(function: Callable[[J], R], jobs: Iterable[J], *, workers: int = 1) -> list[R]:
    """Call a function once for every job.

    Args:
        function: a function of a module, so that another process can import it.
        jobs: its arguments; they and the results must be picklable.
        workers: processes, each with one thread of PyTorch; 1 stays in this process.

    Returns:
        The results in order of the jobs.

    Raises:
        Exception: the first error of any job; jobs that have not begun then are dropped.

    Source:
        ours. The processes are spawned, not forked, as CUDA needs it, and they end with this process even if
        that is killed.

    Example:
        >>> parallel_map(abs, [-1, 2])
        [1, 2]
    """
    if workers == 1:
        return [function(job) for job in jobs]
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_start_worker) as pool:
        return list(pool.map(function, jobs))


def _start_worker() -> None:
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # files are replaced by renaming, so that nothing is left half written
