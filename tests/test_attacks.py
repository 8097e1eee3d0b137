"""The page about security, and the recorded run of attacks in its small form."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reference" / "security.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


@pytest.mark.parametrize(("file", "test"), NAMED, ids=lambda value: value.rpartition("/")[2])
def test_each_test_that_the_page_names_exists(file, test):
    tree = ast.parse((ROOT / file).read_text("utf-8"))
    assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_attack_names_a_defence_and_a_test():
    rows = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")][2:]
    attacks = [row for row in rows if len(row) == 3 and "::" in row[2]]
    assert len(attacks) == len(NAMED)
    assert len(attacks) > 20
    assert all(len(cell) > 3 for row in attacks for cell in row)


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.timeout(900)
def test_a_small_run_of_all_attacks_loses_nothing_and_goes_on_where_it_ended(tmp_path):
    out = tmp_path / "attacks.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "run_attacks.py"), "--small", "--out", str(out)]
    command += ["--work", str(tmp_path / "sites")]
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stdout + first.stderr
    document = json.loads(out.read_text("utf-8"))
    assert set(document) >= {"kills", "crowd", "readers", "flipped bytes", "bad requests", "schemathesis"}
    assert document["kills"]["labels_acknowledged"] > 0
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert again.stdout.strip().splitlines()[-1] == "nothing was lost"
    assert json.loads(out.read_text("utf-8")) == document
