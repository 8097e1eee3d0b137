"""The wheel and the source archive: both are built, installed elsewhere, and work there."""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import segtrust

ROOT = Path(__file__).parents[1]
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "runs", "build", "dist", "*.egg-info", "results")
USES = """
from segtrust import open_version
from segtrust.models import find_models, shipped_models_dir

version = open_version(find_models(shipped_models_dir())["hippocampus"])
print(segtrust.__version__, len(version.members), segtrust.__file__)
"""


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """Folder with a wheel and a source archive, built from a copy of the sources."""
    folder = tmp_path_factory.mktemp("packages")
    shutil.copytree(ROOT, folder / "source", ignore=LEFT_OUT)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "built"]
    done = subprocess.run([*command, folder / "source"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "built"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz"], ids=["wheel", "source archive"])
def test_an_archive_is_installed_and_its_model_opens(archives, kind, tmp_path):
    (archive,) = archives.glob(kind)
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", tmp_path / "site")
    subprocess.run([sys.executable, "-m", "pip", "install", *options, archive], check=True)
    where = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    code = "import segtrust" + USES
    done = subprocess.run(
        [sys.executable, "-c", code], env=where, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    version, members, home = done.stdout.split()
    assert (version, members) == (segtrust.__version__, "5")
    assert Path(home).is_relative_to(tmp_path / "site")


@pytest.mark.slow
def test_the_source_archive_holds_what_a_clone_has_beside_the_code(archives):
    (archive,) = archives.glob("*.tar.gz")
    with tarfile.open(archive) as content:
        names = {name.partition("/")[2] for name in content.getnames()}
    assert {
        "README.md", "CITATION.cff", "SECURITY.md", "LICENSE", "NOTICE", "constraints.txt", "docs/README.md",
        "benchmarks/README.md", "scripts/test", "tests/test_packages.py", "apps/uncertainty/main.py",
    } <= names  # fmt: skip
    assert not [name for name in names if ".venv" in name or "__pycache__" in name]
