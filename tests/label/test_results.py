"""The last results in memory, also under threads."""

import threading
import time

import pytest

from segtrust.label.results import last_results


class Counter:
    def __init__(self, seconds=0.0):
        self.calls, self.seconds = 0, seconds

    def __call__(self):
        self.calls += 1
        time.sleep(self.seconds)
        return self.calls


def test_a_result_is_computed_once():
    results, compute = last_results(1), Counter()
    assert [results("a", compute) for _ in range(3)] == [1, 1, 1]


def test_another_key_is_computed_anew():
    results, compute = last_results(2), Counter()
    assert [results(key, compute) for key in "ab"] == [1, 2]


def test_the_result_used_longest_ago_is_dropped():
    results, compute = last_results(2), Counter()
    for key in "abac":  # b is the one not used since
        results(key, compute)
    assert results("a", compute) == 1
    assert results("b", compute) == 4


def test_a_failure_is_not_kept():
    results = last_results(1)

    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        results("a", fail)
    assert results("a", Counter()) == 1


def run_together(*tasks):
    threads = [threading.Thread(target=task) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert not any(thread.is_alive() for thread in threads)


def test_threads_that_ask_for_the_same_result_compute_it_once():
    results, compute = last_results(1), Counter(seconds=0.05)
    run_together(*[lambda: results("a", compute)] * 6)
    assert compute.calls == 1


def test_after_a_failure_the_waiting_threads_compute_one_at_a_time():
    results, inside, most = last_results(1), [], []

    def fail():
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.02)
        inside.pop()
        raise ValueError("no")

    def ask():
        with pytest.raises(ValueError, match="no"):
            results("a", fail)

    run_together(*[ask] * 4)
    assert len(most) == 4
    assert max(most) == 1


def test_different_results_are_computed_at_the_same_time():
    results, meet = last_results(2), threading.Barrier(2, timeout=5)
    run_together(*[lambda key=key: results(key, meet.wait) for key in "ab"])
    assert not meet.broken
