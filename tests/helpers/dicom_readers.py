"""Programs of others that read what is written here, as fixtures for the folders that need them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import itk
import numpy as np
import pytest

__all__ = ["errors_of", "read_by_dcmqi", "run_tool"]


@pytest.fixture
def run_tool(tmp_path):
    """``run_tool(name, *arguments)`` runs a program of the environment or of PATH, or skips by its name."""

    def run(name, *arguments):
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        program = shutil.which(name, path=path)
        if program is None:
            pytest.skip(f"no program {name}: install dcmqi or dicom3tools")
        return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def read_by_dcmqi(run_tool, tmp_path):
    """``read_by_dcmqi(tool, file)`` gives ``{name: (volume (X, Y, Z), affine to RAS)}`` as dcmqi reads it."""

    def read(tool, file):
        out = tmp_path / f"{tool}_{file.stem}"
        out.mkdir()
        done = run_tool(tool, "--inputDICOM", file, "--outputDirectory", out, "--outputType", "nrrd")
        assert done.returncode == 0, done.stdout + done.stderr
        return {path.stem: _volume(path) for path in out.glob("*.nrrd")}

    return read


@pytest.fixture
def errors_of(run_tool):
    """``errors_of(file)``: lines that dciodvfy calls errors."""

    def check(file):
        done = run_tool("dciodvfy", "-new", file)
        lines = (done.stdout + done.stderr).splitlines()
        assert any(line.strip() in ("Segmentation", "ParametricMap") for line in lines), lines
        return [line for line in lines if "Error" in line]

    return check


def _volume(path):
    image = itk.imread(str(path))
    affine = np.eye(4)
    affine[:3, :3] = itk.array_from_matrix(image.GetDirection()) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return itk.array_from_image(image).transpose(), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
