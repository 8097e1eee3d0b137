"""Programs of benchmarks and scripts: pages are those of their results, and the index names every program."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
INDEX = (BENCHMARKS / "README.md").read_text("utf-8")
PAGES = [*BENCHMARKS.glob("**/*_page.py"), *ROOT.glob("scripts/write_*.py")]
PROGRAMS = [p for p in BENCHMARKS.glob("**/*.py") if 'if __name__ == "__main__":' in p.read_text("utf-8")]


def relative(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("program", PAGES, ids=relative)
def test_the_page_is_what_its_program_writes(program, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [relative(program), "--check"])
    monkeypatch.syspath_prepend(str(program.parent))  # programs import what lies beside them, by name
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(program), run_name="__main__")
    assert ended.value.code == 0, capsys.readouterr().err


def test_the_index_names_every_program_once_and_nothing_else():
    named = re.findall(r"^\| `([\w/]+\.py)`", INDEX, re.M)
    assert sorted(named) == sorted(path.relative_to(BENCHMARKS).as_posix() for path in PROGRAMS)


def test_the_index_names_what_lies_in_docs_and_results():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", INDEX):
        assert (BENCHMARKS / target).exists(), target
    for name in re.findall(r"`results/([^`]+\.json)`", INDEX):
        assert (BENCHMARKS / "results" / name).is_file(), name


def test_every_result_has_its_row():
    named = {name for line in INDEX.splitlines() for name in re.findall(r"`results/([^`]+\.json)`", line)}
    assert named == {
        path.name for path in BENCHMARKS.glob("results/*.json") if not path.name.endswith("-records.json")
    }


@pytest.mark.parametrize("program", PROGRAMS, ids=relative)
def test_names_say_what_a_program_does(program):
    stem = program.stem
    known = stem.endswith("_page") or stem.split("_")[0] in ("run", "bench", "draw", "train", "make")
    beside = program.with_name(f"{stem}_page.py").is_file()  # a paper's measurement and its page
    assert known or beside, relative(program)


def test_only_one_function_reads_the_option_check():
    files = [*BENCHMARKS.glob("**/*.py"), *ROOT.glob("scripts/*.py"), *ROOT.glob("lib/**/*.py")]
    readers = [relative(p) for p in files if re.search(r'"--check" (not )?in sys', p.read_text("utf-8"))]
    assert readers == ["lib/segtrust/experiments/pages.py"]


@pytest.mark.slow
def test_a_stale_page_is_named_with_the_command_that_writes_it(tmp_path):
    program = tmp_path / "own_page.py"
    program.write_text(
        "import sys\nfrom pathlib import Path\nfrom segtrust.experiments.pages import write_or_check\n"
        "sys.exit(write_or_check((Path(__file__).with_name('own.md'), 'new')))\n",
        encoding="utf-8",
    )
    check = subprocess.run([sys.executable, program, "--check"], capture_output=True, text=True, check=False)
    assert check.returncode == 1
    assert check.stderr == f"out of date: own.md; write again: python {program}\n"
    assert not (tmp_path / "own.md").exists()
    assert subprocess.run([sys.executable, program], check=False).returncode == 0
    assert (tmp_path / "own.md").read_text("utf-8") == "new"
    assert subprocess.run([sys.executable, program, "--check"], check=False).returncode == 0
