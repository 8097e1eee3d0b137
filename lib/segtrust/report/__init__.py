"""Pages for people: one self-contained HTML file per report, with real overlays and nothing to fetch."""

from segtrust.report.cohort_page import CohortPage, ScanCard, render_cohort, write_cohort_page
from segtrust.report.evaluation_page import read_evaluation, render_evaluation, write_evaluation_page
from segtrust.report.overlay import Slice, draw_slices
from segtrust.report.scale import CHANCE_RANGE, chance_colours, colour_bar
from segtrust.report.simulation_page import render_simulation, strategy_name, write_simulation_page

__all__ = [
    "CHANCE_RANGE",
    "CohortPage",
    "ScanCard",
    "Slice",
    "chance_colours",
    "colour_bar",
    "draw_slices",
    "read_evaluation",
    "render_cohort",
    "render_evaluation",
    "render_simulation",
    "strategy_name",
    "write_cohort_page",
    "write_evaluation_page",
    "write_simulation_page",
]
