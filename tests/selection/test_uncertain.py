"""Scores and foreground decide: numbers by hand, and the chances that noise must give."""

import itertools
from collections import Counter

import pytest
from hypothesis import given
from scipy import stats

from segtrust.errors import SettingError
from segtrust.selection import Candidate, Plan, order
from segtrust.selection.uncertain import clasp, doubt, entropy, foreground_random, noise_exponent, power
from strategies import candidate_pools

PLAN = Plan(seed=0)
LAST = Plan(seed=0, round=9, rounds=10)


def scan(scan_id, score=0.5, **known):
    return Candidate(**{"scan_id": scan_id, "subject": scan_id, "score": score, **known})


def ids(ranking):
    return [candidate.scan_id for candidate, _ in ranking]


def test_the_least_sure_scan_comes_first_and_equal_ones_by_name():
    pool = [scan("sure", 0.1), scan("z", 0.5), scan("unsure", 0.9), scan("m", 0.5)]
    assert ids(entropy(pool, PLAN)) == ["unsure", "m", "z", "sure"]


def test_the_reason_names_the_entropy():
    assert entropy([scan("a", 0.25)], PLAN)[0][1] == "Mean entropy around the structures 0.250 of at most 1."


# --- doubt -------------------------------------------------------------------------------------------------


def test_doubt_ranks_by_itself_and_tells_its_own_number():
    pool = [scan("a", 0.9, doubt=0.1), scan("b", 0.1, doubt=0.25), scan("empty", None, doubt=1.0)]
    ranking = doubt(pool, PLAN)
    assert [(c.scan_id, c.score) for c, _ in ranking] == [("empty", 1.0), ("b", 0.25), ("a", 0.1)]
    assert ranking[1][1] == (
        "Doubt 0.250 of at most 1: a low Dice is to be expected, or a usual structure is missing."
    )


def test_a_scan_whose_doubt_is_not_known_is_not_ranked_by_it():
    pool = [scan("a", 0.9), scan("b", 0.1, doubt=float("nan")), scan("c", 0.1, doubt=0.2, scored=False)]
    assert doubt(pool, PLAN) == []


# --- power -------------------------------------------------------------------------------------------------


def test_the_first_place_is_drawn_in_proportion_to_the_score_to_the_power_of_the_exponent():
    # .1, .2, .4 squared: 1 : 4 : 16, so of 2100 draws 100, 400 and 1600
    pool = [scan("a", 0.1), scan("b", 0.2), scan("c", 0.4)]
    first = Counter(ids(power(pool, Plan(seed=seed), exponent=2))[0] for seed in range(2100))
    assert stats.chisquare([first["a"], first["b"], first["c"]], [100, 400, 1600]).pvalue > 0.001


def test_the_second_place_is_drawn_in_proportion_among_those_left():
    # b first: then a and c with 1 : 4
    pool = [scan("a", 0.1), scan("b", 0.2), scan("c", 0.4)]
    orders = [ids(power(pool, Plan(seed=seed))) for seed in range(2100)]
    after_b = Counter(o[1] for o in orders if o[0] == "b")
    expected = [after_b.total() / 5, after_b.total() * 4 / 5]
    assert stats.chisquare([after_b["a"], after_b["c"]], expected).pvalue > 0.001


@given(candidate_pools())
def test_a_large_exponent_gives_the_order_of_the_scores(pool):
    # scores are tenths; ln(1.0 / 0.9) = .105, and 1e4 times that no noise can reach
    scores = [c.score for c, _ in power(pool, PLAN, exponent=1e4)]
    assert scores == [c.score for c, _ in entropy(pool, PLAN)]


def test_an_exponent_of_zero_forgets_the_scores():
    pool = [scan("a", 0.001), scan("b", 0.9)]
    first = Counter(ids(power(pool, Plan(seed=seed), exponent=0))[0] for seed in range(900))
    assert first["a"] == pytest.approx(450, abs=75)  # standard deviation 15


def test_a_score_of_zero_comes_last():
    pool = [scan("a", 0.0), scan("b", 1e-9)]
    assert {ids(power(pool, Plan(seed=seed)))[0] for seed in range(50)} == {"b"}


# --- foreground --------------------------------------------------------------------------------------------


def test_scans_with_foreground_are_drawn_with_the_same_chance_and_no_others():
    pool = [
        scan("small", foreground={1: 1, 2: 0}),
        scan("large", 0.9, foreground={1: 90, 2: 900}),
        scan("none", 0.9, foreground={1: 0, 2: 0}),
        scan("unknown", 0.9),
    ]
    first = Counter(ids(foreground_random(pool, Plan(seed=seed)))[0] for seed in range(900))
    assert set(first) == {"small", "large"}
    assert first["small"] == pytest.approx(450, abs=75)
    assert sorted(ids(foreground_random(pool, PLAN))) == ["large", "small"]


def test_foreground_of_another_version_does_not_count():
    assert foreground_random([scan("a", None, scored=False, foreground={1: 5})], PLAN) == []


# --- ClaSP -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("round_", "rounds", "exponent"),
    [(0, 10, 1), (9, 10, 100), (1, 3, 10), (12, 10, 100), (0, 1, 100), (5, 1, 100), (0, 2, 1), (1, 2, 100)],
)
def test_the_exponent_rises_from_one_to_a_hundred(round_, rounds, exponent):
    assert noise_exponent(round_, rounds) == pytest.approx(exponent)


def test_the_exponent_grows_by_the_same_factor_each_round():
    path = [noise_exponent(t, 7) for t in range(7)]
    assert [b / a for a, b in itertools.pairwise(path)] == pytest.approx([100 ** (1 / 6)] * 6)


@pytest.mark.parametrize("arguments", [(-1, 10), (0, 0)])
def test_an_impossible_round_is_refused(arguments):
    with pytest.raises(SettingError, match="rounds count from 0"):
        noise_exponent(*arguments)


def test_a_hundred_places_are_34_by_entropy_and_33_for_each_of_two_structures():
    pool = [scan(f"s{i}", 0.5, class_scores={1: 0.2, 2: 0.3}) for i in range(120)]
    reasons = Counter(pick.reason for pick in order("clasp", pool, seed=3, batch=100))
    assert sorted(reasons.values()) == [33, 33, 34]
    assert (
        sum("label 1" in reason for reason in reasons) == sum("label 2" in reason for reason in reasons) == 1
    )
    assert next(n for reason, n in reasons.items() if "label" not in reason) == 34


@pytest.mark.parametrize("n_classes", [1, 2, 3, 5])
def test_every_beginning_of_the_list_has_the_shares_to_within_one_place(n_classes):
    pool = [scan(f"s{i}", 0.5, class_scores=dict.fromkeys(range(1, n_classes + 1), 0.2)) for i in range(90)]
    plain = ["label" not in reason for _, reason in clasp(pool, PLAN)]
    for n in range(1, 60):
        assert abs(sum(plain[:n]) - 0.34 * n) <= 1


def test_a_place_of_a_structure_goes_to_the_scan_least_sure_about_it():
    # places: structure (66), entropy (34 against 32), structure; in the last round noise is small
    pool = [
        scan("a", 0.8, class_scores={1: 0.1}),
        scan("b", 0.4, class_scores={1: 0.4}),
        scan("c", 0.1, class_scores={1: 0.02}),
    ]
    for seed in range(20):
        ranking = clasp(pool, Plan(seed=seed, round=9, rounds=10))
        assert ids(ranking) == ["b", "a", "c"]
        assert ["label 1" in reason for _, reason in ranking] == [True, False, True]


def test_a_structure_found_in_one_scan_only_takes_one_place():
    pool = [
        scan("rare", 0.1, class_scores={1: 0.1, 2: 0.3}),
        *(scan(f"s{i}", class_scores={1: 0.2}) for i in range(9)),
    ]
    ranking = clasp(pool, LAST)
    assert sorted(ids(ranking)) == sorted(c.scan_id for c in pool)
    assert [c.scan_id for c, reason in ranking if "label 2" in reason] == ["rare"]


def test_without_class_scores_clasp_is_power_with_scheduled_noise():
    pool = [scan("a", 0.1), scan("b", 0.2), scan("c", 0.4)]
    assert ids(clasp(pool, LAST)) == ["c", "b", "a"]
    first = Counter(ids(clasp(pool, Plan(seed=seed, round=0)))[0] for seed in range(700))
    # exponent 1: 1 : 2 : 4
    assert stats.chisquare([first["a"], first["b"], first["c"]], [100, 200, 400]).pvalue > 0.001


def test_the_shares_hold_for_the_first_scan_of_each_subject():
    pool = [
        scan(f"{p}-{n}", 0.5 + n / 10, subject=f"p{p}", class_scores={1: 0.2 + n / 10})
        for p in range(50)
        for n in (0, 1)
    ]
    picks = order("clasp", pool, seed=0, batch=50)
    assert len({pick.scan_id.split("-")[0] for pick in picks}) == 50
    assert sum("label 1" in pick.reason for pick in picks) == 33
