"""One map over processes or over Ray: the same result as a loop, in less time."""

import logging
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import torch

from segtrust.errors import DeviceError, SettingError, install_line
from segtrust.files import FileLimits, current_limits, set_limits

__all__ = ["parallel_map", "parallel_results"]

logger = logging.getLogger(__name__)

J = TypeVar("J")
R = TypeVar("R")

_RETRIES = 3  # of a job whose worker died; an error of the job itself is not tried again


def parallel_map(
    function: Callable[[J], R], jobs: Iterable[J], *, workers: int = 1, ray: str | None = None, gpus: int = 0
) -> list[R]:
    """Call a function once for every job.

    Args:
        function: a function of a module, so that another process can import it.
        jobs: its arguments; they and the results must be picklable.
        workers: processes, each with one thread of PyTorch; 1 stays in this process. The jobs of one that
            died are started again.
        ray: address of a Ray cluster, or ``local`` for one of ``workers`` processes that ends with the call.
            It decides itself how many jobs run at once and starts a job again whose worker died. Its machines
            need segtrust and the files that the jobs name.
        gpus: GPUs that Ray gives to each job; a job sees no others.

    Returns:
        The results in order of the jobs.

    Raises:
        SettingError: if Ray is asked for and not installed, or does not answer at that address.
        DeviceError: if workers die again and again.
        Exception: the first error of any job; jobs that have not begun then are dropped.

    Note:
        The processes are spawned, not forked, as CUDA needs it, and they end with this process even if that
        is killed.

    Example:
        >>> parallel_map(abs, [-1, 2])
        [1, 2]
    """
    return list(parallel_results(function, jobs, workers=workers, ray=ray, gpus=gpus))


def parallel_results(
    function: Callable[[J], R], jobs: Iterable[J], *, workers: int = 1, ray: str | None = None, gpus: int = 0
) -> Iterator[R]:
    """Like :func:`parallel_map`, but each result comes as soon as it and those before it are there.

    Args:
        function: as there.
        jobs: as there.
        workers: as there.
        ray: as there.
        gpus: as there.

    Yields:
        The results in order of the jobs.

    Raises:
        SettingError: as there.
        DeviceError: as there.
        Exception: as there.
    """
    if ray is not None:
        yield from _ray_results(function, jobs, workers=workers, address=ray, gpus=gpus)
    elif workers == 1:
        yield from map(function, jobs)
    else:
        yield from _process_results(function, list(jobs), workers)


def _process_results(function: Callable[[J], R], jobs: list[J], workers: int) -> Iterator[R]:
    spawn = multiprocessing.get_context("spawn")
    deaths = 0
    while jobs:
        done = 0
        try:
            with ProcessPoolExecutor(
                workers, mp_context=spawn, initializer=_start_worker, initargs=(current_limits(),)
            ) as pool:
                for result in pool.map(function, jobs):
                    done += 1
                    yield result
        except BrokenProcessPool as error:  # which ends all its workers
            deaths = 1 if done else deaths + 1
            if deaths > _RETRIES:
                raise DeviceError(
                    f"a worker process must live until its job is done, but {deaths} in a row died. Does the "
                    "memory suffice for so many? Use fewer workers."
                ) from error
            logger.warning("A worker process died; %d jobs are started again", len(jobs) - done)
        jobs = jobs[done:]


def _ray_results(
    function: Callable[[J], R], jobs: Iterable[J], *, workers: int, address: str, gpus: int
) -> Iterator[R]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report its use to its makers
    try:
        import ray  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise SettingError(f"`ray` needs Ray, which is not installed: {install_line('ray')}.") from error
    here: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.WARNING, **here)
    except ConnectionError as error:
        raise SettingError(
            f"`ray` must be the address of a cluster that runs, got {address!r}: {error}."
        ) from error
    try:
        limits = current_limits()
        run: Any = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=_RETRIES)(_in_one_thread)
        waiting = deque(run.remote(function, job, limits) for job in jobs)
        while waiting:
            yield ray.get(waiting.popleft())
    finally:
        ray.shutdown()


def _in_one_thread(function: Callable[[J], R], job: J, limits: FileLimits) -> R:
    set_limits(limits)
    torch.set_num_threads(1)
    return function(job)


def _start_worker(limits: FileLimits) -> None:
    set_limits(limits)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # files are replaced by renaming, so that nothing is left half written
