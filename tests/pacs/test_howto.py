"""The how-to for administrators: every step is run as it stands there."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom import dcmread

from live_server import ROOT, until
from orthanc import namespace

PAGE = (ROOT / "docs" / "how-to" / "pacs.md").read_text("utf-8")


def blocks(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.M | re.S)


@pytest.mark.slow
def test_its_steps_lead_to_a_mask_and_to_a_map_in_the_pacs(tmp_path, series, version, errors_of):
    if shutil.which("curl") is None or shutil.which("Orthanc", path="/usr/sbin") is None:
        pytest.skip("no programs curl and Orthanc: apt-get install curl orthanc orthanc-dicomweb")
    (configuration,) = blocks("json")
    (tmp_path / "orthanc.json").write_text(configuration)
    shutil.copytree(series["labelled"].folder, tmp_path / "series")
    shutil.copytree(ROOT / "apps", tmp_path / "apps")
    install, *steps = blocks("sh")
    assert install.startswith("apt-get install")
    environment = os.environ | {
        "HOME": str(tmp_path),
        "OMP_NUM_THREADS": "1",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"]),
        "PYTHONPATH": str(ROOT / "lib"),
    }
    with namespace() as network:
        script = "set -eu\n" + "".join(steps)
        command = [*network.command_prefix, "bash", "-c", script]
        shell = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            said, _ = shell.communicate(timeout=500)
        finally:
            end_group(shell.pid)
    assert shell.returncode == 0, said.decode()[-4000:]
    assert errors_of(tmp_path / "mask.dcm") == []
    assert (
        dcmread(tmp_path / "mask.dcm").ReferencedSeriesSequence[0].SeriesInstanceUID == series["labelled"].uid
    )
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert list(answer["segtrust"]["pacs"]["stored"]) == ["entropy"]


def end_group(leader):
    """End the shell and what it left running in the background."""

    def is_gone():
        try:
            os.killpg(leader, signal.SIGTERM)
        except ProcessLookupError:
            return True
        return False

    until(is_gone, 60, lambda: "the programs of the how-to do not end")
