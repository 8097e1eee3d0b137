"""Running totals over samples: their memory does not grow with the number of samples."""

from dataclasses import dataclass

import torch
from torch import Tensor

from segtrust._checks import check_probs
from segtrust.decisions import LabelRule, Relation
from segtrust.errors import ShapeError
from segtrust.pairwise import SampleBits
from segtrust.uncertainty import HeadKind, Threshold, normalise, summarise_channels, vote_disagreement

__all__ = ["RunningTotals", "SampleStatistics", "pooled_dice", "unit_map"]


@dataclass(frozen=True)
class SampleStatistics:
    """What remains of S samples of one scan; the maps are ``(*spatial)`` or ``(C, *spatial)`` float32.

    ``mean`` (C channels); ``within``, ``between``, ``total`` in nats (per channel for a sigmoid head);
    ``variance``; ``votes`` in [0, 1], of a sigmoid head about the structure that samples disagree on
    most; ``sample_voxels`` ``(S, N)`` int64: voxels of each structure in each sample; ``pairwise_dice``
    ``(N,)`` float64: mean Dice over pairs of samples, see :meth:`segtrust.pairwise.SampleBits.dice`;
    ``pooled_pairwise_dice`` ``(N,)`` float64: overlap of all pairs over the size of all pairs, in which
    large masks count more; both NaN where no sample has the structure or S = 1. ``masks`` ``(S,
    *spatial)`` labels if they were to be kept. ``features``: what the encoder of the first sample's
    network saw of the scan, one number per channel; empty where that is not known. ``agreement``
    ``(2, N)`` int64: see :func:`pooled_dice`.
    """

    mean: Tensor
    total: Tensor
    within: Tensor
    between: Tensor
    variance: Tensor
    votes: Tensor
    sample_voxels: Tensor
    pairwise_dice: Tensor
    pooled_pairwise_dice: Tensor
    n_samples: int
    masks: Tensor | None = None
    features: tuple[float, ...] = ()
    agreement: Tensor | None = None


class RunningTotals:
    """Takes samples one at a time and keeps sums only.

    Kept are the sums of p, p^2 and H in float32 (p <= 1, so that sums of a few hundred samples are exact to
    1e-5) and a count of votes in int16, whatever the number of samples: 2 C + 1 maps and C counts for
    softmax, 3 C maps and C + 1 counts for sigmoid. Only the masks grow with the samples, by one bit per
    voxel of the box around a structure.

    Args:
        head: ``softmax`` or ``sigmoid``.
        priority: order of nested structures, see :func:`segtrust.decisions.labels_from_probs`.
        threshold: for sigmoid heads, one for all structures or one for each.
        structures: how those of a sigmoid head lie to each other, see
            :class:`segtrust.decisions.LabelRule`: each structure is counted wherever it holds a voxel, and
            not only where its label is shown.
        keep_masks: keep the mask of every sample, one byte per voxel and sample.

    Example:
        >>> totals = RunningTotals()
        >>> totals.add(torch.tensor([[1.0], [0.0]])).add(torch.tensor([[0.0], [1.0]])).finish().between
        tensor([0.6931])
    """

    def __init__(
        self,
        *,
        head: HeadKind = "softmax",
        priority: tuple[int, ...] = (),
        threshold: Threshold = 0.5,
        structures: Relation = "independent",
        keep_masks: bool = False,
    ) -> None:
        self._head, self._rule = head, LabelRule(head, priority, threshold, structures)
        self._masks: list[Tensor] | None = [] if keep_masks else None
        self._n = 0
        self._voxels: list[Tensor] = []
        self._bits = SampleBits(0)
        self._sum = self._square = self._entropy = self._votes = torch.empty(0)

    @property
    def n_samples(self) -> int:
        """Number of samples taken so far."""
        return self._n

    def add(self, sample: Tensor) -> "RunningTotals":
        """Take one sample; it may be changed or freed afterwards.

        Args:
            sample: probabilities of one scan, ``(C, *spatial)``, any floating type.

        Returns:
            Itself.

        Raises:
            ShapeError: if the shape differs from that of the samples before.
            ProbabilityError: if the values are no probabilities.
        """
        check_probs(sample, class_axis=0, head=self._head)
        p = sample.float()
        if sample.dtype == torch.bfloat16 and self._head == "softmax":
            p /= p.sum(dim=0, keepdim=True)  # rounded to eight bits they sum to one within 2^-8 only
        if self._n == 0:
            self._start(p)
        elif p.shape != self._sum.shape:
            raise ShapeError(
                f"every sample must have shape {tuple(self._sum.shape)}, got {tuple(p.shape)}. "
                "One scan at a time."
            )
        labels = self._rule.labels(p)
        on_cpu = labels.cpu()
        if self._head == "softmax":
            self._vote(labels)
            self._bits.add(on_cpu.numpy())
        else:
            sets = self._rule.sets(p)
            self._vote(sets)
            self._bits.add_sets(sets.cpu().numpy())
        if self._masks is not None:
            self._masks.append(on_cpu)
        for channel, raw in enumerate(p):
            q = raw.clamp(0, 1)  # rounding may leave [0, 1], where entr is -inf
            entropy = torch.special.entr(q)
            if self._head == "softmax":
                self._entropy[0] += entropy
            else:
                self._entropy[channel] += entropy + torch.special.entr(1 - q)
            self._sum[channel] += q
            self._square[channel].addcmul_(q, q)
        self._n += 1
        return self

    def _vote(self, answer: Tensor) -> None:
        """Count labels ``(*spatial)`` of a softmax head, or the sets ``(N, *spatial)`` of a sigmoid head."""
        if self._head == "softmax":
            voxels = torch.bincount(answer.flatten().long(), minlength=len(self._votes))[1:]
            for value in range(len(self._votes)):
                self._votes[value] += answer == value
        else:
            voxels = answer.flatten(1).sum(dim=1)
            self._votes[0] += ~answer.any(dim=0)
            self._votes[1:] += answer
        self._voxels.append(voxels.cpu())

    def _start(self, p: Tensor) -> None:
        self._sum, self._square = torch.zeros_like(p), torch.zeros_like(p)
        rows = 1 if self._head == "softmax" else p.shape[0]
        self._entropy = torch.zeros((rows, *p.shape[1:]), device=p.device)
        classes = p.shape[0] + (self._head == "sigmoid")
        self._bits = SampleBits(classes - 1)
        self._votes = torch.zeros((classes, *p.shape[1:]), dtype=torch.int16, device=p.device)

    def mean(self) -> Tensor:
        """Mean probabilities so far, ``(C, *spatial)`` float32.

        Raises:
            ShapeError: if no sample was added.
        """
        if self._n == 0:
            raise ShapeError("at least one sample must be added first, got none.")
        return self._sum / self._n

    def finish(self) -> SampleStatistics:
        """Turn the totals into maps.

        Returns:
            Maps and numbers of the samples so far; ``between`` = ``total`` - ``within``, clamped at 0.

        Raises:
            ShapeError: if no sample was added.
        """
        mean = self.mean()
        sharp = torch.special.entr(mean)
        if self._head == "softmax":
            total, within = sharp.sum(dim=0), self._entropy[0] / self._n
        else:
            total, within = sharp + torch.special.entr(1 - mean), self._entropy / self._n
        spread = (self._square / self._n - mean.square()).clamp_min_(0)
        agreement = self._agreement()
        return SampleStatistics(
            mean=mean,
            total=total,
            within=within,
            between=(total - within).clamp_min_(0),
            variance=spread.sum(dim=0) if self._head == "softmax" else spread.amax(dim=0),
            votes=self._disagreement(),
            sample_voxels=torch.stack(self._voxels),
            pairwise_dice=torch.from_numpy(self._bits.dice()),
            pooled_pairwise_dice=pooled_dice(agreement),
            n_samples=self._n,
            masks=None if self._masks is None else torch.stack(self._masks),
            agreement=agreement,
        )

    def _disagreement(self) -> Tensor:
        if self._head == "softmax":
            return vote_disagreement(self._votes[None], n_samples=self._n)[0]
        yes = self._votes[1:]
        no = (self._n - yes).to(yes.dtype)
        return vote_disagreement(torch.stack([no, yes], dim=1), n_samples=self._n).amax(dim=0)

    def _agreement(self) -> Tensor:
        counts = []
        for votes in self._votes[1:]:
            n = votes.flatten().long()
            counts.append([int((n * (n - 1)).sum()), (self._n - 1) * int(n.sum())])
        return torch.tensor(counts, dtype=torch.int64).reshape(-1, 2).T


def pooled_dice(agreement: Tensor) -> Tensor:
    """Summed overlap over summed size of all pairs of samples; high means that they agree.

    Args:
        agreement: ``(2, N)`` int64, of each structure sum n (n - 1) and (S - 1) sum n over the voxels, where
            n of S samples have it; those of parts of a scan may be added.

    Returns:
        ``(N,)`` float64 in [0, 1], NaN without a pair or without the structure.

    Example:
        >>> pooled_dice(torch.tensor([[1, 0], [2, 0]]))
        tensor([0.5000,    nan], dtype=torch.float64)
    """
    agreed, pairs = agreement.double()
    dice: Tensor = agreed / pairs  # 0 / 0 is NaN
    return dice


def unit_map(statistics: SampleStatistics, name: str, *, head: HeadKind = "softmax") -> Tensor:
    """One of the maps in nats scaled to [0, 1], one map for all channels.

    Args:
        statistics: what :meth:`RunningTotals.finish` returned.
        name: ``total``, ``within`` or ``between``.
        head: ``softmax`` or ``sigmoid``.

    Returns:
        ``(*spatial)`` float32, unitless.

    Note:
        See :func:`segtrust.uncertainty.normalise`.
    """
    nats: Tensor = getattr(statistics, name)
    scaled = normalise(nats, statistics.mean.shape[0], head=head)
    return summarise_channels(scaled[None], head=head)[0]
