"""The page of a cohort."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from segtrust.report import CohortPage, ScanCard, draw_slices, render_cohort, write_cohort_page

LIMITS = "For annotation and research, not for diagnosis. It cannot show what it was never trained on."


def card(scan, rank, score, flags=None, volumes=None):
    volume = np.zeros((5, 6, 7), np.float32)
    volume[2, 3, 4] = 0.4
    slices = draw_slices(
        volume, (volume > 0).astype(np.uint8), volume, spacing=(1.0, 1.0, 1.0), structures={"anterior": 1}
    )
    return ScanCard(
        scan=scan,
        rank=rank,
        score=score,
        volumes_ml=volumes or {"anterior": 1.234},
        flags=flags or {},
        slices=slices,
    )


def page(*cards, structures=("anterior",)):
    return CohortPage(
        title="Where?",
        cohort="two scans",
        model="hippocampus, version 0001",
        model_facts=["5 networks"],
        limits=LIMITS,
        structures=list(structures),
        next_scan=cards[0].scan if cards else None,
        cards=cards,
    )


class Tags(HTMLParser):
    """Collects tags and insists that they are closed in order."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def html():
    return render_cohort(
        page(
            card("b", 1, 0.3, flags={"field_of_view": "unlike training: <field of view>"}), card("a", 2, 0.1)
        )
    )


def tags_of(html):
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    return tags.seen


def test_page_fetches_nothing(html):
    for tag, attrs in tags_of(html):
        assert tag not in ("script", "link", "iframe")
        for name in ("src", "href"):
            if name in attrs:
                assert attrs[name].startswith(("data:image/png;base64,", "#"))
    assert "url(" not in html
    assert "http" not in re.sub(r'"data:[^"]*"', "", html)


def test_every_link_leads_to_a_scan_on_the_page(html):
    tags = tags_of(html)
    targets = {attrs["id"] for _, attrs in tags if "id" in attrs}
    assert {attrs["href"][1:] for tag, attrs in tags if tag == "a"} == targets == {"scan-a", "scan-b"}


def test_page_says_what_it_is_not_for(html):
    assert LIMITS in html


def test_scale_is_drawn_with_its_range_and_unit(html):
    assert "chance that the label is wrong (0 to 1, no unit)" in html
    assert "<span>0.0</span>" in html
    assert "<span>0.5+</span>" in html


def test_table_has_rank_score_and_volumes_in_order(html):
    text = re.sub(r"<[^>]+>|\s+", " ", html.split("<tbody>")[1].split("</tbody>")[0])
    assert re.findall(r"\b(\d) +([ab]) +(0\.\d{3}) +(\d\.\d\d)", text) == [
        ("1", "b", "0.300", "1.23"),
        ("2", "a", "0.100", "1.23"),
    ]


def test_table_has_a_flag_in_a_word_and_the_card_in_a_sentence(html):
    assert '<span class="flag">field of view</span>' in html.split("</table>")[0]
    assert "unlike training" in html.split("</table>")[1]


def test_flags_are_escaped(html):
    assert "&lt;field of view&gt;" in html
    assert "<field of view>" not in html


def test_what_is_not_known_is_a_dash_and_breaks_nothing():
    html = render_cohort(page(card("empty", None, None, volumes={"anterior": None})))
    tags_of(html)
    assert "not ranked" in html
    assert "no score" in html


def test_page_is_written_as_utf8(tmp_path):
    write_cohort_page(page(card("ä", 1, 0.2)), tmp_path / "page.html")
    assert "ä" in (tmp_path / "page.html").read_text(encoding="utf-8")
