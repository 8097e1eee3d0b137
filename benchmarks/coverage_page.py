"""Writes docs/reference/interval-coverage.md of what run_coverage.py measured; `--check` only compares."""

import json
import math
import sys
from collections.abc import Iterable
from pathlib import Path

from scipy import stats

from segtrust.experiments.pages import Json, paragraph, table, write_or_check
from segtrust.quality import COVERAGE, confident_coverage, least_subjects

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "interval-coverage.json"
PAGE = ROOT / "docs" / "reference" / "interval-coverage.md"
CONFIDENCE = 0.95
PATIENTS = (10, 15, 20, 26, 29, 50, 100)

MADE = """Made by `python benchmarks/coverage_page.py`; the measured part from
`benchmarks/results/interval-coverage.json` (`python benchmarks/run_coverage.py`). What intervals are:
[quality](../explanation/quality.md)."""
THEORY = """An interval rests on the rank of one error among those of n calibration patients. If what
predicts were fixed beforehand, the share of scans that it covers for *one* calibration set would follow a
beta distribution (Vovk 2012), whatever the model and the law of the errors. *Marginal*: its mean, which
is what "at most 10 % miss" is about. *Unlucky*: its 5th percentile; one calibration set in twenty covers
less. *Confident*: the 5th percentile with the rank of confident intervals, the smallest with which it is
at least .90. They take {least} patients (.9 to the power of {least} is .047), with fewer there are none."""
HOLDS = """**What is proven.** The usual intervals: at least 90 % on average over calibration sets, for
lines that are fitted and chosen on the same patients too (jackknife-minmax, Barber et al. 2021), for
several scans of a patient too (a patient counts by the worst); for Dice with one scan of each patient
the share of the column *marginal* exactly, but for where the line widens them (full conformal prediction,
Vovk et al. 2005). The beta law, and so the confident
interval, is proven for a prediction that was fixed beforehand. For one that was fitted to the same
patients Bian & Barber 2023 prove that jackknife+ and full conformal prediction have no such bound for
every way to fit; for jackknife-minmax none is known to us. It spreads the interval over all lines that
lack one patient, which makes it wider; whether confident intervals hold all the same can only be
measured. An interval promises nothing for scans of another kind."""
MEASURED = """Measured with the intervals of lines, before those of Dice rested on two scores (`ridge`,
[decision 0017](../decisions/0017-widths.md)); for these `tests/quality/test_ridge.py` counts. Made-up
scans, through the whole path up to the numbers of an answer: Dice by a law (*beta*; *lognormal*, 1 less a
log-normal error; *mixture*, a beta with 10 % of scans at 0 and 15 % at 1) with the given mean, a score that
follows it, a volume and a border. {fresh} fresh patients are judged for each calibration set. *Closed*: as
before ends at the clip were opened (Dice .005 and .995, volumes and borders a factor of 20, borders so from
0.05 mm). Standard errors of a mean are at most {error:.3f}. *Unlucky*: 5th percentile over calibration
sets, lower than that of the law above since {fresh} patients are few. No mean may lie below .90 by more
than chance: the lowest is {lowest:.3f}."""
CONFIDENT = """Confident intervals of the Dice. *Reach*: share of calibration sets that cover at least .90
of {fresh} fresh patients; nominal .95, and counted on so few patients a little lower than it is."""


def page(result: Json) -> str:
    """The whole page."""
    cells = sorted(result["cells"], key=lambda c: (c["patients"], c["scans"], c["mean"], c["law"]))
    usual = [f for c in cells for f in c["figures"]["usual"].values()]
    lines = [
        "# How often intervals hold\n",
        paragraph(MADE),
        "## What holds\n",
        paragraph(THEORY.format(least=least_subjects(COVERAGE, CONFIDENCE))),
        *table(("patients", "marginal", "unlucky", "confident: marginal", "unlucky"), map(law, PATIENTS)),
        paragraph(HOLDS),
        "## Measured\n",
        paragraph(
            MEASURED.format(
                fresh=result["fresh"],
                error=max(f["error"] for f in usual),
                lowest=min(f["mean"] for f in usual),
            )
        ),
        *table(
            ("patients", "scans of each", "law", "mean Dice", "sets", "Dice, closed", "Dice",
             "unlucky", "volume, closed", "volume", "border, closed", "border"),
            map(measured, cells),
        ),
        *surer(cells, result["fresh"]),
    ]  # fmt: skip
    return "\n".join(lines).rstrip("\n") + "\n"


def law(patients: int) -> tuple[str, ...]:
    """What the beta law says for a rank among so many patients."""
    rank = math.ceil((patients + 1) * COVERAGE - 1e-9)
    surer = confident_coverage(patients, COVERAGE, CONFIDENCE)
    ranks = (rank, None if surer is None else round(surer * (patients + 1)))
    return str(patients), *(number for k in ranks for number in _mean_and_low(k, patients))


def _mean_and_low(rank: int | None, patients: int) -> tuple[str, str]:
    if rank is None:
        return "-", "-"
    share = stats.beta(rank, patients + 1 - rank)
    return f"{share.mean():.3f}", f"{share.ppf(1 - CONFIDENCE):.2f}"


def measured(cell: Json) -> tuple[str, ...]:
    """One row of usual intervals, each beside what it was with closed ends."""
    closed, usual = cell["figures"]["closed"], cell["figures"]["usual"]
    cells = [_figure(closed, "dice"), _figure(usual, "dice"), _figure(usual, "dice", "worst", 2)]
    for target in ("volume", "border"):
        cells += [_figure(closed, target), _figure(usual, target)]
    return (
        str(cell["patients"]),
        str(cell["scans"]),
        cell["law"],
        f"{cell['mean']:g}",
        str(cell["sets"]),
        *cells,
    )


def surer(cells: Iterable[Json], fresh: int) -> list[str]:
    """The part on confident intervals."""
    rows = confident(cells)
    if not rows:
        return [paragraph("Confident intervals were not measured in these cells.")]
    head = ("patients", "law", "mean Dice", "sets", "marginal", "unlucky", "reach", "reach, usual")
    return [paragraph(CONFIDENT.format(fresh=fresh)), *table(head, rows)]


def confident(cells: Iterable[Json]) -> list[tuple[str, ...]]:
    """Rows of the cells with enough patients."""
    return [
        (str(c["patients"]), c["law"], f"{c['mean']:g}", str(c["sets"]), _figure(own, "dice"),
         _figure(own, "dice", "worst", 2), _figure(own, "dice", "reach", 2),
         _figure(c["figures"]["usual"], "dice", "reach", 2))
        for c in cells
        if (own := c["figures"]["confident"])
    ]  # fmt: skip


def _figure(figures: Json, target: str, name: str = "mean", digits: int = 3) -> str:
    return f"{figures[target][name]:.{digits}f}" if target in figures else "-"


if __name__ == "__main__":
    sys.exit(write_or_check((PAGE, page(json.loads(RESULT.read_text(encoding="utf-8"))))))
