"""One map over processes."""

import math
import multiprocessing.connection
import os
import signal
import subprocess
import sys
import time

import pytest

from segtrust.errors import DeviceError, SettingError
from segtrust.parallel import parallel_map, parallel_results

_KILLED_RUN = """
import os, time
from segtrust.errors import SettingError
from segtrust.parallel import parallel_map

def work(_job):
    print(os.getpid(), flush=True)
    time.sleep(600)

if __name__ == "__main__":
    parallel_map(work, [1, 2], workers=2)
"""


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_several_processes_give_what_one_gives_in_the_same_order():
    jobs = [5, 3, 4]
    assert parallel_map(math.factorial, jobs, workers=2) == parallel_map(math.factorial, jobs) == [120, 6, 24]


@pytest.mark.slow
def test_the_error_of_a_job_reaches_the_caller():
    with pytest.raises(ValueError, match=r"factorial|non-negative|not defined"):
        parallel_map(math.factorial, [3, -1], workers=2)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="asks by signal 0, which Windows does not have")
def test_workers_end_when_the_run_is_killed(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(_KILLED_RUN, encoding="utf-8")
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as run:
        worker = int(run.stdout.readline())
        assert is_running(worker)
        run.kill()
    deadline = time.monotonic() + 60
    while is_running(worker) and time.monotonic() < deadline:
        multiprocessing.connection.wait([], timeout=0.05)
    assert not is_running(worker)


def first_dies(job):
    """The job's square; the first worker kills itself before, the next finds the file that it left."""
    marker, number = job
    if number == 2 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return math.isqrt(number) if number < 0 else number * number


def always_dies(_job):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_jobs_whose_process_died_are_started_again_a_few_times(tmp_path):
    jobs = [(tmp_path / "died", number) for number in (3, 2, 5)]
    assert parallel_map(first_dies, jobs, workers=2) == [9, 4, 25]
    assert jobs[0][0].exists()
    with pytest.raises(DeviceError, match=r"4 in a row died\. Does the memory suffice"):
        parallel_map(always_dies, [1], workers=2)


def test_each_result_comes_before_the_next_job_begins():
    begun = []
    results = parallel_results(lambda job: begun.append(job) or job, [1, 2, 3])
    assert (next(results), begun) == (1, [1])
    assert (list(results), begun) == ([2, 3], [1, 2, 3])


@pytest.mark.slow
def test_ray_gives_what_one_process_gives_though_a_worker_dies(tmp_path):
    pytest.importorskip("ray", reason="no ray: pip install -c constraints.txt '.[ray]'")
    alone, together = ([(tmp_path / kind, number) for number in (3, 2, 5)] for kind in ("alone", "together"))
    alone[0][0].touch()
    assert parallel_map(first_dies, together, workers=2, ray="local") == [9, 4, 25]
    assert parallel_map(first_dies, alone) == [9, 4, 25]
    with pytest.raises(ValueError, match="nonnegative"):
        parallel_map(first_dies, [(tmp_path, 1), (tmp_path, -1)], workers=2, ray="local")


def test_ray_that_is_missing_or_does_not_answer_is_said_to_be_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingError, match=r"constraints.txt '\.\[ray\]'"):
        parallel_map(math.factorial, [1], ray="local")
