"""Strategies that look at scores and at predicted foreground."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from segtrust.errors import SettingError
from segtrust.selection.candidate import Candidate, Plan, RankedList

__all__ = [
    "clasp",
    "doubt",
    "entropy",
    "foreground_random",
    "noise_exponent",
    "power",
    "uniform",
]

_PLAIN_SHARE = 0.34
_LARGEST_EXPONENT = 100.0


def entropy(candidates: Sequence[Candidate], plan: Plan) -> RankedList:  # noqa: ARG001  # as every strategy
    """The least sure scan first; equal scores in order of their ids.

    Args:
        candidates: what is known.
        plan: not used.

    Returns:
        The scans that have a score.

    Source:
        uncertainty sampling (Lewis & Gale 1994) with the score of :func:`segtrust.scores.scan_entropy`.
    """
    scored = _sorted((c for c in candidates if c.has_score), lambda c: c.score or 0.0)
    return [(c, f"Mean entropy around the structures {c.score:.3f} of at most 1.") for c in scored]


def doubt(candidates: Sequence[Candidate], plan: Plan) -> RankedList:  # noqa: ARG001  # as every strategy
    """The scan with the lowest Dice to be expected first; equal ones in order of their ids.

    Args:
        candidates: what is known.
        plan: not used.

    Returns:
        The scans whose doubt is known, their score being the doubt; also those in which the model finds
        nothing, where it usually finds something.

    Source:
        docs/decisions/0014-doubt.md; soft Dice confidence of Borges et al. 2024.
    """
    judged = [replace(c, score=c.doubt) for c in candidates]
    reason = "Doubt {:.3f} of at most 1: a low Dice is to be expected, or a usual structure is missing."
    ranked = _sorted((c for c in judged if c.has_score), lambda c: c.score or 0.0)
    return [(c, reason.format(c.score)) for c in ranked]


def uniform(candidates: Sequence[Candidate], plan: Plan) -> RankedList:
    """Every order with the same chance, scored or not.

    Args:
        candidates: what is known.
        plan: its seed and round decide the order.

    Returns:
        All scans.

    Source:
        the baseline that every strategy must beat.
    """
    reason = "Drawn at random; every scan has the same chance."
    return [(c, reason) for c in _sorted(candidates, lambda c: plan.draw("uniform", c.scan_id))]


def foreground_random(candidates: Sequence[Candidate], plan: Plan) -> RankedList:
    """Every order of the scans in which the model finds a structure, with the same chance.

    Args:
        candidates: what is known.
        plan: its seed and round decide the order.

    Returns:
        The scans with predicted foreground.

    Source:
        nnActive (TMLR 2025): no query method reliably beats random with foreground; theirs asks an oracle,
        this one the prediction.
    """
    reason = "Drawn at random among the scans in which the model finds a structure."
    return [(c, reason) for c, _ in uniform([c for c in candidates if c.has_foreground], plan)]


def power(candidates: Sequence[Candidate], plan: Plan, *, exponent: float = 1.0) -> RankedList:
    r"""Unsure scans first, with noise: the chance to come first is proportional to score^exponent.

    .. math:: \text{rank by } \ln s_i + G_i, \quad G_i \sim \text{Gumbel}(0, 1/\beta)

    Args:
        candidates: what is known.
        plan: its seed and round decide the noise.
        exponent: beta; large means the order of the scores, 0 a uniform one.

    Returns:
        The scans that have a score; those of score 0 last.

    Source:
        Kirsch et al. 2023, "Stochastic batch acquisition" (power BALD); the noise is added to the score of
        the whole scan, after all averaging.
    """
    reason = "Drawn with a chance that grows with its mean entropy, {:.3f} of at most 1."
    noisy = _powered([(c, c.score or 0.0) for c in candidates if c.has_score], "power", plan, exponent)
    return [(c, reason.format(c.score)) for c in noisy]


def noise_exponent(round: int, rounds: int) -> float:  # noqa: A002  # the word of the field
    r"""Exponent of the scheduled noise: from exploring to trusting the scores.

    .. math:: \beta_t = 100^{t / (T - 1)}

    Args:
        round: t, from 0; rounds after the last count as the last.
        rounds: T, how many rounds are planned; with one round the exponent is 100.

    Returns:
        1 in the first round, 100 in the last.

    Raises:
        SettingError: for a negative round or less than one round in all.

    Source:
        ClaSP PE (nnActive, TMLR 2026), ``class_power_pe66_exp``.

    Example:
        >>> [round(noise_exponent(t, 3), 6) for t in range(4)]
        [1.0, 10.0, 100.0, 100.0]
    """
    if round < 0 or rounds < 1:
        raise SettingError(f"rounds count from 0 and there is at least 1, got round {round} of {rounds}.")
    if rounds == 1:
        return _LARGEST_EXPONENT
    return float(_LARGEST_EXPONENT ** (min(round, rounds - 1) / (rounds - 1)))


def clasp(candidates: Sequence[Candidate], plan: Plan) -> RankedList:
    """Unsure scans with noise, 66 of 100 places split evenly over the structures, 34 by plain entropy.

    A place of a structure goes to the scan that is least sure about that structure. Places are dealt so that
    every beginning of the list has these shares, to within one place, and no subject comes twice before all
    have come once. The noise falls from round to round, see :func:`noise_exponent`.

    Args:
        candidates: what is known.
        plan: its seed, round and number of rounds decide the noise.

    Returns:
        The scans that have a score.

    Source:
        ClaSP PE (nnActive, TMLR 2026), on whole scans instead of patches (ours).
    """
    waiting = [c for c in candidates if c.has_score]
    values = sorted({value for c in waiting for value, score in c.class_scores.items() if score > 0})
    shares = {0: 1.0 if not values else _PLAIN_SHARE}  # 0, the background, stands for plain entropy
    shares |= {value: (1 - _PLAIN_SHARE) / len(values) for value in values}
    exponent = noise_exponent(plan.round, plan.rounds)
    dealt = dict.fromkeys(shares, 0)
    ranking: RankedList = []
    while waiting:
        lists = {value: _class_order(waiting, value, plan, exponent) for value in shares}
        passed = _deal(lists, shares, dealt)
        taken = {c.scan_id for c, _ in passed}
        waiting = [c for c in waiting if c.scan_id not in taken]
        ranking += passed
    return ranking


def _class_order(waiting: Sequence[Candidate], value: int, plan: Plan, exponent: float) -> RankedList:
    """Candidates in noisy order of the score of one structure, or of their own score for value 0."""
    if not value:
        scored = [(c, c.score or 0.0) for c in waiting]
        reason = "Among the scans that the model is least sure about, with some chance."
    else:
        scored = [(c, c.class_scores[value]) for c in waiting if c.class_scores.get(value, 0) > 0]
        reason = f"Among the scans in which the model is least sure about label {value}, with some chance."
    return [(c, reason) for c in _powered(scored, f"clasp {value}", plan, exponent)]


def _deal(lists: Mapping[int, RankedList], shares: dict[int, float], dealt: dict[int, int]) -> RankedList:
    """One scan of every subject: each place goes to the list that is furthest behind its share."""
    ranking: RankedList = []
    seen: set[str] = set()
    open_lists = {value: iter(each) for value, each in lists.items()}
    while open_lists:
        places = sum(dealt.values()) + 1
        behind = max(open_lists, key=lambda value: (shares[value] * places - dealt[value], -value))
        choice = next((c for c in open_lists[behind] if c[0].subject not in seen), None)
        if choice is None:
            del open_lists[behind]
            continue
        dealt[behind] += 1
        seen.add(choice[0].subject)
        ranking.append(choice)
    return ranking


def _powered(
    scored: Sequence[tuple[Candidate, float]], purpose: str, plan: Plan, exponent: float
) -> list[Candidate]:
    noisy = {
        c.scan_id: math.log(score) * exponent + plan.gumbel(purpose, c.scan_id) if score > 0 else -math.inf
        for c, score in scored
    }
    return _sorted((c for c, _ in scored), lambda c: noisy[c.scan_id])


def _sorted(candidates: Iterable[Candidate], key: Callable[[Candidate], float]) -> list[Candidate]:
    """The highest first, equal ones in order of their ids."""
    return sorted(candidates, key=lambda c: (-key(c), c.scan_id))
