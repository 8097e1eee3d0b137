"""3D Slicer's libraries in an environment of their own, and the stock plug-in from MONAI Label's wheel."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

collect_ignore = ["stock_plugin.py", "render_overlay.py"]  # programs for the other Python
HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture(scope="session")
def slicer_python() -> Path:
    """Python with Slicer's libraries: ``SEGTRUST_SLICER_PYTHON``, else that of ``.venv-slicer``."""
    python = Path(os.environ.get("SEGTRUST_SLICER_PYTHON", ROOT / ".venv-slicer" / "bin" / "python"))
    if not python.is_file():
        pytest.skip(
            f"no Slicer libraries at {python}: set SEGTRUST_SLICER_PYTHON (see docs/how-to/slicer.md)"
        )
    return python


@pytest.fixture(scope="session")
def stock_plugin() -> Path:
    """Folder of the plug-in that comes with MONAI Label, unmodified."""
    folder = Path(sys.prefix) / "monailabel" / "plugins" / "slicer" / "MONAILabel"
    if not (folder / "MONAILabel.py").is_file():
        pytest.skip(f"no plug-in for 3D Slicer at {folder}")
    return folder


@pytest.fixture(scope="session")
def run_in_slicer(slicer_python):
    """``run_in_slicer(program, asked, folder)`` runs a program of this folder; what it prints comes back."""

    def run(program, asked, folder):
        scratch = folder / "slicer"  # the plug-in deletes its folder at the end
        scratch.mkdir(exist_ok=True)
        environment = {**os.environ, "TMPDIR": str(scratch), "PYTHONWARNINGS": "ignore"}
        environment.pop("PYTHONPATH", None)
        done = subprocess.run(
            [slicer_python, HERE / program],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            env=environment,
            check=False,
            timeout=500,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run
