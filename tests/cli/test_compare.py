"""Comparing two measured sets from the command line."""

import json

from measured import made_record, made_set
from segtrust import cli
from segtrust.evaluate.records import write_records


def written(tmp_path, name, p, **changes):
    path = tmp_path / name
    write_records(path, made_set([made_record(i, p) for i in range(3)], **changes))
    return str(path)


def test_the_table_names_both_systems(tmp_path, capsys):
    a, b = written(tmp_path, "a.json", 0.9), written(tmp_path, "b.json", 0.8)
    assert cli.main(["compare", a, b]) == 0
    assert "| figure | where | first: ensemble | second: ensemble | difference |" in capsys.readouterr().out


def test_json_holds_the_same_differences(tmp_path, capsys):
    a, b = written(tmp_path, "a.json", 0.9), written(tmp_path, "b.json", 0.8)
    assert cli.main(["compare", a, b, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["scans"] == 3
    assert {d["figure"] for d in found["differences"]} == {
        "dice",
        "hd95",
        "surface_dice",
        "nll",
        "brier",
        "ece",
    }


def test_another_protocol_fails_with_a_sentence(tmp_path, capsys):
    a, b = written(tmp_path, "a.json", 0.9), written(tmp_path, "b.json", 0.8, protocol="b" * 64)
    assert cli.main(["compare", a, b]) == 1
    assert "segtrust: both sets must be of one protocol" in capsys.readouterr().err
