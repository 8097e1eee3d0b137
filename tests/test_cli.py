"""The command line as a whole."""

import re
import subprocess
import sys

import pytest

import segtrust
from segtrust import cli


def test_version_is_told(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"segtrust {segtrust.__version__}\n"


def test_without_a_command_the_help_lists_all(capsys):
    assert cli.main([]) == 2
    assert set(re.findall(r"^  (\w+)  ", capsys.readouterr().out, re.M)) >= set(cli._COMMANDS)


@pytest.mark.parametrize("command", cli._COMMANDS)
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main([command, "--help"])
    assert f"usage: segtrust {command}" in capsys.readouterr().out


def test_unknown_command_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["fly"])
    assert "invalid choice: 'fly'" in capsys.readouterr().err


def test_missing_package_is_named_with_the_extra_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.delitem(sys.modules, "segtrust.cli.demo.console", raising=False)
    monkeypatch.delitem(sys.modules, "segtrust.cli.demo.command", raising=False)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert cli.main(["demo"]) == 2
    assert "pip install -c constraints.txt '.[demo]'" in capsys.readouterr().err


def test_error_of_ours_is_one_line_without_a_trace(tmp_path, capsys):
    assert cli.main(["versions", "show", "nobody", "--models-dir", str(tmp_path)]) == 1
    assert re.fullmatch(r"segtrust: no model 'nobody'\. Known: .*\n", capsys.readouterr().err)


def test_help_needs_neither_torch_nor_monai():
    code = "import sys; from segtrust.cli import main; main([]); print({'torch', 'monai'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("set()")


def test_a_round_on_a_site_names_the_extra_that_training_elsewhere_does_not_need(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "monailabel.config", None)
    for module in ("cli.site_round", "label.studies.beside"):
        monkeypatch.delitem(sys.modules, f"segtrust.{module}", raising=False)
    assert cli.main(["train", "hippocampus", "--studies", "."]) == 2
    assert "pip install -c constraints.txt '.[label]'" in capsys.readouterr().err
