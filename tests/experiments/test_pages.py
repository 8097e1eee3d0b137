"""Cells, blocks and pages of result files."""

import pytest

from segtrust.errors import SettingError
from segtrust.experiments.pages import fill_block, pooled_pairs_note, table, write_or_check

PAGE = "before\n<!-- speed: begin -->\nold \\1\n<!-- speed: end -->\nafter\n"


def test_a_block_is_made_anew_and_the_rest_stays(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf-8")
    assert fill_block(page, "speed", "new \\2\n") == (
        "before\n<!-- speed: begin -->\nnew \\2\n<!-- speed: end -->\nafter\n"
    )
    assert page.read_text("utf-8") == PAGE


def test_a_page_without_the_block_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf-8")
    with pytest.raises(SettingError, match="must have one block <!-- memory: begin -->"):
        fill_block(page, "memory", "")


def test_a_table_has_a_rule_below_its_head():
    assert table(("a", "b"), [("1", "2")]) == ["| a | b |", "|---|---|", "| 1 | 2 |", ""]


def test_pairwise_dice_of_a_result_that_is_older_than_its_mean_over_pairs_is_named():
    assert "pools the voxels" in pooled_pairs_note(["entropy", "pairwise_dice"])[0]
    assert pooled_pairs_note(["entropy", "pairwise_dice", "doubt"]) == []
    assert pooled_pairs_note(["entropy"]) == []


def test_a_check_writes_nothing_and_names_what_is_stale(tmp_path, monkeypatch, capsys):
    one, two = tmp_path / "one.md", tmp_path / "two.md"
    one.write_text("as it is", encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["benchmarks/own_page.py", "--check"])
    assert write_or_check((one, "as it is")) == 0
    assert write_or_check((one, "as it is"), (two, "new")) == 1
    assert capsys.readouterr().err == "out of date: two.md; write again: python benchmarks/own_page.py\n"
    assert not two.exists()
    monkeypatch.setattr("sys.argv", ["benchmarks/own_page.py"])
    assert write_or_check((one, "as it is"), (two, "new")) == 0
    assert two.read_text("utf-8") == "new"
