"""The page of an evaluation: self-contained, every figure explained, refused if of another form."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from measured import made_record, made_set
from segtrust.errors import SettingError
from segtrust.evaluate.summary import summarise
from segtrust.metrics import ErrorHistogram
from segtrust.report import read_evaluation, render_evaluation, write_evaluation_page

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def document():
    """Figures of four made-up scans, one map and one score; a name that would be markup."""
    counts = ErrorHistogram(np.bincount([4000], minlength=4096), np.bincount([10, 20], minlength=4096))
    records = []
    for k, p in enumerate((0.6, 0.7, 0.8, 0.9)):
        record = made_record(k, p, reference=(2, 3) if k else (2, 19))
        records.append(replace(record, maps={"entropy": counts}, methods={"entropy": 1 - p}))
    found = summarise(made_set(records, structures=("front",)), title="<b>Title</b>", notes=["a note"])
    return {**found, "pictures": []}


def test_the_document_is_json_and_worst_scans_come_first(document):
    assert json.loads(json.dumps(document, allow_nan=False))["cases"][0]["id"] == "scan0"
    assert document["cases"][0]["mean_dice"] == 0.5
    assert document["detection"]["entropy"]["auroc"]["value"] == 1.0
    assert document["risk_coverage"]["entropy"]["risk"][-1] == pytest.approx(0.125)


def test_the_page_holds_everything_and_fetches_nothing(document):
    page = render_evaluation(document)
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page)
    assert page.count("<img") - page.count('src="data:image') == 0
    assert "&lt;b&gt;Title&lt;/b&gt;" in page
    assert "<script" not in page
    for words in ("a note", "not for diagnosis", "a" * 64, "Model card", "scan3"):
        assert words in page


def test_distances_stand_beside_dice_with_unit_and_n_where_the_spacing_is_known(document):
    page = render_evaluation(document)
    assert "HD95, mm" in page
    assert "within 3 mm of the other one" in page
    # three scans without a difference, one whose 95th percentile is 15.2 mm
    assert re.search(r'data-name="HD95, mm">3\.800 \(.*?data-name="n">4<', page, re.DOTALL)
    unknown = [made_record(k, 0.9, spacing=None) for k in range(4)]
    assert "HD95" not in render_evaluation({**summarise(made_set(unknown), title="t"), "pictures": []})


def test_every_group_of_figures_says_how_to_read_it(document):
    page = render_evaluation(document)
    for part in re.split(r"<h2>", page)[1:]:
        if "<figure" in part:
            assert "How to read it." in part, part[:60]


def test_pictures_have_words_for_those_who_cannot_see_them(document):
    page = render_evaluation(document)
    assert all(re.search(r'alt="[^"]+"', img) for img in re.findall(r"<img[^>]*>", page) if "bar" not in img)


def test_the_same_figures_give_the_same_page(document, tmp_path):
    write_evaluation_page(document, tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text() == render_evaluation(document)


def test_another_form_is_refused(tmp_path):
    path = tmp_path / "evaluation.json"
    path.write_text('{"schema": 99}')
    with pytest.raises(SettingError, match=r"must have schema 1, got 99\. Evaluate again"):
        read_evaluation(path)
    path.write_text("[]")
    with pytest.raises(SettingError, match=r"must be an evaluation\.json of segtrust"):
        read_evaluation(path)
