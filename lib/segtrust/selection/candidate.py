"""What a strategy reads and what it answers."""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

__all__ = [
    "BATCH",
    "Candidate",
    "Pick",
    "Plan",
    "RankedList",
    "Reasoned",
    "ScoringRow",
    "Strategy",
    "make_candidate",
    "one_per_subject",
]

BATCH = 10
"""Scans that are chosen to go well together when nobody says how many."""

_CHECKED: Mapping[str, str] = MappingProxyType({
    "field_of_view": "its field of view is unlike training",
    "intensity": "its brightness is unlike training",
    "spacing_unknown": "its file does not say how large its voxels are",
    "unlike_calibration": "it is unlike the calibration scans",
})  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What is known about one unlabelled scan.

    ``score``: its entropy, high means unsure; ``None`` for an empty prediction. ``doubt``: see
    :func:`segtrust.scores.scan_doubt`, high means unsure; ``None`` where not known. ``scored``: whether the
    present version has scored it at all. ``class_scores``: label value -> mean of the top 5 % of entropy
    times probability near that structure. ``foreground``: label value -> predicted voxels. ``features``:
    pooled features of the network's encoder. ``check``: why somebody should look at the file before it is
    labelled.
    """

    scan_id: str
    subject: str
    score: float | None
    scored: bool = True
    class_scores: Mapping[int, float] = field(default_factory=dict)
    foreground: Mapping[int, int] = field(default_factory=dict)
    features: tuple[float, ...] = ()
    check: str | None = None
    doubt: float | None = None

    @property
    def has_score(self) -> bool:
        """Whether its score is a number under the present version."""
        return self.scored and self.score is not None and not math.isnan(self.score)

    @property
    def has_foreground(self) -> bool:
        """Whether the present version finds any structure in it."""
        return self.scored and any(voxels > 0 for voxels in self.foreground.values())


class ScoringRow(Protocol):
    """What is stored of a scan's scoring: its score, why it has none, codes of its flags, and details."""

    @property
    def score(self) -> float | None: ...
    @property
    def error(self) -> str | None: ...
    @property
    def codes(self) -> tuple[str, ...]: ...
    @property
    def details(self) -> Mapping[str, Any]: ...


def make_candidate(
    scan_id: str, subject: str, stored: ScoringRow | None, *, scored: bool = True
) -> Candidate:
    """What a strategy may know about a scan, from what scoring it left: one maker for queue and replay.

    Args:
        scan_id: the scan.
        subject: its patient.
        stored: what is stored of the scan; ``None`` if it was never scored.
        scored: False if no network saw the scan and only its file was looked at.

    Returns:
        The candidate. It is to be checked if scoring failed or a flag says that the scan, or its file, is
        unlike what the model was made for.
    """
    if stored is None:
        return Candidate(scan_id=scan_id, subject=subject, score=None, scored=False)
    details = stored.details
    return Candidate(
        scan_id=scan_id,
        subject=subject,
        score=stored.score,
        scored=scored,
        class_scores={int(value): score for value, score in details.get("class_scores", {}).items()},
        foreground={int(value): voxels for value, voxels in details.get("foreground", {}).items()},
        features=tuple(details.get("features", ())),
        check=_why_check(stored),
        doubt=details.get("doubt"),
    )


def _why_check(stored: ScoringRow) -> str | None:
    """Why somebody should look at a scan before it is labelled; ``None`` if there is no reason."""
    if stored.error is not None:
        return f"Scoring failed: {stored.error}"
    reasons = [_CHECKED[code] for code in stored.codes if code in _CHECKED]
    return f"Please check this scan: {', and '.join(reasons)}." if reasons else None


@dataclass(frozen=True, kw_only=True)
class Pick:
    """A scan's place: ``rank`` 1 of ``of`` comes first, and ``reason`` says why in one sentence."""

    scan_id: str
    rank: int
    of: int
    score: float | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a strategy may know besides the candidates.

    ``round`` counts from 0 and is one of ``rounds``; ``batch`` is how many scans are labelled before the next
    round; ``labelled_features`` are those of the scans that have labels.
    """

    seed: int
    round: int = 0
    rounds: int = 10
    batch: int = BATCH
    labelled_features: Sequence[Sequence[float]] = ()

    def draw(self, purpose: str, scan_id: str) -> float:
        """A number in (0, 1) for one scan, the same whichever other scans there are.

        Args:
            purpose: what it is for; other purposes give independent numbers.
            scan_id: the scan.

        Returns:
            Uniform, never 0 or 1.

        Note:
            52 bits of BLAKE2b over seed, round, purpose and scan. A scan that joins or leaves does not change
            the draws of the others, as it would with one random stream.
        """
        text = f"{self.seed}\0{self.round}\0{purpose}\0{scan_id}".encode()
        bits = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 12
        return (bits + 0.5) / 2**52

    def gumbel(self, purpose: str, scan_id: str) -> float:
        """A draw from the standard Gumbel distribution for one scan; see :meth:`draw`.

        Args:
            purpose: what it is for.
            scan_id: the scan.

        Returns:
            Any real number, mean 0.577.

        Source:
            inverse of the distribution function exp(-exp(-x)).
        """
        return -math.log(-math.log(self.draw(purpose, scan_id)))


Reasoned = tuple[Candidate, str]
"""A candidate and the sentence that says why it stands where it stands."""
RankedList = list[Reasoned]
Strategy = Callable[[Sequence[Candidate], Plan], RankedList]
"""Ranks the candidates that it can say something about, the first to be labelled first; leaves out others."""


def one_per_subject(ranking: Iterable[Reasoned]) -> RankedList:
    """Move further scans of a subject behind the first scan of every other subject.

    Args:
        ranking: in order.

    Returns:
        The first scan of every subject in order, then the second ones, and so on.

    Note:
        Scans of one patient look alike, and a batch should not be spent on one patient.
    """
    seen: dict[str, int] = {}
    passes: list[RankedList] = []
    for candidate, reason in ranking:
        turn = seen.get(candidate.subject, 0)
        seen[candidate.subject] = turn + 1
        if turn == len(passes):
            passes.append([])
        passes[turn].append((candidate, reason))
    return [choice for each in passes for choice in each]
