"""The result of one prediction: mask, calibrated probabilities, maps and numbers, on the scan's own grid."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segtrust import uncertainty
from segtrust.decisions import label_type
from segtrust.error_flags import FlagRule
from segtrust.errors import SettingError
from segtrust.inference.looked_at import NOT_LOOKED_AT, LookedAt
from segtrust.inference.maps import EXCESS, MAP_NAMES, VIEW_MAPS
from segtrust.inference.sample_masks import SampleMasks
from segtrust.models import ModelSpec
from segtrust.quality import (
    COVERAGE,
    Assessment,
    ConfidentIntervals,
    ContourMargins,
    ContourWords,
    Features,
    Margins,
    StructureAssessment,
    UsualError,
    Verdict,
    contour_map,
    contour_masks,
)
from segtrust.regions import distance_to, in_band
from segtrust.scores import ScanScores
from segtrust.slices import SliceHint

__all__ = ["BLIND_SPOT", "RESEARCH_ONLY", "Flag", "Prediction", "SliceHint", "StructureSummary"]

FloatMap = NDArray[np.float32]

BLIND_SPOT = "The map cannot show a structure or disease the model was never trained on."
RESEARCH_ONLY = "For annotation and research, not for diagnosis."


@dataclass(frozen=True)
class Flag:
    """A reason to look at a scan: ``code`` for programs, ``text`` for people."""

    code: str
    text: str


@dataclass(frozen=True)
class StructureSummary:
    """One structure of one scan; ``volume_ml`` is ``None`` if the spacing is unknown.

    ``volume_range_ml`` holds the smallest and the largest volume that a single member found; ``None`` with
    one member. ``border_mm``: see :func:`segtrust.inference.border.border_mm`; ``None`` without calibration.
    The rest is ``None`` where the version does not allow it. Intervals, of the Dice, of the true volume and
    of the mean distance between predicted and true border, miss for at most 10 % of scans; an upper end may
    be infinite. ``no_interval``: why this structure has none. ``confident_intervals``: the same intervals,
    by name of the field, where they miss for at most 10 % of scans for most calibration sets.
    """

    name: str
    value: int
    voxels: int
    volume_ml: float | None
    mean_entropy: float | None
    empty: bool
    volume_range_ml: tuple[float, float] | None = None
    border_mm: float | None = None
    predicted_dice: float | None = None
    predicted_dice_interval: tuple[float, float] | None = None
    volume_interval_ml: tuple[float, float] | None = None
    border_interval_mm: tuple[float, float] | None = None
    verdict: Verdict | None = None
    no_interval: str | None = None
    confident_intervals: Mapping[str, tuple[float, float]] | None = None

    def judged(self, by: StructureAssessment) -> Self:
        """The same with what the version says about its quality."""
        return replace(
            self,
            predicted_dice=by.predicted_dice,
            predicted_dice_interval=by.dice_interval,
            volume_interval_ml=self._volume(by.volume_factors),
            border_interval_mm=by.border_interval_mm if self.volume_ml is not None else None,
            verdict=by.verdict,
            no_interval=by.no_interval,
            confident_intervals=self._confident(by.confident),
        )

    def _confident(self, by: ConfidentIntervals | None) -> Mapping[str, tuple[float, float]] | None:
        if by is None:
            return None
        intervals = {
            "predicted_dice_interval": by.dice,
            "volume_interval_ml": self._volume(by.volume_factors),
            "border_interval_mm": by.border_mm if self.volume_ml is not None else None,
        }
        return {name: ends for name, ends in intervals.items() if ends is not None}

    def _volume(self, factors: tuple[float, float] | None) -> tuple[float, float] | None:
        if factors is None or not self.volume_ml:
            return None
        return self.volume_ml * factors[0], self.volume_ml * factors[1]


@dataclass(frozen=True)
class Prediction:
    """What one prediction found out about one scan.

    ``mask`` ``(X, Y, Z)`` uint8 (uint16 for more than 255 structures) holds 0 and the label values 1..N,
    where structures overlap that of the last in the head's ``priority``; ``probs`` ``(C, X, Y, Z)``
    float32 are calibrated and on the same side of every threshold; both are in the file's own voxel
    order, and ``affine`` takes voxels to RAS+ millimetres. Between- and within-member maps and votes come
    from the uncalibrated members. ``samples``: whole masks that a stochastic model finds plausible;
    ``None`` for any other. ``features``: what the encoder of the first member saw of the scan, see
    :class:`segtrust.inference.features.PooledFeatures`. ``seen``: what the detectors of likeness saw, empty
    without calibration scans. ``series`` names the DICOM series that was read.
    ``looked_at``: boxes outside of which nothing is known, ``None`` where the model saw all of the scan;
    outside, the mask is 0 and so are the probabilities of every channel, and :attr:`valid` is false.
    """

    spec: ModelSpec
    version_id: str
    digest: str
    affine: NDArray[np.float64]
    spacing: tuple[float, float, float] | None
    mask: NDArray[np.uint8]
    probs: FloatMap
    valid: NDArray[np.bool_]
    members: int
    calibration: str
    precision: str
    device: str
    scores: ScanScores
    structures: tuple[StructureSummary, ...]
    flags: tuple[Flag, ...]
    slices: tuple[SliceHint, ...]
    steps: tuple[str, ...] = ()
    member_maps: dict[str, FloatMap] = field(default_factory=dict, repr=False)
    assessment: Assessment | None = None
    usual_error: UsualError | None = field(default=None, repr=False)
    samples: SampleMasks | None = field(default=None, repr=False)
    features: tuple[float, ...] = field(default=(), repr=False)
    seen: Features = field(default_factory=dict, repr=False)
    series: Mapping[str, Any] | None = None
    looked_at: LookedAt | None = None

    @cached_property
    def part(self) -> Self:
        """The smallest box that holds all that was looked at; the rest of it counts as background."""
        if self.looked_at is None:
            return self
        box = self.looked_at.window
        probs = self.probs[(slice(None), *box)].copy()
        probs[0][~self.valid[box]] = 1  # between two boxes; what is computed there is shown to nobody
        return replace(
            self,
            looked_at=None,
            mask=self.mask[box],
            probs=probs,
            valid=self.valid[box],
            member_maps={name: values[box] for name, values in self.member_maps.items()},
        )

    @property
    def is_calibrated(self) -> bool:
        """Whether the probabilities went through a fitted calibrator."""
        return self.calibration != "identity"

    @cached_property
    def sets(self) -> NDArray[np.bool_]:
        """Voxels of each structure of a sigmoid head, ``(N, X, Y, Z)``; they may overlap."""
        held: NDArray[np.bool_] = self.spec.head.rule.sets(torch.from_numpy(self.probs)).numpy()
        return held

    def segment(self, value: int) -> NDArray[np.bool_]:
        """Voxels of one structure: where the mask shows it, and where another one inside it is shown instead.

        Args:
            value: label value of the structure, 1..N.

        Returns:
            ``(X, Y, Z)``.
        """
        held: NDArray[np.bool_] = (
            self.sets[value - 1] if self.spec.head.kind == "sigmoid" else self.mask == value
        )
        return held

    @cached_property
    def entropy(self) -> FloatMap:
        """Normalised entropy of the calibrated mean, [0, 1]; by the classes of the network that predicted."""
        if "entropy" in self.member_maps:
            return self.member_maps["entropy"]
        return self._from_probs(uncertainty.entropy, normalize=True)

    def map(self, name: str) -> FloatMap:
        """One uncertainty map, high means unsure.

        Args:
            name: one of :data:`segtrust.inference.MAP_NAMES`; ``excess``: the chance of error above what is
                usual at that distance from the nearest border of the prediction; or one of
                :data:`segtrust.inference.VIEW_MAPS` of a prediction that :meth:`with_maps` gave them to.

        Returns:
            ``(X, Y, Z)`` float32 in [0, 1], and :data:`segtrust.inference.NOT_LOOKED_AT` where nobody looked.

        Raises:
            SettingError: for another name; for ``excess`` where the version does not know the usual chance
                of error or the file does not say how large its voxels are; for a map of views that were not
                computed.
        """
        if self.looked_at is not None:
            return self.looked_at.spread(self.part.map(name), NOT_LOOKED_AT)
        if name == "entropy":
            return self.entropy
        if name == "chance_of_error":
            chance = self.spec.head.rule.chance_of_error(torch.from_numpy(self.probs))
            values: FloatMap = chance.clamp(0, 1).numpy()
            return values
        if name == "margin":
            return self._from_probs(uncertainty.probability_margin, threshold=self.spec.head.threshold)
        if name == EXCESS:
            return self._excess()
        if name not in self.member_maps:
            raise SettingError(
                f"`map` must be one of {', '.join((*MAP_NAMES, EXCESS))}, or of {', '.join(VIEW_MAPS)} where "
                f"these were computed, got {name!r}."
            )
        return self.member_maps[name]

    def with_maps(self, maps: Mapping[str, FloatMap]) -> Self:
        """The same prediction with more maps, such as those of :meth:`segtrust.inference.Predictor.views`."""
        return replace(self, member_maps={**self.member_maps, **maps})

    def _excess(self) -> FloatMap:
        if self.usual_error is None or self.spacing is None:
            raise SettingError(
                f"the map {EXCESS!r} needs a version that knows the usual chance of error and a scan that "
                f"says how large its voxels are; version {self.version_id} of {self.spec.name!r} cannot give "
                "it for this scan. Ask for `chance_of_error`."
            )
        return self.usual_error.excess(self.map("chance_of_error"), self.mask, self.spacing)

    def _from_probs(self, measure: Callable[..., Tensor], **options: Any) -> FloatMap:  # noqa: ANN401
        per_channel = measure(torch.from_numpy(self.probs)[None], head=self.spec.head.kind, **options)
        flat = uncertainty.summarise_channels(per_channel, head=self.spec.head.kind)
        values: FloatMap = flat[0].clamp(0, 1).numpy()
        return values

    def bands(self, edges: Sequence[float]) -> NDArray[np.uint8]:
        """Bands of the chance of error as a label map.

        Args:
            edges: rising lower edges; a chance equal to an edge belongs to the band above it.

        Returns:
            ``(X, Y, Z)`` uint8: 0 below the first edge, 1..len(edges) above, len(edges) + 1 where nobody
            looked.
        """
        if self.looked_at is not None:
            return self.looked_at.spread(self.part.bands(edges), len(edges) + 1)
        return np.digitize(self.map("chance_of_error"), np.asarray(edges, dtype=np.float32)).astype(np.uint8)

    def mask_with_bands(self, edges: Sequence[float]) -> NDArray[np.unsignedinteger[Any]]:
        """Mask and bands in one label map; a band takes its voxels from the structures.

        Args:
            edges: as for :meth:`bands`.

        Returns:
            ``(X, Y, Z)``: 0, then the structures 1..N without their uncertain voxels, then the bands
            N + 1..N + len(edges). 0 also where nobody looked: this view is there to be seen through.
        """
        if self.looked_at is not None:
            return self.looked_at.spread(self.part.mask_with_bands(edges), 0)
        bands = self.bands(edges)
        last = len(self.spec.labels) + len(edges)
        return np.where(bands > 0, bands.astype(label_type(last + 1)) + len(self.spec.labels), self.mask)

    def contours(
        self, value: int, words: ContourWords = "each"
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Inner and outer contour of one structure, filled.

        Args:
            value: label value of the structure, 1..N.
            words: ``each`` for contours that hold by themselves, ``joint`` for all at once.

        Returns:
            Two boolean volumes ``(X, Y, Z)``: of scans like the calibration scans, at most the share that the
            settings allow has an inner one that is not inside the true structure, or an outer one that does
            not hold it. Both are empty for an empty prediction; the inner one may be for a thin structure.

        Raises:
            SettingError: where the version knows no margin, the scan is unlike the calibration scans, or the
                file does not say how large its voxels are.
        """
        if self.looked_at is not None:
            inner, outer = self.part.contours(value, words)
            return self.looked_at.spread(inner, False), self.looked_at.spread(outer, False)
        margins = self._margins(words, (value,))
        return contour_masks(self.segment(value), margins[value], self.spacing or ())

    def contour_map(self, words: ContourWords = "each", only: Sequence[int] = ()) -> NDArray[np.uint8]:
        """Contours of the structures as one label map.

        Args:
            words: as for :meth:`contours`.
            only: label values of the structures to show; all that have margins unless given.

        Returns:
            ``(X, Y, Z)`` uint8, for structure ``k``: ``3 k - 2`` inside the inner contour, ``3 k - 1`` on to
            the edge of the mask, ``3 k`` on to the outer contour. A voxel belongs to the mask that holds it
            (of overlapping ones the last in ``priority``), outside all masks to the structure that is nearer
            as a share of its margin: to see a contour run across a neighbour, ask for one structure.

        Raises:
            SettingError: as :meth:`contours`, or for more structures than fit into one byte.
        """
        if self.looked_at is not None:
            return self.looked_at.spread(self.part.contour_map(words, only), 0)
        head = self.spec.head
        overlap = head.kind == "sigmoid"
        overlapping = {value: self.segment(value) for value in head.priority} if overlap else None
        return contour_map(self.mask, self._margins(words, only), self.spacing or (), segments=overlapping)

    def _margins(self, words: ContourWords, wanted: Sequence[int]) -> Mapping[int, Margins]:
        margins = self._known_contours()
        of_structures = {} if margins is None else margins.of(words)
        if not of_structures or not set(wanted) <= of_structures.keys():
            raise SettingError(
                "contours need a version with margins from enough subjects, a scan like its "
                f"calibration scans, and voxels of known size; version {self.version_id} of "
                f"{self.spec.name!r} cannot give them for this scan. Ask for bands."
            )
        return {value: of_structures[value] for value in wanted} if wanted else of_structures

    def _known_contours(self) -> ContourMargins | None:
        return self.assessment.contours if self.assessment and self.spacing is not None else None

    def flagged(
        self, name: str, rule: FlagRule, *, wrong: NDArray[np.float64] | None = None
    ) -> tuple[NDArray[np.uint8], float]:
        """Flag the voxels whose label may be wrong.

        Args:
            name: map whose voxels are flagged, see :meth:`map`.
            rule: sets the threshold, from the voxels within 5 mm of the prediction.
            wrong: for ``calibrated``: wrong voxels of labelled scans per cell of this map.

        Returns:
            ``(X, Y, Z)`` uint8, 1 where the map is above the threshold; and the threshold, infinity for an
            empty prediction.

        Raises:
            SettingError: for an unknown map, or if ``calibrated`` has nothing to learn from.
        """
        if self.looked_at is not None:
            flags, threshold = self.part.flagged(name, rule, wrong=wrong)
            return self.looked_at.spread(flags, 0), threshold
        values = self.map(name)
        near = in_band(distance_to(self.mask > 0, self.spacing)) & self.valid
        threshold = rule.threshold(values[near], wrong=wrong)
        return ((values > threshold) & self.valid).astype(np.uint8), threshold

    def params(self) -> dict[str, Any]:
        """Everything but the volumes, as JSON can hold it; what is not known is absent.

        Returns:
            Plain strings, numbers, lists and dictionaries without NaN.
        """
        contours, names = self._known_contours(), {label.value: label.name for label in self.spec.labels}
        document: dict[str, Any] = _plain({
            "model": self.spec.name,
            "version": self.version_id,
            "digest": self.digest,
            "members": self.members,
            "calibration": self.calibration,
            "precision": self.precision,
            "device": self.device,
            **({"series": dict(self.series)} if self.series else {}),
            "structures": [vars(s) for s in self.structures],
            "scores": self.scores.to_json(),
            "flags": [vars(f) for f in self.flags],
            "slices": [vars(s) for s in self.slices],
            **({"looked_at": [place.to_json() for place in self.looked_at.places]} if self.looked_at else {}),
            **(_quality_of(self.assessment) if self.assessment else {}),
            **({"contours": contours.to_json(names)} if contours else {}),
            "steps": list(self.steps),
            "limits": f"{BLIND_SPOT} {RESEARCH_ONLY}",
        })  # fmt: skip
        return document

    def selection_facts(self) -> dict[str, Any]:
        """What strategies read besides the scores, as JSON can hold it.

        Returns:
            ``doubt`` (absent where not defined), ``class_scores`` (label value ->
            :func:`segtrust.scores.class_score`, absent where not predicted), ``foreground`` (label value ->
            predicted voxels) and ``features`` (to five digits; empty where the network has no encoder).
        """
        scores_of = {value: scores.class_score for value, scores in self.scores.details.items()}
        doubt = self.scores.doubt
        return {
            **({} if doubt is None or not math.isfinite(doubt) else {"doubt": doubt}),
            "class_scores": {str(value): score for value, score in scores_of.items() if score is not None},
            "foreground": {str(structure.value): structure.voxels for structure in self.structures},
            "features": [float(f"{value:.5g}") for value in self.features],
        }


def _quality_of(assessment: Assessment) -> dict[str, Any]:
    """What holds for the scan as a whole; the structures have the rest."""
    rule = assessment.rule
    return {
        "quality": {
            "subjects": assessment.subjects,
            "coverage": COVERAGE,
            "fine_dice": rule.dice,
            "fine_risk": rule.risk,
            "statement": assessment.statement,
            "intervals": assessment.width or "none",
            "intervals_statement": assessment.interval_statement,
            "confidence": assessment.confidence,
            "confident_statement": assessment.confident_statement,
        },
        "out_of_distribution": assessment.comparison.to_json(),
    }


def _plain(value: Any) -> Any:  # noqa: ANN401  # whatever JSON can hold
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items() if _plain(v) is not None}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
