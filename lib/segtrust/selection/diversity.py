"""Strategies that look at features: scans that differ from each other, and scans that stand for many."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.vq import kmeans, vq
from scipy.spatial import KDTree

from segtrust.errors import SettingError
from segtrust.selection.candidate import Candidate, Plan, RankedList, Reasoned, one_per_subject
from segtrust.selection.uncertain import entropy, uniform

__all__ = ["cold_start", "diverse", "farthest_points", "typicality"]

FeatureRows = NDArray[np.float64]
_NEIGHBOURS = 20


def diverse(candidates: Sequence[Candidate], plan: Plan) -> RankedList:
    """A batch of unsure scans that differ: of twice as many as needed, always the farthest from the others.

    The least sure scans of as many subjects are the ones to choose from; distances are measured to the
    labelled scans and to those already chosen, or begin at the least sure scan if nothing is labelled.

    Args:
        candidates: what is known; features count in units of their spread over all of them.
        plan: size of the batch and features of the labelled scans.

    Returns:
        The scans that have a score: the batch, then the others by entropy. Without any features all by
        entropy.

    Raises:
        SettingError: if features differ in length.

    Source:
        k-center greedy (Sener & Savarese 2018), restricted to unsure scans as by nnActive.
    """
    ranked = one_per_subject(entropy(candidates, plan))
    first = ranked[: len({c.subject for c, _ in ranked})]
    pool = [choice for choice in first if choice[0].features][: 2 * plan.batch]
    if not pool:
        return ranked
    everything = [c.features for c in candidates if c.features]
    labelled, rows = _standardised(everything, [list(plan.labelled_features), [c.features for c, _ in pool]])
    reason = "Unsure (mean entropy {:.3f}) and unlike the scans that are labelled or chosen before it."
    picked = [
        (pool[i][0], reason.format(pool[i][0].score))
        for i in farthest_points(rows, min(plan.batch, len(pool)), start=labelled)
    ]
    return picked + _others(ranked, picked)


def farthest_points(points: ArrayLike, count: int, *, start: ArrayLike = ()) -> list[int]:
    """Choose points one after the other, always the one farthest from all before it.

    Args:
        points: ``(N, D)``.
        count: how many, at most N.
        start: ``(L, D)`` points that count as chosen; if there are none the first of ``points`` is taken.

    Returns:
        Indices in the order of choice; of equally far points the first.

    Source:
        Gonzalez 1985, k-center greedy.

    Example:
        >>> farthest_points([[0.0], [1.0], [5.0], [2.9]], 3)
        [0, 2, 3]
    """
    rows = np.asarray(points, dtype=np.float64)
    away = np.full(len(rows), np.inf)
    for point in np.asarray(start, dtype=np.float64).reshape(-1, rows.shape[1]):
        away = np.minimum(away, ((rows - point) ** 2).sum(axis=1))
    chosen: list[int] = []
    for _ in range(count):
        index = int(np.argmax(away))
        chosen.append(index)
        away = np.minimum(away, ((rows - rows[index]) ** 2).sum(axis=1))
        away[chosen] = -1
    return chosen


def cold_start(candidates: Sequence[Candidate], plan: Plan) -> RankedList:
    """Scans that stand for many others, from every group of scans one: where no score can be trusted yet.

    As many groups as labelled scans and places in the batch; groups without a labelled scan come first,
    large ones before small ones, and each gives its most typical scan in turn.

    Args:
        candidates: what is known; scores are not looked at.
        plan: seed, size of the batch and features of the labelled scans.

    Returns:
        The scans that have features; without any, all in uniform order.

    Raises:
        SettingError: if features differ in length.

    Source:
        TypiClust (Hacohen et al. 2022): typicality is one over the mean distance to the nearest neighbours,
        at most 20, inside the group. The features are what there is, not self-supervised ones.
    """
    described = sorted((c for c in candidates if c.features), key=lambda c: c.scan_id)
    if not described:
        return uniform(candidates, plan)
    features = [c.features for c in described]
    labelled, rows = _standardised(features, [sorted(map(tuple, plan.labelled_features)), features])
    everything = np.concatenate([labelled, rows])
    groups = _groups(everything, len(labelled) + plan.batch, np.random.default_rng(plan.seed))
    covered, member_of = set(groups[: len(labelled)].tolist()), groups[len(labelled) :]
    queues: list[tuple[tuple[bool, int, str], RankedList]] = []
    for group in np.unique(member_of):
        inside = np.flatnonzero(member_of == group)
        typical = typicality(rows[inside])
        ranked = sorted(zip(-typical, inside.tolist(), strict=True))
        reason = f"Typical of {len(inside)} similar scans." if len(inside) > 1 else "Unlike all other scans."
        queue = [(described[index], reason) for _, index in ranked]
        queues.append(((int(group) in covered, -len(queue), queue[0][0].scan_id), queue))
    queues.sort(key=lambda each: each[0])
    longest = max(len(queue) for _, queue in queues)
    return [queue[turn] for turn in range(longest) for _, queue in queues if turn < len(queue)]


def typicality(points: ArrayLike) -> FeatureRows:
    """One over the mean distance of each point to its nearest neighbours; high means a point in a crowd.

    Args:
        points: ``(N, D)``.

    Returns:
        ``(N,)``; of a single point 0, of points that lie on all their neighbours infinity.

    Source:
        Hacohen et al. 2022, with at most 20 neighbours.

    Example:
        >>> typicality([[0.0], [1.0], [3.0]]).round(3).tolist()
        [0.5, 0.667, 0.4]
    """
    rows = np.asarray(points, dtype=np.float64)
    if len(rows) < 2:
        return np.zeros(len(rows))
    near, _ = KDTree(rows).query(rows, k=min(_NEIGHBOURS, len(rows) - 1) + 1)
    mean = near[:, 1:].mean(axis=1)
    return np.divide(1.0, mean, out=np.full(len(rows), np.inf), where=mean > 0)


def _groups(rows: FeatureRows, count: int, rng: np.random.Generator) -> NDArray[np.integer[Any]]:
    """Group of each row by k-means (Lloyd 1982), begun as in k-means++ (Arthur & Vassilvitskii 2007)."""
    centres = [int(rng.integers(len(rows)))]
    away = ((rows - rows[centres[0]]) ** 2).sum(axis=1)
    while len(centres) < count and away.any():
        centres.append(int(rng.choice(len(rows), p=away / away.sum())))
        away = np.minimum(away, ((rows - rows[centres[-1]]) ** 2).sum(axis=1))
    means, _ = kmeans(rows, rows[centres])
    groups: NDArray[np.integer[Any]] = vq(rows, means)[0]
    return groups


def _standardised(
    reference: Sequence[Sequence[float]], sets: Sequence[Sequence[Sequence[float]]]
) -> list[FeatureRows]:
    """Sets of features over the spread of the reference and all sets, dimension by dimension."""
    lengths = {len(row) for rows in (reference, *sets) for row in rows}
    if len(lengths) > 1:
        raise SettingError(
            f"features of all scans must be equally long, got {' and '.join(map(str, sorted(lengths)))} "
            "numbers. Were they computed by different versions? Score the scans again."
        )
    width = lengths.pop()
    spread = np.asarray(reference, dtype=np.float64).std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    return [np.asarray(rows, dtype=np.float64).reshape(-1, width) / scale for rows in sets]


def _others(ranked: RankedList, picked: Sequence[Reasoned]) -> RankedList:
    taken = {c.scan_id for c, _ in picked}
    return [choice for choice in ranked if choice[0].scan_id not in taken]
