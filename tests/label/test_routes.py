"""Routes without a server: where they are put, and who may do what."""

import pytest
from fastapi import FastAPI, HTTPException
from monailabel.config import settings as platform
from monailabel.endpoints.user.auth import DEFAULT_USER, User

from segtrust.errors import SegtrustError, SettingError
from segtrust.label.routes import _options, _require_annotator, install_routes, run_inference


@pytest.fixture
def server():
    application = FastAPI()

    @application.post("/infer/{model}")
    def stock(model: str):
        return model

    install_routes(application)
    return application


def test_our_routes_come_before_those_of_monai_label(server):
    first = server.router.routes[0]
    assert (first.path, first.endpoint) == ("/infer/{model}", run_inference)


def test_errors_of_the_library_have_a_handler(server):
    assert SegtrustError in server.exception_handlers
    assert server.middleware_stack is None


def test_the_documentation_keeps_one_entry_for_inference_and_has_ours(server):
    ours = ["/segtrust/models", "/segtrust/findings/{model}", "/segtrust/maps/{model}"]
    assert list(server.openapi()["paths"]) == [*ours, "/infer/{model}"]


def test_without_login_everybody_may_save(monkeypatch):
    monkeypatch.setattr(platform, "MONAI_LABEL_AUTH_ENABLE", False)
    _require_annotator(DEFAULT_USER)


def test_with_login_only_annotators_may_save_through_inference(monkeypatch):
    monkeypatch.setattr(platform, "MONAI_LABEL_AUTH_ENABLE", True)
    _require_annotator(DEFAULT_USER)
    with pytest.raises(HTTPException) as refused:
        _require_annotator(User(username="reader", roles=[platform.MONAI_LABEL_AUTH_ROLE_USER]))
    assert refused.value.status_code == 403


@pytest.mark.parametrize("text", ["", "{}"])
def test_params_may_be_absent(text):
    assert _options(text) == {}


@pytest.mark.parametrize("text", ["{", "[]", "1"])
def test_params_must_be_an_object(text):
    with pytest.raises(SettingError, match="`params` must be"):
        _options(text)
