"""What holds for every strategy, and the lists beside it."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segtrust.errors import SettingError
from segtrust.selection import STRATEGIES, Candidate, check_queue, order
from strategies import candidate_pools

every_strategy = pytest.mark.parametrize("strategy", STRATEGIES)
few = settings(max_examples=12)  # of each strategy


def scan(scan_id, score=0.5, **known):
    return Candidate(**{"scan_id": scan_id, "subject": scan_id, "score": score, "doubt": score, **known})


def ids(picks):
    return [pick.scan_id for pick in picks]


@every_strategy
@few
@given(pool=candidate_pools(), seed=st.integers(0, 3), shuffled=st.randoms())
def test_the_order_of_the_candidates_changes_nothing(strategy, pool, seed, shuffled):
    labelled = [(0.3, 0.3)] if any(c.features for c in pool) else []
    mixed = shuffled.sample(pool, len(pool))
    options = {"seed": seed, "round": 1, "labelled_features": labelled}
    assert order(strategy, mixed, **options) == order(strategy, pool, **options)


@every_strategy
@few
@given(pool=candidate_pools(), seed=st.integers(0, 3))
def test_every_candidate_is_in_the_order_or_in_the_check_queue_once(strategy, pool, seed):
    picks = order(strategy, pool, seed=seed)
    assert sorted(ids(picks) + ids(check_queue(pool))) == sorted(c.scan_id for c in pool)
    assert [pick.rank for pick in picks] == list(range(1, len(picks) + 1))
    assert {pick.of for pick in picks} <= {len(picks)}


@every_strategy
@few
@given(pool=candidate_pools(), batch=st.integers(1, 5))
def test_no_subject_comes_twice_while_another_waits(strategy, pool, batch):
    subject_of = {c.scan_id: c.subject for c in pool}
    waiting = {c.subject for c in pool if c.check is None}
    chosen = [subject_of[i] for i in ids(order(strategy, pool, seed=0, batch=batch))]
    assert len(set(chosen)) == min(batch, len(waiting))


@every_strategy
@few
@given(pool=candidate_pools())
def test_every_pick_says_why_in_one_sentence_and_no_score_is_made_up(strategy, pool):
    number = "doubt" if strategy == "doubt" else "score"
    known = {c.scan_id: getattr(c, number) if c.scored else None for c in pool}
    for pick in order(strategy, pool, seed=0):
        assert pick.reason.endswith(".")
        assert pick.score == known[pick.scan_id]


@pytest.mark.parametrize("strategy", sorted(set(STRATEGIES) - {"uniform", "cold_start"}))
def test_scans_without_score_come_after_those_with_one_and_say_so(strategy):
    pool = [
        scan("none", None, scored=False),
        scan("empty", None),
        *(scan(i, s, foreground={1: 5}) for i, s in (("a", 0.1), ("b", 0.2))),
    ]
    picks = order(strategy, pool, seed=0)
    assert sorted(ids(picks)[:2]) == ["a", "b"]
    assert [(p.scan_id, p.score) for p in picks[2:]] == [("empty", None), ("none", None)]
    assert [p.reason for p in picks[2:]] == [
        "The model finds no structure in it.",
        "Not scored yet: drawn at random.",
    ]


def test_unscored_scans_are_drawn_with_the_same_chance():
    pool = [scan(i, None, scored=False) for i in "abc"]
    first = [ids(order("entropy", pool, seed=seed))[0] for seed in range(900)]
    # 300 expected, standard deviation sqrt(900 * 1/3 * 2/3) = 14: five of them is 70
    assert all(first.count(i) == pytest.approx(300, abs=70) for i in "abc")


def test_the_second_scan_of_a_subject_waits_for_all_other_subjects():
    pool = [scan("a1", 0.9, subject="a"), scan("a2", 0.8, subject="a"), scan("b1", 0.1, subject="b")]
    assert ids(order("entropy", pool, seed=0)) == ["a1", "b1", "a2"]
    assert ids(order("entropy", pool, seed=0, batch=2)) == ["a1", "b1"]


def test_a_score_that_is_not_a_number_is_no_score():
    picks = order("entropy", [scan("a", float("nan")), scan("b", 0.0)], seed=0)
    assert [(p.scan_id, p.score) for p in picks] == [("b", 0.0), ("a", None)]


def test_scans_to_check_are_in_no_order_and_keep_their_reason():
    pool = [scan("b", check="The voxels have no size."), scan("a", check="Unlike the others."), scan("c")]
    assert ids(order("entropy", pool, seed=0)) == ["c"]
    assert [(p.scan_id, p.rank, p.reason) for p in check_queue(pool)] == [
        ("a", 1, "Unlike the others."),
        ("b", 2, "The voxels have no size."),
    ]


@pytest.mark.parametrize("strategy", ["uniform", "power", "foreground_random"])
def test_a_scan_that_leaves_changes_no_other_places(strategy):
    pool = [scan(f"s{i}", 0.5 + i / 100, foreground={1: 1}) for i in range(12)]
    before = ids(order(strategy, pool, seed=4))
    left = [c for c in pool if c.scan_id != before[3]]
    assert ids(order(strategy, left, seed=4)) == before[:3] + before[4:]


@pytest.mark.parametrize("strategy", ["uniform", "power", "foreground_random", "clasp"])
def test_another_seed_or_round_draws_another_order(strategy):
    pool = [scan(f"s{i:02}", 0.5, foreground={1: 1}, class_scores={1: 0.2}) for i in range(20)]
    drawn = {tuple(ids(order(strategy, pool, seed=s, round=r))) for s in (0, 1) for r in (0, 1)}
    assert len(drawn) == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strategy": "horoscope"}, "must be one of entropy, uniform"),
        ({"batch": 0}, "`batch` must be at least 1, got 0"),
        ({"strategy": "clasp", "round": -1}, "rounds count from 0"),
        ({"candidates": [scan("a"), scan("a")]}, "got a scan twice"),
        (
            {
                "strategy": "diverse",
                "candidates": [scan("a", features=(1.0, 2.0)), scan("b", features=(1.0,))],
            },
            "equally long, got 1 and 2 numbers",
        ),
    ],
    ids=["strategy", "batch", "round", "twice", "features"],
)
def test_what_cannot_be_ordered_is_refused(options, words):
    options = {"strategy": "entropy", "candidates": [scan("a")], "seed": 0, **options}
    with pytest.raises(SettingError, match=words):
        order(options.pop("strategy"), options.pop("candidates"), **options)


def test_a_candidate_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        scan("a").score = 1.0
