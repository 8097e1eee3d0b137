"""The table of routes and roles, against the routes that there are."""

import re

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from hypothesis import given
from hypothesis import strategies as st

from segtrust.label.login.access import ACCESS, ANYONE, is_heavy, least_rank, listed_rank
from segtrust.label.login.accounts import RANKS
from segtrust.label.login.middleware import install_login
from segtrust.label.login.policy import gate_for
from segtrust.label.routes.install import install_routes
from segtrust.label.routes.origins import OriginPolicy, guard
from segtrust.label.settings import AppSettings

ORDER = [ANYONE, *RANKS]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """MONAI Label's own application with our routes, without an app behind them."""
    from monailabel.app import app  # noqa: PLC0415 -- the process must not have one before

    install_routes(app)
    guard(app, OriginPolicy())
    install_login(app, gate_for(AppSettings(login="off"), tmp_path_factory.mktemp("state"), None))
    return app


def routes_of(server):
    """Method and path of every route, hidden or not, those of included routers and mounts too."""
    found = []
    for route in iter_route_contexts(server.router.routes):
        path = route.path if hasattr(route, "path") else None
        methods = getattr(route, "methods", None) or {"GET"}
        found += [(method, path) for method in methods]
    return found


def example(path):
    return re.sub(r"\{.*?\}", "name", path)


def test_every_route_of_the_server_has_a_least_role(server):
    routes = routes_of(server)
    assert {("POST", "/reload"), ("GET", "/"), ("GET", "/logs/"), ("PUT", "/model/{model}")} <= set(routes)
    assert any(path.startswith("/static") for _, path in routes)
    assert [
        r for r in routes if listed_rank(r[0], example(r[1])) is None and not r[1].startswith("/static")
    ] == []


def test_the_description_has_no_other_routes(server):
    paths = server.openapi()["paths"]
    assert len(paths) > 25
    missing = [(m, p) for p, ms in paths.items() for m in ms if listed_rank(m.upper(), example(p)) is None]
    assert missing == []


def test_a_route_that_somebody_forgot_is_for_administrators():
    server = FastAPI()

    @server.get("/segtrust/forgotten")
    def forgotten():
        return {}

    assert ("GET", "/segtrust/forgotten") in routes_of(server)
    assert listed_rank("GET", "/segtrust/forgotten") is None
    assert least_rank("GET", "/segtrust/forgotten") == "administrator"


@pytest.mark.parametrize(
    ("method", "path", "least"),
    [
        ("GET", "/auth/", ANYONE),
        ("HEAD", "/datastore/image", "reader"),
        ("GET", "/info", "reader"),
        ("GET", "/auth", "reader"),
        ("GET", "/logs", "administrator"),
        ("OPTIONS", "/info/", "administrator"),
        ("WEBSOCKET", "/info/", "administrator"),
        ("get", "/auth/", "administrator"),
        ("GET", "/AUTH/", "administrator"),
        ("GET", "//auth/", "administrator"),
        ("GET", "/auth//", "reader"),
        ("POST", "/proxy/dicom/stow/studies", "annotator"),
        ("GET", "/static/../logs/", "reader"),  # a file's name below /static: no route of /logs/ sees it
        ("DELETE", "/datastore/image", "administrator"),
        ("POST", "/infer/wsi/model", "reader"),
        ("GET", "/model/info/x", "administrator"),
        ("GET", "/auth/\n", "administrator"),
    ],
)
def test_least_roles(method, path, least):
    assert least_rank(method, path) == least


@given(st.text(alphabet="/.%a0\n\x00é" + "auth", max_size=12), st.sampled_from(["GET", "POST", "PUT", "X"]))
def test_only_what_is_listed_is_for_anyone(path, method):
    anyone = {(m, p) for least, m, ps in ACCESS if least == ANYONE for p in ps}
    assert (least_rank(method, path) == ANYONE) == ((method, path) in anyone)


def test_the_highest_of_all_entries_that_fit_counts():
    for least, method, paths in ACCESS:
        for path in paths:
            assert ORDER.index(least_rank(method, example(path))) >= ORDER.index(least)


def test_what_runs_a_network_is_heavy():
    assert is_heavy("/infer/hippocampus")
    assert is_heavy("/segtrust/maps/hippocampus")
    assert not is_heavy("/info/")
