"""Pages of the tables: every figure on them is one of the result, worked by hand."""

from pathlib import Path

import numpy as np
import pytest

from segtrust.experiments import pages as tables

HERE = Path(__file__).parents[2] / "benchmarks" / "papers"
RESULTS = HERE.parent / "results"


@pytest.fixture(scope="module")
def pages():
    """The modules; they import each other by name, as scripts do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        import mehrtash_page  # noqa: PLC0415
        import methods_table_page  # noqa: PLC0415

        yield tables, mehrtash_page, methods_table_page


def found(value, low=None, high=None):
    return {"value": value, "low": value if low is None else low, "high": value if high is None else high}


def figures(nll, dice=0.8):
    names = [f"{f}_{r}" for f in ("nll", "brier", "ece") for r in ("band", "outside", "volume")]
    return {"dice": found(dice), **{name: found(nll) for name in names}, "error_auroc_band": found(0.9)}


def test_cells_of_a_table():
    assert tables.interval(found(0.12345, 0.1, 0.2)) == "0.123 (0.100 to 0.200)"
    assert tables.interval(found(-0.5, -0.6, 0.1), 1, sign=True) == "-0.5 (-0.6 to +0.1)"
    assert tables.interval({"value": None, "low": None, "high": None}) == "-"
    assert tables.percent(found(0.44, 0.3, 0.66)) == "44 (30 to 66)"
    assert tables.table(("a", "b"), [("1", "2")]) == ["| a | b |", "|---|---|", "| 1 | 2 |", ""]
    assert max(map(len, tables.paragraph("word " * 60).split("\n"))) <= 110


def test_the_papers_cuts_follow_from_its_curves(pages):
    _, page, _ = pages
    rows = {line.split(" | ")[0]: line for line in page.paper_table()[2:-1]}
    # heart, Dice: 1 - .295 / .519; the text says 44 %
    assert rows["| heart, Dice"].endswith("| 43 % |")
    # brain, Dice: 1 - .568 / 1.474; the text says 62 %
    assert rows["| brain, Dice"].endswith("| 61 % |")
    assert rows["| prostate, Dice"].endswith("| 66 % |")


def test_raw_systems_alone_are_in_the_first_table(pages):
    _, page, _ = pages
    systems = {
        "dice, batch | 5 | raw": figures(0.25, 0.81),
        "dice, batch | 5 | distance_temperature": figures(0.125, 0.81),
    }
    lines = page.raw_table(systems)
    assert len(lines) == 4
    nll = "0.2500 (0.2500 to 0.2500)"
    assert lines[2] == f"| dice, batch | 5 | 0.810 (0.810 to 0.810) | {nll} | {nll} | {nll} |"
    # raw and calibrated side by side, three regions, NLL and ECE
    assert page.region_table(systems)[2] == "| dice, batch; 5 |" + " 0.2500 | 0.1250 |" * 6


def test_cuts_are_in_per_cent(pages):
    _, page, _ = pages
    cuts = {"dice, batch | 5 | raw": {"volume": found(0.5, 0.44, 0.66), "band": found(-0.1, -0.2, 0.0)}}
    assert page.cut_table(cuts)[2] == "| dice, batch | 5 | 50 (44 to 66) | -10 (-20 to 0) |"


def test_what_was_not_measured_is_named(pages):
    _, page, _ = pages
    text = page.page({})
    assert "Not run: hippocampus, dropout, heart, shifts." in text


def part_of(arms, structures=2):
    systems = [f"{arm} | {size} | {kind}" for arm in arms for size in (1, 5) for kind in ("raw", CALIBRATOR)]
    return {
        "scans": 30,
        "subjects": 15,
        "systems": {name: figures(0.5) for name in systems},
        "cuts": {f"{arm} | 5 | raw": {"volume": found(0.44), "band": found(0.2)} for arm in arms},
        "correlations": {
            name: {k: found(-0.5) for k in ("mean", *map(str, range(1, structures + 1)))}
            for name in systems
            if name.endswith("raw")
        },
        "dice_per_structure": {f"{arm} | 5 | raw": [0.5] * structures for arm in arms},
    }


CALIBRATOR = "distance_temperature"
ENDS = {"box": found(0.9), "command": "python benchmarks/papers/mehrtash.py", "members": 5}
RESULTS_BY_HAND = {
    "hippocampus": {
        **ENDS,
        "ensembles": part_of(("dice, batch", "ce, batch", "dice_ce, batch")),
    },
    "dropout": {
        **ENDS,
        "losses_run": ["dice_ce"],
        "planned": 1,
        **part_of(("dice_ce, batch", "dice_ce, dropout")),
    },
    "heart": {
        **ENDS,
        "ensembles": part_of(("dice",), 3),
        "patients": {"train": 35, "val": 10, "test": 15},
        "budget": {"epochs": 16},
        "losses_run": ["dice"],
    },
    "shifts": {
        **ENDS,
        "cell": "dice_ce, batch",
        "subjects": 39,
        "clean": {"dice": 0.82, "correlation": found(-0.4)},
        "shifted_pooled": found(-0.8),
        "conditions": {
            name: {
                "dice": dice,
                "correlation": found(-0.6),
                "auroc": {"segment entropy (paper)": found(value), "combined (ours)": found(1.0)},
            }
            for name, dice, value in (("noise-3", 0.6, 0.97), ("blur-3", 0.72, 0.91), ("gamma-1", 0.8, 0.5))
        },
    },
}


def test_the_whole_page_names_what_was_not_run(pages):
    _, page, _ = pages
    text = page.page(RESULTS_BY_HAND)
    assert "Not run: MC dropout with dice, ce, and with instance normalisation." in text
    assert "n = 30 volumes" in text
    assert "\nNot run: ce.\n" in text
    assert "| noise-3 | 0.600 | -0.60 (-0.60 to -0.60) | 0.97 (0.97 to 0.97) |" in text


def test_strengths_that_were_measured_before_stand_by_themselves(pages):
    _, page, _ = pages
    now = RESULTS_BY_HAND["shifts"]
    before = {
        **now,
        "command": "before",
        "conditions": {"blur-2": {**now["conditions"]["blur-3"], "dice": 0.7}},
    }
    lines = page.shifts({**now, "earlier": before})
    first = next(i for i, line in enumerate(lines) if line.startswith("| gamma-1 "))
    assert lines.index(next(line for line in lines if line.startswith("| blur-2 "))) > first + 2
    assert sum(line.startswith("`before`, ") for line in lines) == 1
    rows = page.summary({"shifts": {**now, "earlier": before}})
    assert any("shifts of strength 1, 3 together" in line for line in rows)
    assert any("shifts of strength 2 together" in line for line in rows)
    # .6, .72 and, of before, .7: .10 or more below .82
    assert any(line.endswith("| 3 conditions of 39 subjects |") for line in rows)


def test_shifts_that_are_missing_at_a_strength_are_named(pages):
    _, page, _ = pages
    kinds = ("noise", "blur", "thick_slices", "bias_field", "gamma", "contrast", "ghosting", "motion")
    assert page.not_shifted({f"{kind}-1": {} for kind in kinds}) == []
    assert page.not_shifted({f"{kind}-1": {} for kind in kinds[:6]}) == ["ghosting-1", "motion-1"]
    assert "Not run: blur-3, " in " ".join(
        page.shifts(
            {
                **RESULTS_BY_HAND["shifts"],
                "conditions": {"noise-3": RESULTS_BY_HAND["shifts"]["conditions"]["noise-3"]},
            }
        )
    )


def test_passes_that_were_added_are_said_to_be(pages):
    _, page, _ = pages
    text = " ".join(page.page(RESULTS_BY_HAND).split())
    # one pass was planned, five were run as well
    assert "1 passes were planned; 5 were added after those had been read" in text
    planned = {**RESULTS_BY_HAND["dropout"], "planned": 5}
    assert "5 passes were planned; no others were run." in " ".join("\n".join(page.dropout(planned)).split())


def test_most_passes_are_held_against_fewer_pair_by_pair(pages):
    _, page, _ = pages
    less = {"one member": {f: found(0.01, -0.02, 0.03) for f in ("dice", *page.RAW_FIGURES)}}
    lines = page.dropout({**RESULTS_BY_HAND["dropout"], "differences": {"dice_ce": less}})
    assert "| one member" + " | +0.0100 (-0.0200 to +0.0300)" * 4 + " |" in lines


def test_figures_older_than_the_fit_of_the_temperature_are_named(pages):
    _, page, _ = pages
    assert "not measured again" in page.fit_note({})
    assert page.fit_note({"fitted_by": "decision 0013"}) == "T(d) is fitted by decision 0013."


def test_the_summary_takes_strong_shifts_alone(pages):
    _, page, _ = pages
    lines = page.summary(RESULTS_BY_HAND)
    cut = "| 44 to 66 | 44 (44 to 44) | 30 scans, 15 subjects |"
    assert f"| hippocampus: NLL cut by five members, dice, raw, % {cut}" in lines
    assert "| heart: NLL cut by five members, ce, raw, % | 31 | not run | 30 scans, 15 subjects |" in lines
    # Dice falls by .22 and .10, not by .02
    assert any(
        line.endswith("the paper's detector | not obtainable | 0.91 to 0.97 | 2 conditions of 39 subjects |")
        for line in lines
    )
    nll = " | ensembles better than dropout | " + "; ".join(["0.5000 (0.5000 to 0.5000)"] * 4)
    passes = "hippocampus: NLL of one member; 1 and 5 dropout passes; five members, dice_ce, raw"
    assert f"| {passes}{nll} | 30 scans, 15 subjects |" in lines
    assert 4 <= sum(line.startswith("| h") for line in lines) <= 10
    assert "](reference/mehrtash.md)" in lines[-1]


def test_a_summary_without_results_says_so(pages):
    _, page, _ = pages
    assert "Not run: hippocampus, dropout, heart, shifts.\n" in page.summary({})


BASE = "dice_ce | ensemble | 2 | distance_temperature"
SYSTEMS = {
    BASE: figures(0.13),
    "dice_ce | single | 1 | distance_temperature": figures(0.15),
    "dice | single | 1 | distance_temperature": figures(0.12),
    "ce | ensemble | 2 | raw": figures(0.3),
}
RESULT = {
    "scans": 52,
    "subjects": 26,
    "command": "python benchmarks/papers/methods_table.py",
    "base": BASE,
    "systems": SYSTEMS,
    "differences": {
        "dice_ce | single | 1 | distance_temperature": {"nll_band": found(0.02), "p": 0.001, "p_holm": 0.003},
        "dice | single | 1 | distance_temperature": {"nll_band": found(-0.01), "p": 0.01, "p_holm": 0.02},
        "ce | ensemble | 2 | raw": {"nll_band": found(0.17), "p": 0.3, "p_holm": 0.3},
    },
    "cost": {
        "members": 2,
        "training": {"dice_ce | single": 81.6, "dice_ce | MC dropout": 99.5},
        "prediction": {"single": 0.126, "MC dropout": 1.25},
    },
}
PLAN = {"sources": {"single": "one", "ensemble": "two", "MC dropout": "ten"}}


def test_cells_that_differ_in_one_part_are_the_questions_asked(pages):
    _, _, page = pages
    marks = {name: page.is_exploratory(name, BASE) for name in SYSTEMS}
    assert list(marks.values()) == [False, False, True, True]


def test_rows_say_what_the_corrected_p_value_says(pages):
    _, _, page = pages
    rows = page.rows_of(RESULT)
    assert [row[:3] for row in rows] == [list(page.parts(name)) for name in SYSTEMS]
    assert rows[0][-2:] == ["base", ""]
    assert rows[1][-2:] == ["+0.0200 (+0.0200 to +0.0200)", "0.003, worse"]
    assert rows[2][-1] == "0.020, better°"
    assert rows[3][-1] == "0.300, no difference shown°"
    assert rows[3][3:5] == ["0.800", "0.3000"]


def test_cells_that_were_not_run_are_listed(pages):
    _, _, page = pages
    assert page.not_run(RESULT, PLAN) == [
        ["dice_ce", "MC dropout"],
        ["dice", "ensemble, MC dropout"],
        ["ce", "single, MC dropout"],
    ]


def test_the_page_holds_cost_and_counts(pages):
    _, _, page = pages
    text = page.page(RESULT, PLAN)
    assert "Better than the base after correction: 1 of 3 cells (dice, single, distance_temperature)." in text
    assert "| dice_ce | 82 |" in text
    assert "| dice_ce, MC dropout | 100 |" in text
    assert "| MC dropout | 1.25 |" in text
    assert "exploratory, 2 cells" in text


@pytest.fixture(scope="module")
def shifts():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        import mehrtash_shifts  # noqa: PLC0415

        yield mehrtash_shifts


def test_auroc_by_hand(shifts):
    # 3 above 1 and 2, 1.5 above 1 alone, and a tie counts half
    assert shifts.auroc(np.array([1.0, 2.0]), np.array([3.0, 1.5])) == 0.75
    assert shifts.auroc(np.array([1.0]), np.array([1.0])) == 0.5


def scan_row(fold, subject, dice, entropy):
    return {"fold": fold, "subject": subject, "dice": [dice, None], "segment_entropy": entropy}


def test_correlation_is_the_mean_over_folds(shifts):
    # fold 0 falls in a straight line of logits, fold 1 rises in one: -1 and +1; no prediction, no part
    odds = [1 / (1 + np.exp(-k)) for k in (0.0, 1.0, 2.0, 3.0)]
    rows = [scan_row("0", f"a{k}", d, 3.0 - k) for k, d in enumerate(odds)]
    assert shifts.correlation_within(rows)["value"] == pytest.approx(-1)
    rows += [scan_row("1", f"b{k}", d, float(k)) for k, d in enumerate(odds)]
    rows.append(scan_row("1", "b9", 0.0, None))
    got = shifts.correlation_within(rows)
    assert got["value"] == pytest.approx(0, abs=1e-12)
    assert got["scans"] == 8


def test_a_detector_that_sees_the_shift_has_an_auroc_of_one(shifts):
    clean = [{"fold": "0", "subject": s, **dict.fromkeys(shifts.DETECTORS.values(), 0.1)} for s in "abc"]
    shifted = [{**row, "segment_entropy": 0.5, "combined": None, "sharpness": 0.0} for row in clean]
    got = shifts.auroc_of_detectors(clean, shifted)
    values = {name: got[name]["value"] for name in shifts.DETECTORS}
    assert values["segment entropy (paper)"] == 1
    assert values["combined (ours)"] == 1  # not defined counts as unlike
    assert values["sharpness"] == 0
    assert values["brightness"] == 0.5
