"""The targets of the quality part against what was measured on untouched scans, clean and shifted."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from segtrust.evaluate.card import score_correlation
from segtrust.evaluate.cases import CaseRecord
from segtrust.evaluate.pools import ErrorPool, mean_dice
from segtrust.evaluate.quality_figures import judge_predictions
from segtrust.metrics.bootstrap import cluster_bootstrap, finite_or_none
from segtrust.models import ModelSpec
from segtrust.quality import Assessment, ContourRule, FineRule, Quality, Unlikeness, logit_dice

__all__ = ["check_targets"]

Entry = dict[str, Any]
Said = Mapping[str, Sequence[Assessment]]
Conditions = Mapping[str, Sequence[CaseRecord]]
_CLEAN = "clean"


def check_targets(
    targets: Mapping[str, Any],
    quality: Quality,
    spec: ModelSpec,
    clean: Sequence[CaseRecord],
    shifted: Conditions,
    *,
    system: str,
) -> dict[str, Any]:
    """Say of every target what was measured, on how many, and by how much it is missed.

    Args:
        targets: content of ``benchmarks/targets.json``.
        quality: the quality part of the version that is judged.
        spec: names the structures.
        clean: records of untouched scans, with features and truth.
        shifted: records of the same scans under each shift.
        system: the system that is served.

    Returns:
        ``targets``: entries with ``group``, ``words``, ``n`` in words, ``value``, ``low`` and ``high``
        (limits; ``None`` for none), ``interval`` (95 % over subjects, where there is one), ``met``,
        ``by`` (how far off, 0 if met). ``shifts``: for each condition mean Dice, correlation of predicted and
        true quality, AUROC of the p-value. ``judged``: counts on all clean scans and on one of each subject.

    Source:
        Vovk 2012 for the distribution of coverage.
    """
    contours = ContourRule(targets["contours"]["coverage"], targets["contours"]["share"])
    conditions: Conditions = {_CLEAN: clean, **shifted}
    assessments = {
        name: [quality.assess(r.scores, r.features, FineRule(), contours) for r in records if r.scores]
        for name, records in conditions.items()
    }
    once = [i for i, r in enumerate(clean) if r.subject not in {q.subject for q in clean[:i]}]
    judged = {
        kind: judge_predictions(
            spec, [(assessments[_CLEAN][i], clean[i].truth) for i in rows], quality.subjects
        )
        for kind, rows in (("scans", range(len(clean))), ("subjects", once))
    }
    shifts = {
        name: _under_shift(spec, conditions[name], assessments[name], assessments[_CLEAN], system)
        for name in shifted
    }
    return {
        "targets": [
            *_coverage(spec, judged["subjects"]),
            *_widths(targets, spec, [(assessments[_CLEAN][i], clean[i]) for i in once]),
            _error_auroc(targets, clean, system),
            *_correlations(targets, spec, conditions, assessments, system),
            *_detection(targets, conditions, shifts, system),
            *_contours(spec, judged["subjects"]),
        ],
        "shifts": shifts,
        "judged": judged,
    }


def _entry(
    group: str,
    words: str,
    n: str,
    value: float,
    *,
    low: float | None = None,
    high: float | None = None,
    interval: tuple[float, float] | None = None,
) -> Entry:
    by = max(0.0, (low - value) if low is not None else 0.0, (value - high) if high is not None else 0.0)
    defined = bool(np.isfinite(value))
    return {
        "group": group,
        "words": words,
        "n": n,
        "value": finite_or_none(value),
        "low": low,
        "high": high,
        "interval": None if interval is None else [finite_or_none(end) for end in interval],
        "met": defined and by == 0,
        "by": finite_or_none(by) if defined else None,
    }


def _coverage(spec: ModelSpec, judged: Mapping[str, Any]) -> list[Entry]:
    entries = []
    for label in spec.labels:
        own = judged["structures"][label.name]
        dice = {"n": own["intervals"], "inside": own["inside"], "expected": own["expected_inside"]}
        for what, counts in (("Dice", dice), ("volume", own["volume"])):
            if counts["expected"] is not None:
                low, high = counts["expected"]
                n = f"{counts['n']} of {judged['scans']} subjects"
                words = f"90 % intervals of the {what} of {label.name} that hold it"
                entries.append(_entry("coverage", words, n, counts["inside"], low=low, high=high))
    return entries


def _widths(
    targets: Mapping[str, Any], spec: ModelSpec, judged: Sequence[tuple[Assessment, CaseRecord]]
) -> list[Entry]:
    entries = []
    for label in spec.labels:
        own = [(a.structures[label.value], r.truth[label.value]) for a, r in judged]
        dice = [(s.dice_interval[1] - s.dice_interval[0], t.dice) for s, t in own if s.dice_interval]
        volume = [
            ((s.volume_factors[1] - s.volume_factors[0]) * t.volume_ml / t.volume_ratio, t.volume_ml)
            for s, t in own
            if s.volume_factors and t.volume_ml and t.volume_ratio
        ]
        for what, pairs in (("Dice", dice), ("volume", volume)):
            if pairs:
                widths, true = np.array(pairs, np.float64).T
                low, high = np.quantile(true, [0.05, 0.95])
                words = (
                    f"median width of the intervals of the {what} of {label.name} over that of 90 % of all"
                )
                ratio = float(np.median(widths) / (high - low))
                most = targets["intervals"]["width_of_marginal"]
                entries.append(_entry("width", words, f"{len(pairs)} subjects", ratio, high=most))
    return entries


def _error_auroc(targets: Mapping[str, Any], clean: Sequence[CaseRecord], system: str) -> Entry:
    subjects, pool = [r.subject for r in clean], ErrorPool([r.errors[system] for r in clean])
    auroc = cluster_bootstrap(subjects, pool.auroc, where=pool.has_voxels, kind="share")
    words = "AUROC of the entropy for wrong voxels, clean, band"
    n = f"{len(clean)} scans of {auroc.subjects} subjects"
    return _entry("errors", words, n, auroc.value,
                  low=targets["error_auroc_band"]["least"], interval=(auroc.low, auroc.high))  # fmt: skip


def _correlations(
    targets: Mapping[str, Any], spec: ModelSpec, conditions: Conditions, assessments: Said, system: str
) -> list[Entry]:
    wanted, entries = targets["quality_correlation"], []
    shifts = [name for name in conditions if name != _CLEAN]
    for group, names in (("quality under shift", shifts), ("quality, clean", [_CLEAN])):
        for label in spec.labels if names else ():
            rows = [
                (r.subject, *pair)
                for name in names
                for r, pair in zip(
                    conditions[name],
                    _logits(conditions[name], assessments[name], label.value),
                    strict=True,
                )
            ]
            subjects = [row[0] for row in rows]
            values = np.array([row[1:] for row in rows], np.float64)
            r = cluster_bootstrap(
                subjects,
                lambda i, v=values: _pearson(v[list(i)]),  # type: ignore[misc]
                where=np.isfinite(values).all(axis=1),
                kind="correlation",
                draws=300,
            )
            n = f"{int(np.isfinite(values).all(axis=1).sum())} predictions, {r.subjects} subjects"
            words = f"correlation of predicted and true logit Dice, {label.name}"
            low = wanted["least"] if group == "quality under shift" else None
            entries.append(_entry(group, words, n, r.value, low=low, interval=(r.low, r.high)))
    clean = conditions[_CLEAN]
    aim = cluster_bootstrap(
        [r.subject for r in clean],
        lambda rows: score_correlation(clean, rows, "entropy", "pearson", system),
        kind="correlation",
    )
    words, n = "correlation of the entropy with logit Dice (aim)", f"{len(clean)} scans"
    entries.append(
        _entry("quality, clean", words, n, aim.value, high=wanted["clean_aim"], interval=(aim.low, aim.high))
    )
    return entries


def _detection(
    targets: Mapping[str, Any], conditions: Conditions, shifts: Mapping[str, Entry], system: str
) -> list[Entry]:
    wanted = targets["out_of_distribution"]
    clean = conditions[_CLEAN]
    dice = mean_dice(clean, range(len(clean)), system, None)
    return [
        _entry(
            "out of distribution",
            f"AUROC of the p-value, {name}: mean Dice falls by {dice - shift['dice']:.2f}",
            f"{len(conditions[name])} scans and as many clean ones",
            shift["auroc"],
            low=wanted["auroc"],
        )
        for name, shift in shifts.items()
        if dice - shift["dice"] >= wanted["dice_fall"]
    ]


def _contours(spec: ModelSpec, judged: Mapping[str, Any]) -> list[Entry]:
    rows = [
        (f"{side} contours of {label.name} that are right (each)", judged["structures"][label.name][side])
        for label in spec.labels
        for side in ("outer", "inner")
        if side in judged["structures"][label.name]
    ]
    if "joint" in judged:
        rows.append(("subjects with all contours right at once (joint)", judged["joint"]))
    return [
        _entry("contours", words, f"{counts['n']} of {judged['scans']} subjects", counts["inside"],
               low=counts["expected"][0])
        for words, counts in rows
    ]  # fmt: skip


def _under_shift(
    spec: ModelSpec,
    records: Sequence[CaseRecord],
    assessments: Sequence[Assessment],
    clean: Sequence[Assessment],
    system: str,
) -> Entry:
    strange, usual = (np.array([_strangeness(a.unlikeness) for a in group]) for group in (assessments, clean))
    return {
        "dice": mean_dice(records, range(len(records)), system, None),
        "correlation": {
            label.name: finite_or_none(_pearson(np.array(_logits(records, assessments, label.value))))
            for label in spec.labels
        },
        "auroc": float(stats.mannwhitneyu(strange, usual).statistic / (len(strange) * len(usual))),
        "unlike": sum(a.is_unlike for a in assessments),
    }


def _strangeness(unlikeness: Unlikeness | None) -> float:
    """Minus the p-value; 1, stranger than any, where it is not that of all detectors."""
    if unlikeness is None or unlikeness.undefined or unlikeness.p_value is None:
        return 1.0
    return -unlikeness.p_value


def _logits(
    records: Sequence[CaseRecord], assessments: Sequence[Assessment], value: int
) -> list[tuple[float, float]]:
    """Predicted and true log odds of Dice of one structure, NaN where one is not defined."""
    pairs = []
    for record, assessment in zip(records, assessments, strict=True):
        predicted, true = assessment.structures[value].predicted_dice, record.truth[value].dice
        pairs.append((np.nan if predicted is None else logit_dice(predicted),
                      np.nan if np.isnan(true) else logit_dice(true)))  # fmt: skip
    return pairs


def _pearson(pairs: NDArray[np.float64]) -> float:
    defined = pairs[np.isfinite(pairs).all(axis=1)]
    if len(defined) < 3 or (np.ptp(defined, axis=0) == 0).any():
        return float("nan")
    return float(np.corrcoef(defined.T)[0, 1])
