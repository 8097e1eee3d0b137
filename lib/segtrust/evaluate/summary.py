"""Everything that a report shows, as one JSON document: figures, curves, tables, and the scans by Dice."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from segtrust.evaluate.card import make_card
from segtrust.evaluate.cases import REGIONS, CaseRecord
from segtrust.evaluate.coverage import dice_coverage
from segtrust.evaluate.curves import reliability_points, risk_coverage
from segtrust.evaluate.pools import ErrorPool
from segtrust.evaluate.ranking import score_interval
from segtrust.evaluate.records import RecordSet
from segtrust.metrics import cluster_bootstrap, error_aupr, error_fpr, finite_or_none

__all__ = ["SCHEMA", "mean_dice_of", "summarise"]

SCHEMA = 1
"""Form of the document; another one is not read."""


def summarise(records: RecordSet, *, title: str, notes: Sequence[str] = ()) -> dict[str, Any]:
    """Put figures and curves together.

    Args:
        records: every scan.
        title: of the page.
        notes: what a reader must know besides: labels without probabilities, where calibrators come from.

    Returns:
        JSON: ``origin`` (protocol hash, model, software, command), ``card`` (see
        :func:`segtrust.evaluate.card.make_card`), ``reliability[system][region]``, ``detection[map]`` and
        ``ranking[score]`` of all registered methods, ``risk_coverage[score]``, ``coverage`` of intervals of
        the Dice (see :func:`segtrust.evaluate.coverage.dice_coverage`), ``cases`` from the worst to the best.
        Without records the card counts 0 scans, and the rest is empty.
    """
    head = {
        "schema": SCHEMA,
        "title": title,
        "notes": list(notes),
        "origin": {
            name: getattr(records, name)
            for name in ("protocol", "role", "condition", "model", "software", "command")
        },
        "structures": list(records.structures),
        "main": records.main,
    }
    return {**head, **(_figures(records) if records.records else _NOTHING)}


def _figures(records: RecordSet) -> dict[str, Any]:
    cases, main = records.records, records.main
    subjects = [r.subject for r in cases]
    return {
        # the scores of the registry are in `ranking`
        "card": make_card([replace(r, scores=None) for r in cases], records.structures, main=main),
        "reliability": {
            system: {
                region: reliability_points([r.totals[system][region] for r in cases], subjects)
                for region in REGIONS
            }
            for system in cases[0].totals
        },
        "detection": _detection(cases),
        "ranking": _ranking(cases, main),
        "risk_coverage": _risk_coverage(cases, main),
        "coverage": dice_coverage(cases, records.structures, main=main),
        "cases": sorted((_case(r, main) for r in cases), key=lambda case: _worst_first(case["mean_dice"])),
    }  # fmt: skip


_NOTHING: dict[str, Any] = {
    "card": {"scans": 0, "subjects": 0},
    **{name: {} for name in ("reliability", "detection", "ranking", "risk_coverage", "coverage")},
    "cases": [],
}


def mean_dice_of(record: CaseRecord, system: str) -> float:
    """Mean Dice over the structures that are in the mask or the label; NaN if there is none."""
    dice = record.dice[system]
    return float(np.nanmean(dice)) if np.isfinite(dice).any() else float("nan")


def _detection(cases: Sequence[CaseRecord]) -> dict[str, Any]:
    subjects = [r.subject for r in cases]
    table = {}
    for name in cases[0].maps:
        pool = ErrorPool([r.maps[name] for r in cases])
        table[name] = {
            "auroc": cluster_bootstrap(subjects, pool.auroc, kind="share", where=pool.has_voxels).to_json(),
            "aupr": finite_or_none(error_aupr(pool.whole())),
            "fpr95": finite_or_none(error_fpr(pool.whole())),
        }
    return table


def _ranking(cases: Sequence[CaseRecord], main: str) -> dict[str, Any]:
    subjects, dice = [r.subject for r in cases], [r.dice[main] for r in cases]
    table = {}
    for name in cases[0].methods:
        values = [r.methods[name] for r in cases]
        table[name] = {
            **{
                kind: score_interval(subjects, values, dice, kind=kind, of="logit_dice")
                for kind in ("pearson", "spearman")
            },
            "scans": sum(value is not None for value in values),
        }
    return table


def _risk_coverage(cases: Sequence[CaseRecord], main: str) -> dict[str, Any]:
    risks, subjects = [1 - mean_dice_of(r, main) for r in cases], [r.subject for r in cases]
    curves = {
        name: risk_coverage([r.methods[name] for r in cases], risks, subjects) for name in cases[0].methods
    }
    return {name: curve for name, curve in curves.items() if curve is not None}


def _worst_first(dice: float | None) -> float:
    return math.inf if dice is None else dice


def _case(record: CaseRecord, main: str) -> dict[str, Any]:
    band = record.totals[main]["band"].figures()
    return {
        "id": record.id,
        "subject": record.subject,
        "mean_dice": finite_or_none(mean_dice_of(record, main)),
        "dice": [finite_or_none(v) for v in record.dice[main].tolist()],
        "nll_band": finite_or_none(band["nll"]),
        "ece_band": finite_or_none(band["ece"]),
        "missed": list(record.missed),
        "methods": {name: v if v is None else finite_or_none(v) for name, v in record.methods.items()},
    }
