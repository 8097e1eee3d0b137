"""From a strategy's ranking to what is served: the order, and the scans that are to be checked."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from segtrust.errors import SettingError
from segtrust.selection.candidate import BATCH, Candidate, Pick, Plan, RankedList, Strategy, one_per_subject
from segtrust.selection.diversity import cold_start, diverse
from segtrust.selection.uncertain import clasp, doubt, entropy, foreground_random, power, uniform

__all__ = ["STRATEGIES", "check_queue", "order"]

STRATEGIES: Mapping[str, Strategy] = MappingProxyType({
    "entropy": entropy,
    "uniform": uniform,
    "foreground_random": foreground_random,
    "power": power,
    "clasp": clasp,
    "diverse": diverse,
    "cold_start": cold_start,
    "doubt": doubt,
})  # fmt: skip
"""Name -> pure function of candidates and plan."""


def order(
    strategy: str,
    candidates: Sequence[Candidate],
    *,
    seed: int,
    round: int = 0,  # noqa: A002  # the word of the field
    rounds: int = 10,
    batch: int | None = None,
    labelled_features: Sequence[Sequence[float]] = (),
) -> list[Pick]:
    """Order candidates by a strategy.

    Args:
        strategy: one of :data:`STRATEGIES`.
        candidates: in any order; those to be checked first are left to :func:`check_queue`.
        seed: the same seed, round and candidates give the same order.
        round: rounds of training so far, from 0.
        rounds: how many are planned.
        batch: scans to choose; all are ordered unless given.
        labelled_features: features of the scans that have labels.

    Returns:
        Picks in order. No subject comes a second time before every other has come once. What the strategy
        cannot rank follows in seeded random order: first scans that the present version has scored, such as
        those in which it finds nothing, then the others.

    Raises:
        SettingError: for an unknown strategy, a scan that comes twice, an impossible batch or round, or
            features that differ in length.

    Example:
        >>> pool = [Candidate(scan_id=i, subject=i, score=s) for i, s in (("a", 0.1), ("b", 0.3))]
        >>> [pick.scan_id for pick in order("entropy", pool, seed=0)]
        ['b', 'a']
    """
    if strategy not in STRATEGIES:
        raise SettingError(f"a strategy must be one of {', '.join(STRATEGIES)}, got {strategy!r}.")
    if batch is not None and batch < 1:
        raise SettingError(f"`batch` must be at least 1, got {batch}.")
    if len({c.scan_id for c in candidates}) < len(candidates):
        raise SettingError("every candidate must come once, got a scan twice.")
    plan = Plan(
        seed=seed, round=round, rounds=rounds, batch=batch or BATCH, labelled_features=labelled_features
    )
    waiting = [c for c in candidates if c.check is None]
    if strategy == "doubt":
        waiting = [replace(c, score=c.doubt) for c in waiting]
    ranked = STRATEGIES[strategy](waiting, plan)
    everyone = one_per_subject(ranked + _rest(waiting, ranked, plan))
    return _picks(everyone)[:batch]


def check_queue(candidates: Sequence[Candidate]) -> list[Pick]:
    """Scans that somebody should look at before they are labelled: bad files, and scans unlike the others.

    Args:
        candidates: in any order.

    Returns:
        Those with a reason to check, in order of their ids.

    Note:
        A broken or foreign scan is the least sure of all and would lead every other list.
    """
    waiting = sorted((c for c in candidates if c.check is not None), key=lambda c: c.scan_id)
    return _picks([(c, c.check or "") for c in waiting])


def _rest(waiting: Sequence[Candidate], ranked: RankedList, plan: Plan) -> RankedList:
    """What the strategy said nothing about."""
    placed = {c.scan_id for c, _ in ranked}
    left = [c for c, _ in uniform([c for c in waiting if c.scan_id not in placed], plan)]
    return [(c, _unranked(c)) for c in sorted(left, key=lambda c: not c.scored)]


def _unranked(candidate: Candidate) -> str:
    if not candidate.scored:
        return "Not scored yet: drawn at random."
    if not candidate.has_score and not candidate.has_foreground:
        return "The model finds no structure in it."
    return "Drawn at random: what this strategy ranks by is not known of it."


def _picks(ranking: RankedList) -> list[Pick]:
    return [
        Pick(
            scan_id=c.scan_id, rank=rank, of=len(ranking), score=c.score if c.has_score else None, reason=why
        )
        for rank, (c, why) in enumerate(ranking, start=1)
    ]
