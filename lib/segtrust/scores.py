"""Voxel maps in, numbers per structure and scan out; high means the scan is less sure.

The default, ``entropy``, looks near the predicted structures only: a mean over the whole volume would rank
scans by how much air they show. All scores are computed on the scan's own grid without padding, with sums in
float64.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segtrust.regions import Mask, Spacing, distance_to, in_band

__all__ = [
    "ScanScores",
    "StructureScores",
    "binary_segment_entropy",
    "class_score",
    "entropy_share",
    "expected_volume",
    "largest_part",
    "mean_in",
    "mixing",
    "patch_maximum",
    "scan_doubt",
    "scan_entropy",
    "score_scan",
    "soft_dice_confidence",
    "structure_doubt",
    "structure_entropy",
    "surface",
    "volume_spread",
]

FloatMap = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class StructureScores:
    """Scores of one structure of one scan; ``None`` where the score is not defined.

    ``entropy``, ``entropy_share``, ``between_member``, ``segment_entropy``, ``class_score``: high means
    unsure; ``soft_dice_confidence``, ``pairwise_dice`` and ``pooled_pairwise_dice``: high means sure. For
    what each measures see the functions of these names and :class:`segtrust.ensemble.SampleStatistics`. The
    others say what a segment looks like, from which its Dice is predicted together with them:
    ``volume_spread`` over the samples, ``mixing``, ``size`` in cubic millimetres (in voxels where the spacing
    is unknown), ``surface``, ``largest_part``, ``expected_volume``.
    """

    entropy: float | None
    between_member: float | None
    segment_entropy: float | None
    soft_dice_confidence: float | None
    pairwise_dice: float | None
    class_score: float | None = None
    volume_spread: float | None = None
    mixing: float | None = None
    size: float | None = None
    surface: float | None = None
    largest_part: float | None = None
    expected_volume: float | None = None
    pooled_pairwise_dice: float | None = None
    entropy_share: float | None = None


@dataclass(frozen=True)
class ScanScores:
    """Scores of one scan; ``None`` where the score is not defined, most often for an empty prediction.

    ``entropy``, ``between_member``, ``patch_maximum``, ``volume_spread``, ``global_mean``: high means unsure.
    ``pairwise_dice`` and ``soft_dice_confidence`` run the other way: high means sure.
    ``doubt``: :func:`scan_doubt`, in which a version that knows which structures to expect also counts what
    is missing (:class:`segtrust.quality.ExpectedStructures`); high means unsure.
    ``structures`` holds the entropy of each structure by label value, ``details`` all its scores, which
    the store does not keep.
    """

    entropy: float | None
    between_member: float | None
    patch_maximum: float | None
    volume_spread: float | None
    pairwise_dice: float | None
    soft_dice_confidence: float | None
    global_mean: float
    structures: Mapping[int, float | None]
    details: Mapping[int, StructureScores] = field(default_factory=dict, repr=False, compare=False)
    doubt: float | None = None

    @property
    def pooled_pairwise_dice(self) -> float | None:
        """Mean over the structures of the Dice of all pairs pooled, which versions of before refer to."""
        return _mean_of(self.details, "pooled_pairwise_dice")

    def to_json(self) -> dict[str, float | None]:
        """The scan's numbers without the structures, as plain floats."""
        return {name: value for name, value in vars(self).items() if name not in ("structures", "details")}


def mean_in(values: FloatMap, mask: Mask) -> float | None:
    """Mean of a map inside a mask, summed in float64; ``None`` if the mask is empty.

    Args:
        values: ``(X, Y, Z)``.
        mask: boolean, same shape.

    Returns:
        The mean, in the map's unit.

    Example:
        >>> mean_in(np.array([1.0, 3.0]), np.array([True, False]))
        1.0
    """
    count = int(np.count_nonzero(mask))
    return float(values[mask].sum(dtype=np.float64) / count) if count else None


def structure_entropy(
    entropy: FloatMap, labels: Labels, value: int, spacing: Spacing, *, valid: Mask | None = None
) -> float | None:
    """Mean normalised entropy within 5 mm of one predicted structure; high means unsure.

    Args:
        entropy: normalised entropy H/ln K in [0, 1], ``(X, Y, Z)``.
        labels: predicted labels, same shape.
        value: label of the structure.
        spacing: millimetres per voxel; ``None``: 5 voxels instead of 5 mm.
        valid: voxels that are no padding.

    Returns:
        Unitless, in [0, 1]; ``None`` if the structure was not predicted.

    Source:
        After Mehrtash et al. 2020, who average over the predicted segment alone.
    """
    return mean_in(entropy, _near(labels == value, spacing, valid))


def _near(segment: Mask, spacing: Spacing, valid: Mask | None) -> Mask:
    """Voxels within 5 mm of a segment that are no padding; none for an empty segment."""
    near: Mask = in_band(distance_to(segment, spacing))
    return near if valid is None else near & valid


def scan_entropy(structures: Mapping[int, float | None]) -> float | None:
    """Mean of the structures' entropies over the structures that were predicted: the default score.

    Args:
        structures: label value -> :func:`structure_entropy`.

    Returns:
        Unitless, in [0, 1]; ``None`` if nothing was predicted, which is a reason to look and no low score.

    Note:
        Averaging structures first keeps a large one from hiding a small one.

    Example:
        >>> scan_entropy({1: 0.2, 2: 0.4, 3: None})
        0.30000000000000004
    """
    values = [value for value in structures.values() if value is not None]
    return sum(values) / len(values) if values else None


def entropy_share(entropy: FloatMap, segment: Mask, near: Mask) -> float | None:
    r"""Entropy near one structure against its size; high means unsure.

    .. math:: \sum_{i \in B} H_i / \Big(\sum_{i \in B} H_i + |\hat S|\Big)

    Args:
        entropy: normalised entropy H/ln K in [0, 1], ``(X, Y, Z)``.
        segment: voxels given to the structure.
        near: where the entropy is summed, the band of the structure.

    Returns:
        Unitless, in [0, 1); ``None`` for an empty segment.

    Note:
        The mean over the band falls as a structure shrinks, since more and more of the band is far from its
        border. This grows: an equally unsure border is a larger part of a smaller structure.

    Example:
        >>> entropy_share(np.array([0.5, 0.5, 0.0]), np.array([True, False, False]), np.array([True] * 3))
        0.5
    """
    if not segment.any():
        return None
    near_by = float(entropy[near].sum(dtype=np.float64))
    return near_by / (near_by + int(np.count_nonzero(segment)))


def structure_doubt(scores: StructureScores) -> float | None:
    """How unsure the prediction of one structure is, by itself; high means unsure.

    Args:
        scores: of the structure.

    Returns:
        1 less its ``soft_dice_confidence``, unitless, in [0, 1]; ``None`` if it was not predicted.

    Note:
        The mean entropy near a structure falls as the structure shrinks, and so does its Dice: soft Dice
        follows the Dice.
    """
    confidence = scores.soft_dice_confidence
    return None if confidence is None else 1 - confidence


def scan_doubt(details: Mapping[int, StructureScores]) -> float | None:
    """Mean of :func:`structure_doubt` over the predicted structures; high means unsure.

    Args:
        details: label value -> scores.

    Returns:
        Unitless, in [0, 1]; ``None`` if nothing was predicted.
    """
    return scan_entropy({value: structure_doubt(scores) for value, scores in details.items()})


def binary_segment_entropy(probability: FloatMap, segment: Mask) -> float | None:
    r"""Mehrtash's segment confidence: mean binary entropy over the predicted segment; high means unsure.

    .. math:: \bar H(\hat S_k) = -\frac{1}{|\hat S_k|}\sum_{i \in \hat S_k} p \ln p + (1-p) \ln(1-p)

    Args:
        probability: probability of the structure, ``(X, Y, Z)``.
        segment: voxels that were given to the structure.

    Returns:
        Nats, in [0, ln 2]; ``None`` for an empty segment.

    Source:
        Mehrtash et al. 2020, "Confidence calibration and predictive uncertainty estimation", segment level.

    Example:
        >>> round(binary_segment_entropy(np.array([0.5, 1.0]), np.array([True, False])), 4)
        0.6931
    """
    if not segment.any():
        return None
    p = probability[segment].astype(np.float64)
    q = 1 - p
    terms = np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0) + np.where(
        q > 0, q * np.log(np.where(q > 0, q, 1)), 0
    )
    return float(-terms.sum() / p.size)


def soft_dice_confidence(probability: FloatMap, segment: Mask, band: Mask) -> float | None:
    r"""Soft Dice of a prediction with its own probabilities; high means sure.

    .. math:: 2 \sum_{i \in \hat S} p_i / \Big(\sum_{i \in B} p_i + |\hat S|\Big)

    Args:
        probability: probability of the structure.
        segment: voxels given to the structure.
        band: where the denominator is summed; over the whole volume a floor of 1 % would swamp it.

    Returns:
        Unitless, in [0, 1]; ``None`` for an empty segment.

    Source:
        Borges et al. 2024, soft Dice confidence; the restriction to the band is ours.

    Example:
        >>> soft_dice_confidence(np.array([1.0, 0.5]), np.array([True, False]), np.array([True, True]))
        0.8
    """
    if not segment.any():
        return None
    inside = float(probability[segment].sum(dtype=np.float64))
    near = float(probability[band | segment].sum(dtype=np.float64))
    return 2 * inside / (near + int(np.count_nonzero(segment)))


def class_score(entropy: FloatMap, probability: FloatMap, near: Mask) -> float | None:
    r"""Mean of the largest 5 % of entropy times probability near one structure; high means unsure about it.

    .. math:: u_i = \frac{H_i}{\ln K} \, p_{ik}

    Args:
        entropy: normalised entropy, ``(X, Y, Z)``.
        probability: probability of the structure, same shape.
        near: where to look, the band of the structure.

    Returns:
        Unitless, in [0, 1]; the mean of ceil(n / 20) of n voxels; ``None`` for an empty band.

    Source:
        the class maps of ClaSP PE (nnActive, TMLR 2026); one number per scan from them is ours.

    Example:
        >>> class_score(np.array([0.5, 0.9]), np.array([0.8, 0.1]), np.array([True, True]))
        0.4
    """
    values = entropy[near].astype(np.float64) * probability[near]
    if not values.size:
        return None
    count = math.ceil(values.size / 20)
    return float(np.partition(values, -count)[-count:].mean())


def mixing(others: FloatMap, segment: Mask) -> float | None:
    """Mean probability, inside one structure, of all other structures; high means it may be one of them.

    Args:
        others: probability of any other structure, ``(X, Y, Z)``.
        segment: voxels given to the structure.

    Returns:
        Unitless, in [0, 1]; 0 where the model has one structure; ``None`` for an empty segment.

    Example:
        >>> mixing(np.array([0.25, 0.75, 0.5]), np.array([True, True, False]))
        0.5
    """
    return mean_in(others, segment)


def surface(segment: Mask) -> float | None:
    """Faces between a structure and what is around it, per voxel of it; high for small or ragged ones.

    Args:
        segment: voxels given to the structure, ``(X, Y, Z)``; no face lies on the volume's edge.

    Returns:
        Unitless, in [0, 6]; ``None`` for an empty segment.

    Note:
        A border that lies off by a share of a voxel costs Dice in proportion to it.

    Example:
        >>> surface(np.array([[[False, True, True, False]]]))
        1.0
    """
    voxels = int(np.count_nonzero(segment))
    faces = sum(int(np.count_nonzero(np.diff(segment, axis=axis))) for axis in range(segment.ndim))
    return faces / voxels if voxels else None


def largest_part(segment: Mask) -> float | None:
    """Share of a structure's voxels in its largest piece joined by faces; low means it fell apart.

    Args:
        segment: voxels given to the structure, ``(X, Y, Z)``.

    Returns:
        Unitless, in (0, 1]; ``None`` for an empty segment.

    Example:
        >>> largest_part(np.array([True, True, True, False, True]))
        0.75
    """
    if not segment.any():
        return None
    pieces, _ = ndimage.label(segment)
    counts = np.bincount(pieces.reshape(-1))[1:]
    return int(counts.max()) / int(counts.sum())


def expected_volume(probability: FloatMap, segment: Mask, band: Mask) -> float | None:
    r"""Expected volume of a structure over that of its mask; above 1 where the mask is probably too small.

    .. math:: \sum_{i \in B} p_i / |\hat S|

    Args:
        probability: calibrated probability of the structure.
        segment: voxels given to the structure.
        band: where the volume is summed, as in :func:`soft_dice_confidence`.

    Returns:
        Unitless, above 0; ``None`` for an empty segment.

    Example:
        >>> expected_volume(np.array([1.0, 0.5]), np.array([True, False]), np.array([True, True]))
        1.5
    """
    if not segment.any():
        return None
    return float(probability[band | segment].sum(dtype=np.float64)) / int(np.count_nonzero(segment))


def volume_spread(sample_voxels: NDArray[np.integer[Any]]) -> float | None:
    """Coefficient of variation of the samples' volumes, mean over structures; high means unsure.

    Args:
        sample_voxels: voxels per sample and structure, ``(S, N)``.

    Returns:
        Unitless, >= 0; ``None`` with one sample or if no sample has any structure.

    Source:
        Jungo & Reyes 2019; Roy et al. 2019 (coefficient of variation); population standard deviation.

    Example:
        >>> volume_spread(np.array([[10], [30]]))
        0.5
    """
    mean = sample_voxels.mean(axis=0)
    present = mean > 0
    if len(sample_voxels) < 2 or not present.any():
        return None
    return float((sample_voxels.std(axis=0)[present] / mean[present]).mean())


def patch_maximum(entropy: FloatMap, valid: Mask | None = None, *, size: int = 10) -> float:
    """Largest mean entropy in any box of the scan; high means unsure.

    Args:
        entropy: normalised entropy, ``(X, Y, Z)``.
        valid: voxels that are no padding; boxes are averaged over those alone.
        size: edge of the box in voxels.

    Returns:
        Unitless, in [0, 1].

    Source:
        Kahl et al. 2024 (ValUES), patch-level aggregation.
    """
    share = np.ones(entropy.shape) if valid is None else valid.astype(np.float64)
    if valid is not None and valid.any():  # the box must not grow with the padding around a small scan
        content = ndimage.find_objects(valid.astype(np.uint8))[0]
        entropy, share = entropy[content], share[content]
    edges = tuple(min(size, n) for n in entropy.shape)
    total = ndimage.uniform_filter(entropy.astype(np.float64) * share, size=edges, mode="constant")
    weight = ndimage.uniform_filter(share, size=edges, mode="constant")
    full = weight > 0.5
    return float((total[full] / weight[full]).max()) if full.any() else float(total.max())


def score_scan(  # noqa: PLR0913  # everything that one prediction knows
    *,
    entropy: FloatMap,
    between: FloatMap,
    probs: FloatMap,
    labels: Labels,
    spacing: Spacing,
    n_structures: int,
    sample_voxels: NDArray[np.integer[Any]],
    pairwise_dice: NDArray[np.floating[Any]],
    pooled_pairwise_dice: NDArray[np.floating[Any]],
    valid: Mask,
    sets: Mask | None = None,
) -> ScanScores:
    """All scores of one scan from one prediction.

    Args:
        entropy: normalised entropy of the calibrated mean, ``(X, Y, Z)``.
        between: normalised between-member information, same shape.
        probs: calibrated probabilities, ``(C, X, Y, Z)``; the last ``n_structures`` channels are structures.
        labels: predicted labels.
        spacing: millimetres per voxel, ``None`` if unknown.
        n_structures: N.
        sample_voxels: ``(S, N)``.
        pairwise_dice: ``(N,)``, mean over pairs of samples, NaN where undefined; the scan's is the mean over
            the structures for which it is defined.
        pooled_pairwise_dice: ``(N,)``, the same with all pairs pooled.
        valid: voxels that are no padding.
        sets: voxels of each structure, ``(N, X, Y, Z)``, where structures overlap; those of ``labels`` unless
            given.

    Returns:
        The scores.

    Source:
        see the single functions.
    """
    first = probs.shape[0] - n_structures
    voxel = 1.0 if spacing is None else math.prod(spacing)
    any_structure = probs[first:].sum(axis=0, dtype=np.float64)
    details: dict[int, StructureScores] = {}
    agreement = zip(pairwise_dice.tolist(), pooled_pairwise_dice.tolist(), strict=True)
    for value, (dice, pooled) in zip(range(1, n_structures + 1), agreement, strict=True):
        segment = labels == value if sets is None else sets[value - 1]
        probability = probs[first + value - 1]
        near = _near(segment, spacing, valid)
        details[value] = StructureScores(
            entropy=mean_in(entropy, near),
            between_member=mean_in(between, near),
            segment_entropy=binary_segment_entropy(probability, segment),
            soft_dice_confidence=soft_dice_confidence(probability, segment, near),
            pairwise_dice=None if np.isnan(dice) else dice,
            class_score=class_score(entropy, probability, near),
            volume_spread=volume_spread(sample_voxels[:, value - 1 : value]),
            mixing=mixing(np.clip(any_structure - probability, 0, 1), segment),
            size=voxel * int(np.count_nonzero(segment)) or None,
            surface=surface(segment),
            largest_part=largest_part(segment),
            expected_volume=expected_volume(probability, segment, near),
            pooled_pairwise_dice=None if np.isnan(pooled) else pooled,
            entropy_share=entropy_share(entropy, segment, near),
        )
    return ScanScores(
        entropy=_mean_of(details, "entropy"),
        between_member=_mean_of(details, "between_member"),
        patch_maximum=patch_maximum(entropy, valid),
        volume_spread=volume_spread(sample_voxels),
        pairwise_dice=_mean_of(details, "pairwise_dice"),
        soft_dice_confidence=_mean_of(details, "soft_dice_confidence"),
        global_mean=mean_in(entropy, valid) or 0.0,
        structures={value: scores.entropy for value, scores in details.items()},
        doubt=scan_doubt(details),
        details=details,
    )


def _mean_of(details: Mapping[int, StructureScores], name: str) -> float | None:
    return scan_entropy({value: getattr(scores, name) for value, scores in details.items()})
