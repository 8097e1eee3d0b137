"""The container file agrees with the project, and what it says works when it is followed step by step."""

import configparser
import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
import requests

from containerfile import CONTAINERFILE, ROOT, Image, clean_environment, instructions
from live_server import ended, free_port, until
from phantoms import write_scan
from segtrust.label.settings import AppSettings

USER = 10001


def said(word):
    return [rest for name, rest in instructions() if name == word]


def test_both_stages_start_from_the_slim_image_of_a_supported_python():
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    bases = [rest.split()[0] for rest in said("FROM")]
    assert set(bases) == {"docker.io/library/python:3.11-slim"}
    assert "Programming Language :: Python :: 3.11" in setup["metadata"]["classifiers"]


def test_everything_is_installed_in_the_exact_versions_and_from_extras_that_exist():
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    installs = [rest for rest in said("RUN") if " install " in rest]
    assert installs
    assert all("-m pip install " in rest and " -c constraints.txt " in rest for rest in installs)
    (extras,) = re.findall(r"\.\[([\w,]+)\]", installs[-1])
    assert "label" in extras.split(",")
    assert set(extras.split(",")) <= set(setup["options.extras_require"])


def test_every_copied_file_exists_and_the_wheel_gets_all_that_it_is_built_from():
    copied = {w for rest in said("COPY") if "--from" not in rest for w in rest.split()[:-1]}
    assert all((ROOT / name).exists() for name in copied)
    sources = (ROOT / "scripts" / "environment").read_text("utf-8")
    (named,) = re.findall(r"^    find (.*?) \\$", sources, re.M)
    assert copied == {*named.split(), "constraints.txt"}


def test_no_compiler_is_installed():
    assert not any("apt" in rest.split() or "apt-get" in rest for rest in said("RUN"))


def test_the_app_that_is_started_is_one_of_the_wheel_and_the_setting_exists():
    entry = json.loads(said("ENTRYPOINT")[0])
    assert entry[:4] == ["python", "-m", "monailabel.main", "start_server"]
    (source, target) = re.findall(r"cp -r \S+/(monailabel/sample-apps/\w+) (\S+)", " ".join(said("RUN")))[0]
    assert entry[entry.index("--app") + 1] == target
    assert f"\n{source} =\n" in (ROOT / "setup.cfg").read_text("utf-8")
    settings = entry[entry.index("--conf") + 1 :]
    assert AppSettings.from_conf({settings[0]: settings[1]}).state_dir == Path("/state")


def test_the_server_is_no_root_and_asks_for_its_health_where_it_listens():
    assert said("USER") == [f"{USER}:{USER}"]
    entry = json.loads(said("ENTRYPOINT")[0])
    port = entry[entry.index("--port") + 1]
    assert said("EXPOSE") == [port]
    assert f"http://127.0.0.1:{port}/auth/" in said("HEALTHCHECK")[0]
    assert said("CMD") == ['["--studies", "/studies"]']


@pytest.fixture(scope="module")
def image():
    """The image's folders, made by its own RUN lines in an empty folder that every user may enter."""
    if os.environ.get("SEGTRUST_CONTAINER_TEST") != "1":
        pytest.skip("installs gigabytes: set SEGTRUST_CONTAINER_TEST=1")
    if os.geteuid() != 0:
        pytest.skip("RUN lines of a container file run as root")
    python = shutil.which("python3.11", path="/usr/local/bin:/usr/bin")
    recent = (
        "import sys; sys.exit(sys.version_info < (3, 11, 5))"  # constraints.txt holds a package that asks so
    )
    if python is None or subprocess.run([python, "-c", recent], check=False).returncode:
        pytest.skip("needs a python3.11 (from 3.11.5) in /usr that every user may run")
    root = Path(tempfile.mkdtemp(prefix="segtrust-image-"))
    try:
        root.chmod(0o755)
        (root / "bin").mkdir()
        # by its own path: a link would make it look for its library beside the link, and take another one's
        (root / "bin" / "python").write_text(
            f'#!/bin/sh\nexec {Path(python).resolve()} "$@"\n', encoding="utf-8"
        )
        (root / "bin" / "python").chmod(0o755)
        made = Image(root, clean_environment(root / "bin"))
        made.build()
        yield made
    finally:
        shutil.rmtree(root)


@pytest.fixture(scope="module")
def server(image):
    """The server as the image starts it, as the image's user, but on a free port of this machine only."""
    port, log = str(free_port()), image.root / "server.log"
    words = ["127.0.0.1" if w == "0.0.0.0" else port if w == "8000" else w for w in image.command()]
    with log.open("wb") as out:
        process = subprocess.Popen(
            words,
            stdout=out,
            stderr=out,
            env=image.stage,
            cwd=image.folder,
            user=USER,
            group=USER,
            umask=0o22,
        )
    url = f"http://127.0.0.1:{port}"

    def is_up():
        if process.poll() is not None:
            pytest.fail(f"the server ended:\n{log.read_text()[-4000:]}")
        with contextlib.suppress(requests.ConnectionError, requests.Timeout):
            return requests.get(f"{url}/info/", timeout=5).ok
        return False

    with ended(process):
        until(is_up, 600, lambda: f"the server did not start:\n{log.read_text()[-4000:]}")
        yield url, process.pid


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_followed_step_by_step_it_serves_a_scan_as_an_ordinary_user(image, server, blob_scan):
    url, process = server
    status = Path(f"/proc/{process}/status").read_text()
    assert re.findall(r"^[UG]id:\t(\d+)", status, re.M) == [str(USER)] * 2
    port = url.rpartition(":")[2]
    check = [word.replace("8000", port) for word in image.health_check()]
    subprocess.run(check, check=True, env=image.stage, user=USER, group=USER)
    scan = write_scan(blob_scan, image.root / "scan.nii.gz")
    answer = requests.put(
        f"{url}/datastore/",
        params={"image": "ball"},
        files={"file": (scan.name, scan.read_bytes())},
        timeout=300,
    )
    assert answer.status_code == 200, answer.text
    answer = requests.post(
        f"{url}/infer/hippocampus", params={"image": "ball", "output": "json"}, timeout=300
    )
    assert answer.status_code == 200, answer.text
    assert np.isfinite(answer.json()["segtrust"]["scores"]["entropy"])
    assert (image.root / "studies" / "ball.nii.gz").stat().st_uid == USER
    assert (image.root / "state" / "state.sqlite").stat().st_uid == USER


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_followed_step_by_step_it_leaves_no_compiler_and_no_source(image):
    left = {p.name for p in (image.root / "opt" / "segtrust" / "bin").iterdir()}
    assert "python" in left
    assert not left & {"cc", "c++", "gcc", "g++", "clang", "ld", "make"}
    assert not (image.root / "src").exists()


def test_page_and_container_file_lie_side_by_side():
    assert (CONTAINERFILE.parent / "administrator.md").is_file()
