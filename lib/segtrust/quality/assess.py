"""What a version can say about the quality of one scan, fitted on its calibration scans."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from scipy.special import expit

from segtrust.errors import ModelError, SettingError
from segtrust.quality.conformal import Width, bound_risk, confident_coverage, least_subjects
from segtrust.quality.contour_rule import ContourRule
from segtrust.quality.contours import ContourMargins, Contours
from segtrust.quality.excess import UsualError
from segtrust.quality.expected import ExpectedStructures
from segtrust.quality.line_scores import POOLED, can_be_judged, line_scores
from segtrust.quality.log_odds import LEAST_DICE, dice_range, factor_range, logit_dice
from segtrust.quality.regression import LEAST_SUBJECTS, Regression
from segtrust.quality.typical import Features, Likeness, TypicalScans, Unlikeness
from segtrust.scores import ScanScores, StructureScores

__all__ = [
    "CONFIDENCE",
    "COVERAGE",
    "TARGETS",
    "Assessment",
    "ConfidentIntervals",
    "FineRule",
    "Quality",
    "StructureAssessment",
    "Verdict",
    "fine_limit",
]

COVERAGE = 0.9
"""Of all intervals."""
CONFIDENCE = 0.95
"""Share of calibration sets for which a confident interval has this coverage, unless another is asked for."""
TARGETS = ("dice", "volume", "border")
"""What is predicted of a structure, each by a line of its own."""
_SCHEMA = 2
"""Of the entry `quality`; in 1, where none is written, `pairwise_dice` meant what is the pooled one now."""

Verdict = Literal["probably fine", "needs a look"]
WIDTHS: Mapping[Likeness, Width | None] = {
    "like": "usual",
    "not tested": "usual",
    "somewhat unlike": "widest",
    "unlike": None,
}
"""Intervals by grade, after docs/decisions/0012-likeness.md; contours are for like scans alone."""


@dataclass(frozen=True)
class FineRule:
    """When a structure is bad (its Dice is below ``dice``), and how often a bad one may be called fine.

    Raises:
        SettingError: for a Dice outside (.005, .995], where calibration scans are not told apart, or a risk
            outside (0, 1).
    """

    dice: float = 0.8
    risk: float = 0.05

    def __post_init__(self) -> None:
        if not (LEAST_DICE < self.dice <= 1 - LEAST_DICE and 0 < self.risk < 1):
            raise SettingError(
                f"`fine_dice` must lie between {LEAST_DICE} and {1 - LEAST_DICE}, and `fine_risk` between 0 "
                f"and 1, got {self.dice} and {self.risk}. Example: --conf fine_dice 0.8"
            )


@dataclass(frozen=True)
class ConfidentIntervals:
    """Intervals with the usual coverage not on average over calibration sets, but for most of them.

    ``None`` where too few subjects allow it, or the version does not know the target.
    """

    dice: tuple[float, float] | None
    volume_factors: tuple[float, float] | None
    border_mm: tuple[float, float] | None


@dataclass(frozen=True)
class StructureAssessment:
    """What is said of one structure; ``None`` where the version does not allow it.

    An interval is open, with an end at 0, 1 or infinity, where the calibration scans tell no more.
    ``no_interval``: why there is none, where that lies with this structure and not with the whole scan.
    """

    predicted_dice: float | None
    dice_interval: tuple[float, float] | None
    volume_factors: tuple[float, float] | None
    border_interval_mm: tuple[float, float] | None
    verdict: Verdict | None
    no_interval: str | None = None
    confident: ConfidentIntervals | None = None


@dataclass(frozen=True)
class Assessment:
    """What is said of one scan; ``statement`` says what the verdicts mean, ``None`` without verdicts.

    ``contours``: how far they lie from the mask; ``None`` where not known, or unless the scan is like the
    calibration scans.
    """

    structures: Mapping[int, StructureAssessment]
    unlikeness: Unlikeness | None
    subjects: int
    rule: FineRule
    statement: str | None
    contours: ContourMargins | None = None
    confidence: float = CONFIDENCE

    @property
    def confident_statement(self) -> str | None:
        """What confident intervals promise, or why there are none; ``None`` where there is no usual one."""
        if self.width != "usual" or not any(map(_has_interval, self.structures.values())):
            return None
        sets, scans = f"{100 * self.confidence:.3g} %", f"{100 * COVERAGE:.3g} %"
        if any(s.confident is not None for s in self.structures.values()):
            return (
                f"For {sets} of calibration sets, confident intervals hold the true value in at least "
                f"{scans} of scans like the calibration scans (exact for a prediction fixed beforehand, "
                "measured for a fitted one)."
            )
        return (
            f"Intervals that hold for {sets} of calibration sets take at least "
            f"{least_subjects(COVERAGE, self.confidence)} patients that have the structure; there are "
            f"{self.subjects} patients."
        )

    @property
    def comparison(self) -> Unlikeness:
        """The comparison with the calibration scans, also where the version cannot make one."""
        return Unlikeness(None, {}, self.subjects) if self.unlikeness is None else self.unlikeness

    @property
    def likeness(self) -> Likeness | None:
        """How like the calibration scans the scan is; ``None`` where it cannot be compared with them."""
        return None if self.unlikeness is None else self.unlikeness.likeness

    @property
    def is_unlike(self) -> bool:
        """Whether the scan is not like the calibration scans, be it somewhat or wholly."""
        return self.unlikeness is not None and self.unlikeness.is_unlike

    @property
    def width(self) -> Width | None:
        """Which intervals the scan has; ``None`` for none."""
        return width_of(self.unlikeness)

    @property
    def interval_statement(self) -> str | None:
        """What intervals promise for this scan, or why it has none; ``None`` if the version knows none."""
        if self.width is not None and not any(map(_has_interval, self.structures.values())):
            return None
        share = f"{100 * (1 - COVERAGE):.0f} %"
        if self.width is None:
            return "No interval and no contour is given: how far off such scans can be is not known."
        if self.width == "usual":
            return (
                f"An interval misses the true value in at most {share} of scans like the calibration scans."
            )
        times = (1 - COVERAGE) * (self.subjects + 1)
        return (
            "Intervals are the widest that the calibration scans give: of scans like those, one in "
            f"{self.subjects + 1} misses. For somewhat unlike scans that is at most {share} as long as large "
            f"errors are at most {times:.1f} times as common among them. No contour is given."
        )


@dataclass(frozen=True)
class Quality:
    """The quality part of a version: lines by structure and target, and what calibration scans are like."""

    lines: Mapping[int, Mapping[str, Regression]]
    typical: TypicalScans | None
    usual: UsualError | None
    subjects: int
    contours: Contours | None = None
    expected: ExpectedStructures | None = None

    def completed(self, scores: ScanScores) -> ScanScores:
        """The same scores; a structure that is missing against the calibration scans counts as doubt.

        Args:
            scores: of a prediction.

        Returns:
            Scores with another ``doubt``; the same ones if the version does not know what to expect.
        """
        if self.expected is None:
            return scores
        return replace(scores, doubt=self.expected.doubt(scores.details))

    def assess(
        self,
        scores: ScanScores,
        features: Features,
        rule: FineRule,
        contour_rule: ContourRule = ContourRule(),  # noqa: B008  # frozen
        confidence: float = CONFIDENCE,
    ) -> Assessment:
        """Say how good a prediction probably is.

        Args:
            scores: of the prediction.
            features: :func:`segtrust.quality.scan_features` of the scan.
            rule: what counts as bad, and how often.
            contour_rule: how often contours are right, and for how much of a structure.
            confidence: share of calibration sets for which confident intervals hold, in (0, 1).

        Returns:
            The assessment. For a somewhat unlike scan intervals are the widest that the calibration scans
            give; for an unlike one they are left out. Neither has contours, and neither is called fine.

        Source:
            intervals: Barber et al. 2021, jackknife-minmax; verdict: conformal risk control (Angelopoulos et
            al. 2022) with that construction, so that the bound holds in full although the same subjects
            fitted the lines.
        """
        unlikeness = None if self.typical is None else self.typical.compare(features)
        width = width_of(unlikeness)
        alike = width == "usual"
        structures = {
            value: self._structure(value, details, rule, width, confidence, alike=alike)
            for value, details in scores.details.items()
        }
        has_verdict = any(s.verdict for s in structures.values())
        return Assessment(
            structures,
            unlikeness,
            self.subjects,
            rule,
            self._statement(rule) if has_verdict else None,
            self.contours.margins(contour_rule) if alike and self.contours is not None else None,
            confidence,
        )

    def _structure(
        self,
        value: int,
        details: StructureScores,
        rule: FineRule,
        width: Width | None,
        confidence: float,
        *,
        alike: bool,
    ) -> StructureAssessment:
        lines, x = self.lines.get(value, {}), line_scores(details)
        reason = self._no_interval(details, lines)
        if not can_be_judged(x):
            verdict = self._verdict(lines.get("dice"), x, rule, alike=False)
            return StructureAssessment(None, None, None, None, verdict, reason)
        predicted = lines["dice"].predict(x) if "dice" in lines else None
        dice, volume, border = usual = [_shown(t, lines.get(t), x, width) for t in TARGETS]
        confident = [_confident(t, lines.get(t), x, confidence, width) for t in TARGETS]
        confident = [_joined(*pair) for pair in zip(confident, usual, strict=True)]
        return StructureAssessment(
            None if predicted is None else _share(predicted),
            dice,
            volume,
            border,
            verdict=self._verdict(lines.get("dice"), x, rule, alike=alike),
            no_interval=reason,
            confident=ConfidentIntervals(*confident) if any(confident) else None,
        )

    def _no_interval(self, details: StructureScores, lines: Mapping[str, Regression]) -> str | None:
        """Why a structure has no interval in a scan whose other structures may have one."""
        if details.entropy is None:
            return "It was not found in this scan."
        if not can_be_judged(line_scores(details)):
            return "A score of this scan is not a number."
        if lines:
            return None
        return f"Fewer than {LEAST_SUBJECTS} calibration patients have it."

    def _verdict(
        self, line: Regression | None, x: Mapping[str, float | None], rule: FineRule, *, alike: bool
    ) -> Verdict | None:
        limit = None if line is None else fine_limit(line, rule)
        if line is None or limit is None:
            return None
        predicted, spread = line.predict(x), line.spread(x)
        fine = (
            alike
            and predicted is not None
            and spread is not None
            and predicted >= logit_dice(rule.dice)
            and spread[0] > limit
        )
        return "probably fine" if fine else "needs a look"

    def _statement(self, rule: FineRule) -> str:
        return (
            f"Of scans like those of the {self.subjects} calibration subjects, at most {100 * rule.risk:g} % "
            f'have a structure that is called "probably fine" and has a Dice below {rule.dice:g}. This holds '
            "for each structure by itself, on average over calibration sets."
        )

    def to_json(self) -> dict[str, Any]:
        """The entry `quality` of `calibration.json`; what was not justified is absent."""
        parts = {
            "typical": self.typical,
            "usual_error": self.usual,
            "contours": self.contours,
            "expected": self.expected,
        }
        return {
            "schema": _SCHEMA,
            "subjects": self.subjects,
            "structures": {
                str(value): {target: line.to_json() for target, line in lines.items()}
                for value, lines in self.lines.items()
            },
            **{name: part.to_json() for name, part in parts.items() if part is not None},
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote.

        Args:
            document: the entry.

        Returns:
            The quality part.

        Raises:
            ModelError: if it was written by another release.
        """
        schema = document.get("schema", 1)
        if schema not in (1, _SCHEMA):
            raise ModelError(
                f"`quality` of calibration.json must have the schema 1 or {_SCHEMA}, got {schema!r}. "
                "Was the version made by a newer release of segtrust?"
            )
        try:
            lines = {
                int(value): {target: _regression(line, schema) for target, line in fitted.items()}
                for value, fitted in document["structures"].items()
            }
            subjects = int(document["subjects"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"`quality` of calibration.json must have structures and subjects, but {error!r}. "
                "Was the version made by another release of segtrust?"
            ) from error
        typical, usual, contours, expected = (
            document.get(name) for name in ("typical", "usual_error", "contours", "expected")
        )
        return cls(
            lines,
            None if typical is None else TypicalScans.from_json(typical),
            None if usual is None else UsualError.from_json(usual),
            subjects,
            None if contours is None else Contours.from_json(contours),
            None if expected is None else ExpectedStructures.from_json(expected),
        )


def fine_limit(line: Regression, rule: FineRule) -> float | None:
    """Log odds of the predicted Dice above which a structure may be called fine.

    Args:
        line: the regression of Dice.
        rule: what counts as bad, and how often.

    Returns:
        The limit, ``-inf`` for none; ``None`` where too few subjects allow any (fewer than 1 / risk - 1).

    Source:
        :func:`segtrust.quality.conformal.bound_risk`; a subject with several scans counts by its worst.
    """
    edge = logit_dice(rule.dice)
    bad = [[p for p, truth in pairs if truth < edge] for pairs in line.held_out]
    scores = [max(wrong or [p for p, _ in pairs]) for wrong, pairs in zip(bad, line.held_out, strict=True)]
    return bound_risk(scores, [bool(wrong) for wrong in bad], rule.risk)


def _regression(document: Mapping[str, Any], schema: int) -> Regression:
    """Read a regression, with the score by its name of today."""
    regression = Regression.from_json(document)
    return regression if schema == _SCHEMA else regression.renamed({"pairwise_dice": POOLED})


def _shown(
    target: str, line: Regression | None, scores: Mapping[str, float | None], width: Width | None
) -> tuple[float, float] | None:
    """Interval of a target in its own unit; ``None`` where there is none."""
    if line is None or width is None:
        return None
    if width == "usual":
        return _in_unit(target, line.narrow_interval(scores, COVERAGE))
    return _in_unit(target, line.interval(scores, COVERAGE, width))


def _confident(
    target: str,
    line: Regression | None,
    scores: Mapping[str, float | None],
    confidence: float,
    width: Width | None,
) -> tuple[float, float] | None:
    """The same for most calibration sets, by the line; only of a scan that has the usual intervals."""
    if line is None or width != "usual":
        return None
    coverage = confident_coverage(len(line.held_out), COVERAGE, confidence)
    return None if coverage is None else _in_unit(target, line.interval(scores, coverage))


def _in_unit(target: str, ends: tuple[float, float] | None) -> tuple[float, float] | None:
    if ends is None:
        return None
    return dice_range(*ends) if target == "dice" else factor_range(*ends)


def _joined(
    confident: tuple[float, float] | None, usual: tuple[float, float] | None
) -> tuple[float, float] | None:
    """A confident interval holds the usual one, which may be of another kind."""
    if confident is None or usual is None:
        return confident
    return min(confident[0], usual[0]), max(confident[1], usual[1])


def _has_interval(structure: StructureAssessment) -> bool:
    return (structure.dice_interval, structure.volume_factors, structure.border_interval_mm) != (None,) * 3


def width_of(unlikeness: Unlikeness | None) -> Width | None:
    """Which intervals a scan gets; the usual ones where it cannot be compared with the calibration scans.

    Args:
        unlikeness: of the scan.

    Returns:
        The width; ``None`` for no interval.
    """
    if unlikeness is None:
        return "usual"
    return None if unlikeness.undefined else WIDTHS[unlikeness.likeness]


def _share(log_odds: float) -> float:
    return float(expit(log_odds))
