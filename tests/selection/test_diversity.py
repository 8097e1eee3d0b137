"""Features decide: against a slow search, and on groups that anybody can see."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segtrust.selection import Candidate, Plan, cold_start, diverse, farthest_points, order, typicality

BATCH_OF_TWO = Plan(seed=0, batch=2)


def scan(scan_id, score=0.5, at=None, **known):
    features = () if at is None else (float(at), 0.0)
    return Candidate(
        **{"scan_id": scan_id, "subject": scan_id, "score": score, "features": features, **known}
    )


def ids(ranking):
    return [candidate.scan_id for candidate, _ in ranking]


# --- farthest points ---------------------------------------------------------------------------------------


@given(st.data())
def test_farthest_points_agree_with_a_slow_search(data):
    points = data.draw(
        hnp.arrays(np.int64, st.tuples(st.integers(1, 8), st.just(2)), elements=st.integers(-4, 4))
    )
    known = data.draw(
        hnp.arrays(np.int64, st.tuples(st.integers(0, 3), st.just(2)), elements=st.integers(-4, 4))
    )
    count = data.draw(st.integers(0, len(points)))
    chosen = []
    for _ in range(count):
        best, best_distance = None, -1.0
        for i, point in enumerate(points):
            if i not in chosen:
                near = [math.dist(point, other) for other in (*known, *(points[j] for j in chosen))]
                if min(near, default=math.inf) > best_distance:
                    best, best_distance = i, min(near, default=math.inf)
        chosen.append(best)
    assert farthest_points(points, count, start=known) == chosen


def test_the_unsure_scans_that_differ_come_first():
    # twice two least sure: a b c d; a leads, c is farthest from it; then the others by entropy
    pool = [
        scan("a", 0.9, 0),
        scan("b", 0.8, 0.1),
        scan("c", 0.7, 10),
        scan("d", 0.6, 5),
        scan("e", 0.1, 100),
    ]
    assert ids(diverse(pool, BATCH_OF_TWO)) == ["a", "c", "b", "d", "e"]


def test_distances_are_measured_to_labelled_scans_too():
    # 10 is labelled: a (0) is farthest, then d (5) between both
    pool = [
        scan("a", 0.9, 0),
        scan("b", 0.8, 0.1),
        scan("c", 0.7, 10),
        scan("d", 0.6, 5),
        scan("e", 0.1, 100),
    ]
    plan = Plan(seed=0, batch=2, labelled_features=[(10.0, 0.0)])
    assert ids(diverse(pool, plan)) == ["a", "d", "b", "c", "e"]


def test_a_feature_with_large_numbers_counts_no_more_than_another():
    # spreads 3.56 and 816: from a, b lies (2.25, 1.22) away, 2.56, and c (.28, 2.45), 2.46
    at = {"a": (0.0, 0.0), "b": (8.0, 1000.0), "c": (1.0, 2000.0)}
    pool = [Candidate(scan_id=i, subject=i, score=0.5, features=features) for i, features in at.items()]
    assert ids(diverse(pool, BATCH_OF_TWO)) == ["a", "b", "c"]


def test_two_scans_of_a_subject_are_not_both_chosen():
    pool = [
        scan("a1", 0.9, 0, subject="a"),
        scan("a2", 0.8, 50, subject="a"),
        scan("b", 0.7, 1),
        scan("c", 0.6, 2),
    ]
    assert ids(diverse(pool, BATCH_OF_TWO))[:2] == ["a1", "c"]


def test_without_features_the_order_is_that_of_the_entropy():
    pool = [scan("a", 0.1), scan("b", 0.9)]
    assert order("diverse", pool, seed=0) == order("entropy", pool, seed=0)


def test_a_scan_without_features_is_ranked_after_the_batch():
    pool = [scan("bare", 0.9), scan("a", 0.5, 0), scan("b", 0.4, 1)]
    assert ids(diverse(pool, BATCH_OF_TWO)) == ["a", "b", "bare"]


# --- cold start --------------------------------------------------------------------------------------------


def test_typicality_by_hand():
    # of five points in a row the middle one has distances 1, 1, 2, 2 (mean 1.5), the next 1, 1, 2, 3
    assert typicality([[0], [1], [2], [3], [4]]) == pytest.approx(
        [1 / 2.5, 1 / 1.75, 1 / 1.5, 1 / 1.75, 1 / 2.5]
    )


def test_typicality_looks_at_twenty_neighbours():
    # thirty points in a row: the end sees 1..20 (mean 10.5)
    assert typicality(np.arange(30.0)[:, None])[0] == pytest.approx(1 / 10.5)


def test_typicality_at_the_edges():
    assert typicality([[3.0]]).tolist() == [0]
    assert typicality([[3.0], [3.0]]).tolist() == [math.inf, math.inf]


def groups():
    large = [scan(f"large {x}", None, x, scored=False) for x in range(5)]
    small = [scan(f"small {x}", None, 100 + x, scored=False) for x in range(3)]
    return [*large, *small, scan("alone", None, 1000, scored=False)]


@pytest.mark.parametrize("seed", range(5))
def test_every_group_gives_its_most_typical_scan_the_largest_group_first(seed):
    ranking = cold_start(groups(), Plan(seed=seed, batch=3))
    assert ids(ranking)[:3] == ["large 2", "small 1", "alone"]
    assert [reason for _, reason in ranking[:3]] == [
        "Typical of 5 similar scans.",
        "Typical of 3 similar scans.",
        "Unlike all other scans.",
    ]


@pytest.mark.parametrize("seed", range(5))
def test_a_group_with_a_labelled_scan_comes_last(seed):
    plan = Plan(seed=seed, batch=2, labelled_features=[(1.0, 0.0)])
    assert ids(cold_start(groups(), plan))[:3] == ["small 1", "alone", "large 2"]


def test_without_features_a_cold_start_is_uniform():
    pool = [scan(i, None, scored=False) for i in "abcdef"]
    assert order("cold_start", pool, seed=3) == order("uniform", pool, seed=3)


def test_scans_that_are_all_the_same_are_ordered_all_the_same():
    pool = [scan(i, None, 1, scored=False) for i in "abc"]
    assert sorted(ids(cold_start(pool, BATCH_OF_TWO))) == ["a", "b", "c"]
