"""Records as JSON: the very same numbers come back."""

import json
import math

import numpy as np
import pytest

from measured import made_record, made_set
from segtrust.errors import SettingError
from segtrust.evaluate.card import make_card
from segtrust.evaluate.records import read_records, software_versions, write_records


@pytest.fixture
def stored(tmp_path):
    written = made_set([made_record(0, 0.9), made_record(1, 0.8, reference=(2, 19)), made_record(2, 0.7)])
    write_records(tmp_path / "a.json", written)
    return written, read_records(tmp_path / "a.json")


@pytest.mark.slow
def test_a_card_made_of_stored_records_is_the_same(stored):
    cards = [make_card(s.records, s.structures, main=s.main) for s in stored]
    assert json.dumps(cards[0]) == json.dumps(cards[1])


def test_totals_scores_and_origin_come_back(stored):
    written, read = stored
    for a, b in zip(written.records, read.records, strict=True):
        assert (a.id, a.subject, a.missed, a.scores) == (b.id, b.subject, b.missed, b.scores)
        assert a.totals["ensemble"]["band"].to_json() == b.totals["ensemble"]["band"].to_json()
        assert np.array_equal(a.errors["ensemble"].wrong, b.errors["ensemble"].wrong)
    assert (written.protocol, written.model, written.command) == (read.protocol, read.model, read.command)


def test_nll_of_one_scan_by_hand_after_reading(stored):
    # two voxels of probability .9, the others certain
    totals = stored[1].records[0].totals["ensemble"]["volume"]
    assert totals.nll == pytest.approx(-2 * math.log(0.9), abs=1e-6)
    assert totals.n == 20


def test_a_dice_that_is_not_defined_is_null_and_comes_back(tmp_path):
    record = made_record(0, 0.9)
    record.dice["ensemble"][0] = math.nan
    write_records(tmp_path / "a.json", made_set([record]))
    assert "NaN" not in (tmp_path / "a.json").read_text("utf-8")
    assert math.isnan(read_records(tmp_path / "a.json").records[0].dice["ensemble"][0])


def test_distances_come_back_infinite_ones_and_those_not_defined_too(tmp_path):
    records = [made_record(0, 0.9), made_record(1, 0.4), made_record(2, 0.4, reference=())]
    write_records(tmp_path / "a.json", made_set(records))
    read = read_records(tmp_path / "a.json").records
    assert [r.surfaces["ensemble"]["hd95"][0] for r in read[:2]] == [0, math.inf]
    assert math.isnan(read[2].surfaces["ensemble"]["hd95"][0])
    for one, two in zip(records, read, strict=True):
        for figure, values in one.surfaces["ensemble"].items():
            assert np.array_equal(values, two.surfaces["ensemble"][figure], equal_nan=True)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"schema": 1, "records": []}', '{"schema": 0}'])
def test_a_file_that_holds_no_records_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text, "utf-8")
    with pytest.raises(SettingError, match=r"a\.json must hold records"):
        read_records(tmp_path / "a.json")


def test_versions_name_what_figures_depend_on():
    assert {"torch", "monai", "numpy", "python", "segtrust"} <= set(software_versions())
