"""The apps as a user gets them: from the wheel, listed, copied and started."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from copied_studies import running_server
from live_server import ROOT

SOURCES = (
    "lib",
    "apps",
    "sample-apps",
    "setup.cfg",
    "pyproject.toml",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
    "NOTICE",
)


def run(*command, **options):
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **options)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def new_environment(tmp_path_factory):
    """A new environment with the built wheel; everything else comes from the environment of the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "logs", "model", "bin")
    for name in SOURCES:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=ignore)
        elif path.is_file():
            shutil.copyfile(path, source / name)
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, source, env=clean)
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    wheel = next(folder.glob("segtrust-*.whl"))
    run(*pip, "--python", python, "install", "--no-deps", "--no-index", wheel, env=clean)
    site = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", env=clean).strip()
    )
    (site / "zz_environment_of_the_tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python, clean | {"OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}


def test_the_wheel_brings_library_and_models(new_environment):
    python, environment = new_environment
    code = (
        "import segtrust.models as m; print(m.__file__); print(list(m.find_models(m.shipped_models_dir())))"
    )
    file, models = run(python, "-c", code, env=environment).splitlines()
    assert Path(file).is_relative_to(python.parents[1])
    here = ROOT / "lib" / "segtrust" / "shipped"
    assert models == str(sorted(p.parent.name for p in here.glob("*/current")))


def test_monai_label_lists_both_apps(new_environment):
    python, environment = new_environment
    listed = run(python, "-m", "monailabel.main", "apps", env=environment)
    for name in ("uncertainty", "hippocampus"):
        assert f"{python.parents[1]}/monailabel/sample-apps/{name}" in listed


@pytest.mark.parametrize(("name", "folder"), [("uncertainty", "apps"), ("hippocampus", "sample-apps")])
def test_monai_label_copies_an_app(new_environment, tmp_path, name, folder):
    python, environment = new_environment
    command = [python, "-m", "monailabel.main", "apps", "--download", "--name", name, "--output", tmp_path]
    run(*command, env=environment)
    assert sorted(p.name for p in (tmp_path / name).iterdir()) == ["README.md", "main.py"]
    assert (tmp_path / name / "main.py").read_text() == (ROOT / folder / name / "main.py").read_text()


def test_the_sample_app_serves_its_one_model(tmp_path, hippocampus_scans, model_folder):
    app = ROOT / "sample-apps" / "hippocampus"
    conf = {"models_dir": model_folder.parent}
    with running_server(tmp_path, hippocampus_scans[:1], app=app, conf=conf) as server:
        tasks = list(server.get("/info/").json()["models"])
        assert tasks == ["hippocampus", "hippocampus_uncertainty", "hippocampus_with_uncertainty"]
        scan = hippocampus_scans[0].name.split(".")[0]
        assert server.infer("hippocampus", scan, output="json").status_code == 200
