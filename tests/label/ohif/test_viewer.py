"""The files that the viewer loads."""

import re

import pytest
from fastapi import FastAPI
from monailabel.config import settings as platform
from monailabel.endpoints.user.auth import User, get_current_user

from asgi import Client
from segtrust.label.ohif import routers_for, viewer
from segtrust.label.routes import findings


@pytest.fixture
def application():
    server = FastAPI()
    for router in (*routers_for("http://pacs/dicom-web"), findings.router):
        server.include_router(router)
    return server


@pytest.fixture
def client(application):
    return Client(application)


def test_the_configuration_is_ours_and_asked_for_again_each_time(client):
    answer = client.get("/ohif/app-config.js")
    assert answer.headers["content-type"].startswith("text/javascript")
    assert answer.headers["cache-control"] == "no-cache"
    assert "segtrust/panel.js" in answer.text


def test_every_file_that_the_panel_imports_is_served_as_a_script(client):
    wanted, seen = {"panel.js", "panel.css"}, set()
    while wanted:
        name = wanted.pop()
        answer = client.get(f"/ohif/segtrust/{name}")
        assert answer.status_code == 200, name
        assert answer.headers["content-type"].startswith(
            "text/css" if name.endswith("css") else "text/javascript"
        )
        seen.add(name)
        wanted |= {*re.findall(r"from '\./([\w.]+)'", answer.text)} - seen
    assert seen | {"app-config.js"} == {file.name for file in viewer._OURS.iterdir()}


def test_a_file_in_a_sub_folder_is_itself_and_not_the_start_page(client):
    answer = client.get("/ohif/assets/favicon.ico")
    assert answer.content == (viewer._BUNDLED / "assets" / "favicon.ico").read_bytes()


@pytest.mark.parametrize(
    "path", ["assets/none.js", "segtrust/none.js", "segtrust/..%2fviewer.py", "a/..%2f..%2f..%2fohif.py"]
)
def test_what_is_not_there_or_not_ours_to_give_is_not_found(client, path):
    assert client.get(f"/ohif/{path}").status_code == 404


def test_an_address_inside_the_viewer_gets_its_start_page(client):
    assert client.get("/ohif/viewer/dicomweb").text == (viewer._BUNDLED / "index.html").read_text("utf-8")


@pytest.mark.parametrize(
    "path",
    ["/ohif/app-config.js", "/ohif/segtrust/panel.js", "/ohif/assets/favicon.ico",
     "/proxy/dicom/qido/studies", "/segtrust/models", "/segtrust/findings/m?image=a",
     "/segtrust/maps/m?image=a"],
)  # fmt: skip
def test_with_login_a_stranger_gets_nothing(application, client, monkeypatch, path):
    monkeypatch.setattr(platform, "MONAI_LABEL_AUTH_ENABLE", True)
    application.dependency_overrides[get_current_user] = lambda: User(username="x", roles=["stranger"])
    assert client.get(path).status_code == 403


def test_google_keeps_the_proxy_that_knows_its_log_in():
    paths = [
        route.path
        for router in routers_for("https://healthcare.googleapis.com/v1/x")
        for route in router.routes
    ]
    assert not [path for path in paths if path.startswith("/proxy")]
