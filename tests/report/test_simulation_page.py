"""The page of a replay."""

import re
from html.parser import HTMLParser

import pytest

from segtrust.report import render_simulation, write_simulation_page

FIGURE = {"value": 0.7, "low": 0.6, "high": 0.8, "subjects": 4}


def rounds(*dice, junk):
    calibration = {region: {"ece": 0.05, "nll": 0.2} for region in ("band", "outside", "volume")}
    return [
        {
            "opened": count,
            "labelled": count - 0.5,
            "dice": {"value": value, "low": value - 0.02, "high": value + 0.02, "subjects": 4},
            "calibration": calibration,
            "cost": {"scans": count, "slices": 3 * count, "foreground_voxels": 99, "minutes": 2.5 * count},
            "junk": junk,
        }
        for count, value in zip((10, 20, 40), dice, strict=True)
    ]


def strategy(difference, *dice, reach=None, junk):
    low, high = difference - 0.01, difference + 0.01
    return {
        "rounds": rounds(*dice, junk=junk),
        "area": FIGURE,
        "area_less_baseline": {"value": difference, "low": low, "high": high, "subjects": 4},
        "final_less_baseline": FIGURE,
        "scans_to_reach_baseline": reach,
        "scans_to_reach_baseline_by_seed": [reach],
        "efficiency": None if reach is None else 3.21,
        "stop": {
            "least_gain": 0.005,
            "gains": [FIGURE, FIGURE],
            "round": 2 if reach else None,
            "opened": 20 if reach else None,
        },
    }


def result(junk=None):
    junk = {} if junk is None else junk
    names = ("uniform", "entropy", "clasp", "monai_label")
    return {
        "plan": {
            "seeds": [0, 1, 2],
            "members": [0, 1],
            "counts": [10, 20, 40],
            "effort": {"scan": 1.0, "slice": 0.5},
        },
        "pool": {"scans": 80, "subjects": 41, "foreground_voxels": 1, "junk": junk},
        "evaluation": {"scans": 36, "subjects": 18},
        "baseline": "uniform",
        "whole_pool": FIGURE,
        "strategies": {
            "uniform": strategy(0.0, 0.6, 0.65, 0.7, reach=40.0, junk=junk),
            "entropy": strategy(0.02, 0.6, 0.7, 0.75, reach=18.5, junk=junk),
            "clasp": strategy(0.005, 0.6, 0.66, 0.71, reach=31.0, junk=junk),
            "monai_label": strategy(-0.03, 0.6, 0.6, 0.61, junk=junk),
        },
        "penalties": {a: {b: 0.33 for b in names if b != a} for a in names},
    }


class Tags(HTMLParser):
    """Collects tags and insists that they are closed in order."""

    VOID = frozenset({"meta", "path", "br", "img"})

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def html():
    return render_simulation(result({"corrupted": 4}), title="Would <it> pay?", data="balls")


def row(html, heading, name):
    part = html.split(f"<h2>{heading}</h2>")[1].split("</table>")[0]
    (line,) = [r for r in part.split("<tr>") if f"{name}</th>" in r]
    return re.sub(r"<[^>]+>|\s+", " ", line)


def test_page_is_well_formed_and_fetches_nothing(html):
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    assert not {tag for tag, _ in tags.seen} & {"script", "link", "iframe"}
    pictures = [attributes for tag, attributes in tags.seen if tag == "img"]
    assert len(pictures) == 3
    assert all(p["src"].startswith("data:image/svg+xml;base64,") and p["alt"] for p in pictures)
    assert "http" not in html
    assert "url(" not in html


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("entropy", "better than uniform"),
        ("clasp", "no difference shown"),
        ("MONAI Label&#39;s epistemic", "worse than uniform"),
    ],
)
def test_a_strategy_is_better_or_worse_only_where_the_interval_leaves_out_0(html, name, verdict):
    assert verdict in row(html, "Area under the budget curve", name)


def test_area_row_has_difference_interval_and_scans_to_reach(html):
    text = re.sub(r" +", " ", row(html, "Area under the budget curve", "entropy"))
    assert "0.7000 (0.6000 to 0.8000)" in text
    assert "+0.0200 (+0.0100 to +0.0300)" in text
    assert "18.5" in text
    assert "not within 40" in row(html, "Area under the budget curve", "MONAI Label&#39;s epistemic")


def test_page_says_budget_n_and_that_it_holds_for_no_other(html):
    for words in ("80 scans of 41 subjects", "36 scans of 18 subjects", "3 seeds", "2 members", "10, 20, 40"):
        assert words in html
    assert "and for no other" in html
    assert "not for diagnosis" in html


def test_every_part_of_the_report_is_there(html):
    headings = re.findall(r"<h2>(.*?)</h2>", html)
    assert headings == [
        "Area under the budget curve",
        "Learning curves",
        "Who beats whom",
        "What it cost",
        "Junk served",
        "Calibration per round",
        "When to stop",
    ]
    assert "stop after 20 scans" in html
    assert "go on labelling after 40 scans" in html


def test_cost_row_has_slices_voxels_minutes_and_efficiency(html):
    assert re.findall(r"[\d.]+", row(html, "What it cost", "entropy")) == [
        "40",
        "39.5",
        "120",
        "99",
        "100",
        "3.21",
    ]


def test_a_pool_without_junk_has_no_table_of_it():
    assert "Junk served" not in render_simulation(result(), title="t", data="d")


def test_words_are_escaped(html):
    assert "Would &lt;it&gt; pay?" in html


def test_page_is_written_as_utf8(tmp_path):
    write_simulation_page(result(), tmp_path / "page.html", title="ä", data="d")
    assert "ä" in (tmp_path / "page.html").read_text("utf-8")
