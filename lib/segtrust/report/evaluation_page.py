"""The page of an evaluation: how far probabilities can be trusted, and how to read each figure."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segtrust.errors import SettingError
from segtrust.evaluate.cases import REGIONS
from segtrust.evaluate.summary import SCHEMA
from segtrust.evaluate.surfaces import SURFACE_TOLERANCE_MM
from segtrust.evaluate.table import shown
from segtrust.report.figures import draw_coverage, draw_reliability, draw_risk_coverage, draw_score
from segtrust.report.pages import fill_template
from segtrust.report.palette import OUTLINE_COLOURS
from segtrust.report.scale import CHANCE_RANGE, colour_bar

__all__ = ["read_evaluation", "render_evaluation", "write_evaluation_page"]


def read_evaluation(path: Path) -> dict[str, Any]:
    """Read what `segtrust evaluate` wrote.

    Args:
        path: ``evaluation.json``.

    Returns:
        The document.

    Raises:
        SettingError: if it is missing or of another form.
    """
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        schema = document["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingError(f"{path} must be an evaluation.json of segtrust, but {error!r}.") from error
    if schema != SCHEMA:
        raise SettingError(f"{path} must have schema {SCHEMA}, got {schema}. Evaluate again.")
    return document


def render_evaluation(document: Mapping[str, Any]) -> str:
    """The page as HTML that needs no other file and no network.

    Args:
        document: of :func:`segtrust.evaluate.summary.summarise`, with ``pictures``.

    Returns:
        A complete HTML document.
    """
    structures, main = document["structures"], document["main"]
    curves = document["risk_coverage"]
    first = next(iter(document["ranking"]), None)
    low, high = CHANCE_RANGE
    return fill_template(
        "evaluation.html.jinja",
        page=document,
        failed=document.get("failed", {}),
        card=document["card"],
        main=main,
        regions=REGIONS,
        surfaces=document["card"].get("surfaces", {}).get("systems", {}).get(main),
        tolerance=f"{SURFACE_TOLERANCE_MM:g}",
        shown=shown,
        reliability={
            region: draw_reliability(curves_of) if any(curves_of.values()) else None
            for region in REGIONS
            for curves_of in [
                {name: document["reliability"][name][region] for name in document["reliability"]}
            ]
        },
        risk=draw_risk_coverage(curves, band_of=first or "") if curves else None,
        coverage={name: draw_coverage(figures["points"]) for name, figures in document["coverage"].items()},
        score=first,
        scatter=None
        if first is None
        else draw_score(
            [
                (case["methods"][first], case["mean_dice"])
                for case in document["cases"]
                if case["methods"][first] is not None and case["mean_dice"] is not None
            ],
            name=first,
        ),
        bar=colour_bar(),
        ticks=[low + (high - low) * k / 5 for k in range(6)],
        colours={name: OUTLINE_COLOURS[k % len(OUTLINE_COLOURS)] for k, name in enumerate(structures)},
    )


def write_evaluation_page(document: Mapping[str, Any], path: Path) -> None:
    """Write the page to a file.

    Args:
        document: what to show.
        path: the HTML file; replaced if it exists.
    """
    path.write_text(render_evaluation(document), encoding="utf-8")
