"""What comes before every route: addresses, bodies, and errors that are no JSON."""

import json
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, File, Form, UploadFile
from fastapi.responses import PlainTextResponse
from hypothesis import given
from hypothesis import strategies as st
from monailabel.config import settings as platform
from monailabel.endpoints.user.auth import RBAC, User

from asgi import ask
from bad_inputs import DOCUMENTS, HARMLESS
from segtrust.label.routes.install import install_routes
from segtrust.label.routes.intake import Intake, is_session_id

READER = Annotated[User, Depends(RBAC(platform.MONAI_LABEL_AUTH_ROLE_USER))]


@pytest.fixture(scope="module")
def server():
    """Routes as MONAI Label's are: they ask who is calling, and read what came along by themselves."""
    application = FastAPI()

    @application.post("/body/{name}")
    async def body(user: READER, name: str, params: dict[str, Any] | None = None):
        return {"name": name, "params": params}

    @application.put("/form")
    async def form(
        user: READER,
        file: Annotated[UploadFile | None, File()] = None,
        params: Annotated[str, Form()] = "{}",
        info: Annotated[str, Form()] = "{}",
    ):
        return {"params": json.loads(params), "info": json.loads(info)}

    @application.get("/session_of/{session_id}")
    async def session(user: READER, session_id: str):
        return session_id

    @application.get("/plain")
    async def plain():
        return PlainTextResponse("the range does not fit at all", 416, {"Content-Range": "*/5"})

    @application.get("/broken")
    async def broken():
        raise KeyError("secret")

    install_routes(application)
    return application


def refused(answer: httpx.Response) -> tuple[int, str]:
    document = answer.json()
    assert set(document) == {"detail", "code", "scan", "task"}, document
    assert len(document["detail"]) > 15
    return answer.status_code, document["code"]


@pytest.mark.parametrize("kind", sorted(set(DOCUMENTS) - HARMLESS))
def test_bad_json_is_refused_in_bodies_and_in_forms(server, kind):
    document = DOCUMENTS[kind]
    headers = {"Content-Type": "application/json"}
    assert refused(ask(server, "POST", "/body/x", content=document, headers=headers))[0] == 400
    assert refused(ask(server, "PUT", "/form", data={"params": document})) == (400, "setting")
    assert refused(ask(server, "PUT", "/form", data={"info": document})) == (400, "malformed")
    files = {"file": ("a.nii", b"x")}
    assert refused(ask(server, "PUT", "/form", data={"info": document}, files=files)) == (400, "malformed")


def test_good_json_goes_through(server):
    assert ask(server, "POST", "/body/x", json={"a": [1]}).json() == {"name": "x", "params": {"a": [1]}}
    assert ask(server, "POST", "/body/x").json() == {"name": "x", "params": None}
    answer = ask(server, "PUT", "/form", data={"info": '{"a": 1}'}, files={"file": ("a.nii", b"x")})
    assert answer.json() == {"params": {}, "info": {"a": 1}}


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/body/x", {"Content-Type": "text/plain"}),
        ("/body/x", {}),
        ("/form", {"Content-Type": "application/json"}),
    ],
    ids=str,
)
def test_a_body_of_another_type_is_refused(server, path, headers):
    method = "PUT" if path == "/form" else "POST"
    assert refused(ask(server, method, path, content=b"{}", headers=headers)) == (415, "content_type")


@pytest.mark.parametrize("name", ["a%00b", "%0a", "%ff", "n" * 300, "%C3%BC" * 150], ids=lambda n: n[:8])
def test_names_that_no_file_system_takes_are_refused(server, name):
    assert refused(ask(server, "POST", f"/body/{name}")) == (400, "path")
    assert refused(ask(server, "POST", f"/body/x?image={name}")) == (400, "path")
    assert refused(ask(server, "POST", f"/{name}?{name}")) == (400, "path")


def test_a_query_of_nine_kilobytes_is_too_long(server):
    assert refused(ask(server, "GET", f"/plain?{'a=b&' * 2300}")) == (414, "too_long")


@pytest.mark.parametrize("name", ["..", "a/..", "n" * 300 + ".nii"], ids=lambda name: name[:8])
def test_files_need_a_name_that_can_be_one(server, name):
    answer = ask(server, "PUT", "/form", files={"file": (name, b"x")})
    assert refused(answer) == (400, "path")


@pytest.mark.parametrize("name", ["%2e%2e", "a%20b", "x" * 65, "%C3%BC"])
def test_a_session_that_cannot_be_is_missing(server, name):
    assert refused(ask(server, "GET", f"/session_of/{name}")) == (404, "scan_missing")
    assert refused(ask(server, "POST", f"/body/x?session_id={name}")) == (404, "scan_missing")


@given(st.text(max_size=80))
def test_no_session_leads_out_of_its_folder(name):
    if is_session_id(name):
        assert not set(name) & set("/\\.:\0 ")
        assert name


def test_errors_in_plain_text_become_json(server):
    answer = ask(server, "GET", "/plain")
    assert refused(answer) == (416, "range")
    assert answer.json()["detail"] == "the range does not fit at all"
    assert answer.headers["Content-Range"] == "*/5"


def test_answers_of_the_pacs_are_not_touched():
    forwarding = Intake(PlainTextResponse("words of the PACS", 409))
    answer = ask(forwarding, "POST", f"/proxy/dicom/studies?StudyInstanceUID={'1.2%5C' * 200}")
    assert (answer.status_code, answer.text) == (409, "words of the PACS")
    assert refused(ask(forwarding, "POST", "/proxy/dicom/%00")) == (400, "path")
    assert refused(ask(forwarding, "POST", "/elsewhere")) == (409, "refused")


def test_what_is_not_there_says_where_to_look(server):
    answer = ask(server, "GET", "/nobody")
    assert refused(answer) == (404, "not_found")
    assert "/openapi.json" in answer.json()["detail"]
    answer = ask(server, "DELETE", "/form")
    assert refused(answer) == (405, "method")
    assert "PUT" in answer.json()["detail"]


def test_what_nobody_foresaw_is_json_too_and_tells_nothing(server):
    answer = ask(server, "GET", "/broken")
    assert refused(answer) == (500, "internal")
    assert "secret" not in answer.text
