"""What is said of a whole head, from what the crop model says of the crops of its two sides."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from segtrust.decisions import label_type
from segtrust.inference.finder import Sighting
from segtrust.inference.head_geometry import Crop, HeadGeometry
from segtrust.inference.looked_at import LookedAt, Place
from segtrust.inference.prediction import Flag, Prediction, StructureSummary
from segtrust.inference.predictor import Predictor
from segtrust.models import Label, ModelSpec, ModelVersion
from segtrust.quality import Assessment, ContourMargins
from segtrust.scores import ScanScores
from segtrust.slices import SliceHint

__all__ = ["Side", "heads_spec", "heads_version", "joined"]

_T = TypeVar("_T")
_DARKER = 0.65  # colour of the second side
_NEITHER = "It was not looked at."


@dataclass(frozen=True)
class Side:
    """One side: its crop, what the crop model says of it, whether it saw it mirrored, what the search saw."""

    name: str
    crop: Crop
    prediction: Prediction
    mirrored: bool
    seen: Sighting

    def onto(self, head: HeadGeometry, values: NDArray[Any], shown: Crop) -> NDArray[Any]:
        """What a box inside the crop holds of an array of the crop, in the order of the scan's file."""
        unmirrored = values[::-1] if self.mirrored else values
        first = np.subtract(shown.start, self.crop.start)
        part = tuple(slice(s, s + n) for s, n in zip(first, shown.size, strict=True))
        return head.back(unmirrored[part])


def heads_spec(finder: ModelSpec, crops: ModelSpec) -> ModelSpec:
    """What is said of whole heads: the crop model's structures once for each side.

    Args:
        finder: names the sides: "left hippocampus", "right hippocampus".
        crops: of the crop model.

    Returns:
        A specification with the finder's name; values of the first side come first.
    """
    labels = [
        Label(f"{side.name.split()[0]} {label.name}", value, value, _shade(label.colour, second=index > 0))
        for index, side in enumerate(finder.labels)
        for label in crops.labels
        for value in [index * len(crops.labels) + label.value]
    ]
    return replace(
        crops,
        name=finder.name,
        labels=tuple(labels),
        extent_mm=None,
        extent_voxels=None,
        intensity_ranges=None,
        intensity_levels=None,
        description=finder.description,
    )


def heads_version(finder: ModelVersion, crops: ModelVersion) -> ModelVersion:
    """The version that answers for whole heads: the crop model's, found by the finder's.

    Args:
        finder: of the search.
        crops: of the crop model.

    Returns:
        A version with the crop model's id, members and calibration, and a digest that names both.
    """
    whole = json.dumps([finder.digest, crops.digest])
    return replace(
        crops,
        spec=heads_spec(finder.spec, crops.spec),
        digest=hashlib.sha256(whole.encode()).hexdigest(),
    )


def joined(
    version: ModelVersion,
    crops: Predictor,
    head: HeadGeometry,
    sides: Sequence[Side],
    problems: Mapping[str, str],
) -> Prediction:
    """One prediction on the scan's own grid.

    Args:
        version: of :func:`heads_version`.
        crops: of the crop model.
        head: the scan.
        sides: those that were found.
        problems: name of a side that was not -> why.

    Returns:
        The prediction. Memory: one byte per voxel of the scan for the mask and one for ``valid``; other
        volumes are only as large as the crops until they are asked for.
    """
    scan, spec = head.scan, version.spec
    each = len(crops.spec.labels)
    firsts = {spec.labels[first].name.split()[0]: first for first in range(0, len(spec.labels), each)}
    first_of = {side.name: firsts[side.name.split()[0]] for side in sides}
    shown = _apart([side.crop for side in sides])
    places = tuple(
        Place(side.name, head.native(crop), _about(side)) for side, crop in zip(sides, shown, strict=True)
    )
    mask = np.zeros(scan.shape, dtype=label_type(len(spec.labels) + 1))
    probs = np.zeros(
        (spec.n_classes, *scan.shape), dtype=np.float32
    )  # zeros that nobody writes take no memory
    # the entropy is that of the crop model's classes, of which there are fewer than here
    of_sides = [{**side.prediction.member_maps, "entropy": side.prediction.entropy} for side in sides]
    names = sorted({name for of_side in of_sides for name in of_side})
    maps = {name: np.zeros(scan.shape, dtype=np.float32) for name in names}
    for side, of_side, crop, place in zip(sides, of_sides, shown, places, strict=True):
        own, first = side.prediction, first_of[side.name]
        labels = side.onto(head, own.mask, crop)
        mask[place.box] = np.where(labels > 0, labels + first, 0)
        for channel, values in enumerate(own.probs):
            probs[(channel and channel + first, *place.box)] = side.onto(head, values, crop)
        for name, values in of_side.items():
            maps[name][place.box] = side.onto(head, values, crop)
    looked_at = LookedAt(scan.shape, places)
    shifted = [(side, first_of[side.name]) for side in sides]
    return Prediction(
        spec=spec,
        version_id=version.id,
        digest=version.digest,
        affine=scan.affine,
        spacing=scan.spacing,
        series=scan.series,
        mask=mask,
        probs=probs,
        valid=looked_at.inside(),
        members=len(version.members),
        calibration=sides[0].prediction.calibration if sides else crops.calibrator.name,
        precision=crops.precision,
        device=str(crops.device),
        scores=_scores(shifted),
        structures=_structures(spec, shifted),
        flags=(*_missing(problems), *_flags(sides)),
        slices=_slices(head, sides),
        steps=tuple(dict.fromkeys(step for side in sides for step in side.prediction.steps)),
        member_maps=maps,
        assessment=_assessment(shifted),
        usual_error=sides[0].prediction.usual_error if sides else None,
        looked_at=looked_at,
    )


def _apart(crops: Sequence[Crop]) -> list[Crop]:
    """The boxes, parted halfway where two of them share voxels from left to right."""
    if len(crops) < 2:
        return list(crops)
    left, right = crops
    end, start = left.box[0].stop, right.start[0]
    if start >= end:
        return [left, right]
    middle = (start + end) // 2
    return [
        Crop(left.start, (middle - left.start[0], *left.size[1:])),
        Crop((middle, *right.start[1:]), (right.box[0].stop - middle, *right.size[1:])),
    ]


def _about(side: Side) -> dict[str, Any]:
    """What the answer says of a box besides where it lies."""
    assessment = side.prediction.assessment
    return {
        "mirrored": side.mirrored,
        "likeness": assessment.likeness if assessment else None,
        "p_value": assessment.comparison.p_value if assessment else None,
        "intervals": (assessment.width or "none") if assessment else None,
        "search": {"peak": round(side.seen.peak, 3), "views_mm": side.seen.views_mm},
    }


def _missing(problems: Mapping[str, str]) -> list[Flag]:
    return [
        Flag("not_found", f"the {name} was not looked at: {problem}") for name, problem in problems.items()
    ]


def _flags(sides: Sequence[Side]) -> list[Flag]:
    """What the crop model flags, by side; once where it says the same of both."""
    texts: dict[Flag, list[str]] = {}
    for side in sides:
        for flag in side.prediction.flags:
            texts.setdefault(flag, []).append(side.name)
    both = len(sides) if len(sides) > 1 else 0
    return [
        flag if len(names) == both else Flag(flag.code, f"{' and '.join(names)}: {flag.text}")
        for flag, names in texts.items()
    ]


def _structures(spec: ModelSpec, sides: Sequence[tuple[Side, int]]) -> tuple[StructureSummary, ...]:
    of_value = {
        summary.value + first: summary for side, first in sides for summary in side.prediction.structures
    }
    return tuple(
        replace(of_value[label.value], name=label.name, value=label.value)
        if label.value in of_value
        else StructureSummary(label.name, label.value, 0, None, None, True, no_interval=_NEITHER)
        for label in spec.labels
    )


def _scores(sides: Sequence[tuple[Side, int]]) -> ScanScores:
    """Means over the sides; scores of the structures are each side's own."""
    scores = [side.prediction.scores for side, _ in sides]

    def mean(name: str) -> float | None:
        values = [value for own in scores if (value := getattr(own, name)) is not None]
        return sum(values) / len(values) if values else None

    return ScanScores(
        entropy=mean("entropy"),
        between_member=mean("between_member"),
        patch_maximum=mean("patch_maximum"),
        volume_spread=mean("volume_spread"),
        pairwise_dice=mean("pairwise_dice"),
        soft_dice_confidence=mean("soft_dice_confidence"),
        global_mean=math.nan if (whole := mean("global_mean")) is None else whole,
        structures=_by_value((side.prediction.scores.structures, first) for side, first in sides),
        details=_by_value((side.prediction.scores.details, first) for side, first in sides),
        doubt=mean("doubt"),
    )


def _by_value(parts: Iterable[tuple[Mapping[int, _T], int]]) -> dict[int, _T]:
    return {value + first: entry for entries, first in parts for value, entry in entries.items()}


def _assessment(sides: Sequence[tuple[Side, int]]) -> Assessment | None:
    """Structures keep what is said of their side; of the scan is said what holds for the side least like."""
    parts = [(own, first) for side, first in sides if (own := side.prediction.assessment) is not None]
    if not parts:
        return None
    strangest = min((own for own, _ in parts), key=_strangeness)
    contours = [(own.contours, first) for own, first in parts if own.contours is not None]
    return replace(
        strangest,
        structures=_by_value((own.structures, first) for own, first in parts),
        contours=None if not contours else ContourMargins(
            contours[0][0].rule,
            _by_value((margins.each, first) for margins, first in contours),
            # they hold for all contours of one crop, not of two
            _by_value((margins.joint, first) for margins, first in contours) if len(parts) == 1 else {},
        ),
    )  # fmt: skip


def _strangeness(assessment: Assessment) -> tuple[bool, float]:
    """Low for a scan unlike the calibration scans."""
    p = assessment.comparison.p_value
    return assessment.width is not None, 1.0 if p is None else p


def _slices(head: HeadGeometry, sides: Sequence[Side]) -> tuple[SliceHint, ...]:
    """Hints of the sides on the scan's own slices, those with the largest share first, those by lot last."""
    hints = [_on_scan(head, side, hint) for side in sides for hint in side.prediction.slices]
    return tuple(sorted(hints, key=lambda hint: (hint.audit, -hint.share)))


def _on_scan(head: HeadGeometry, side: Side, hint: SliceHint) -> SliceHint:
    size, start = side.crop.size[hint.axis], side.crop.start[hint.axis]
    index = start + (size - 1 - hint.index if side.mirrored and hint.axis == 0 else hint.index)
    axis, flip = head.turn.axes[hint.axis], head.turn.flips[hint.axis]
    name = f"{side.name.split()[0]} {hint.structure}"
    return replace(
        hint,
        axis=axis,
        index=head.scan.shape[axis] - 1 - index if flip else index,
        structure=name,
    )


def _shade(colour: tuple[int, int, int], *, second: bool) -> tuple[int, int, int]:
    red, green, blue = (round(part * _DARKER) if second else part for part in colour)
    return red, green, blue
