"""Routes about the server and its files."""

import hashlib
import subprocess
from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from monailabel.config import settings as platform

from asgi import ask
from segtrust.label.routes import service
from segtrust.label.routes.install import install_routes


class _Host:
    """As much of an app as these routes ask for."""

    def __init__(self, scan):
        self._scan = scan

    def datastore(self):
        return SimpleNamespace(get_image_uri=lambda name: str(self._scan) if name == "a" else "")

    def info(self):
        return {"models": {"tiny": {}}}

    def sessions(self):
        return None


@pytest.fixture
def server(tmp_path, monkeypatch):
    scan = tmp_path / "a.nii"
    scan.write_bytes(b"scan")
    for module in (
        "segtrust.label.routes.service.serving_app",
        "monailabel.endpoints.datastore.app_instance",
    ):
        monkeypatch.setattr(module, lambda: _Host(scan))
    monkeypatch.setattr(platform, "MONAI_LABEL_APP_DIR", str(tmp_path))
    application = FastAPI()
    install_routes(application)
    return application


DIGEST = hashlib.sha256(b"scan").hexdigest()


@pytest.mark.parametrize(
    ("check_sum", "status"),
    [
        (DIGEST, 200),
        (f"SHA256:{DIGEST}", 200),
        (f"MD5:{hashlib.md5(b'scan').hexdigest()}", 200),
        ("0" * 64, 404),
        (f"SHA512:{DIGEST}", 404),
        ("nobody:00", 400),
        ("shake_128:00", 400),
    ],
)
def test_a_check_sum_is_compared_and_an_unknown_kind_refused(server, check_sum, status):
    answer = ask(server, "HEAD", "/datastore/image", params={"image": "a", "check_sum": check_sum})
    assert answer.status_code == status


def test_a_scan_that_is_not_there_is_not_found(server):
    assert ask(server, "HEAD", "/datastore/image", params={"image": "b"}).status_code == 404


def test_a_log_with_bytes_that_are_no_text_is_shown(server, tmp_path):
    assert ask(server, "GET", "/logs/").status_code == 404
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "app.log").write_bytes(b"one\n\xff two\nthree\n")
    assert ask(server, "GET", "/logs/?lines=2&text=true").text == "\ufffd two\nthree\n"
    assert "setInterval(fetch, 1000*3)" in ask(server, "GET", "/logs/?refresh=1").text
    for lines in ("0", "-1", "x", "9" * 30):
        assert ask(server, "GET", f"/logs/?lines={lines}").status_code == 422


def test_a_machine_without_nvidia_smi_says_so(server, monkeypatch):
    monkeypatch.setattr(service.shutil, "which", lambda name: None)
    answer = ask(server, "GET", "/logs/gpu")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "no nvidia-smi" in answer.json()["detail"]


def test_an_nvidia_smi_that_fails_is_unavailable(server, monkeypatch):
    def fail(*_arguments, **_options):
        raise subprocess.TimeoutExpired("nvidia-smi", 20)

    monkeypatch.setattr(service.shutil, "which", lambda name: name)
    monkeypatch.setattr(service.subprocess, "run", fail)
    assert ask(server, "GET", "/logs/gpu").status_code == 503


def test_nobody_uploads_models_or_loads_the_app_anew(server):
    for method in ("GET", "PUT", "DELETE"):
        answer = ask(server, method, "/model/tiny")
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert ask(server, method, "/model/nobody").status_code == 404
    assert ask(server, "POST", "/reload").status_code == 403
