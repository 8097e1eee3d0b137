"""The proxy against a DICOMweb server of a few lines that remembers what it was asked."""

import asyncio
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest
from fastapi import FastAPI, HTTPException
from hypothesis import given
from hypothesis import strategies as st
from monailabel.config import settings as platform
from starlette.requests import Request

from asgi import Client
from segtrust.errors import SettingError
from segtrust.label.failures import PathError
from segtrust.label.ohif import proxy

ROOT = "http://pacs/dicom-web"


class _Pacs(BaseHTTPRequestHandler):
    """Answers with one piece, then waits until it may send the other."""

    def do_GET(self):
        self.server.asked.append((self.path, dict(self.headers), b""))
        if self.server.silent.is_set():
            self.server.may_go_on.wait(5)
            return
        self.send_response(206)
        self.send_header("Content-Type", "application/dicom+json")
        self.send_header("Content-Length", "10")
        self.send_header("Set-Cookie", "secret=1")
        self.end_headers()
        self.wfile.write(b"first")
        self.wfile.flush()
        self.wfile.write(b"other" if self.server.may_go_on.wait(5) else b"wrong")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, dict(self.headers), body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def pacs(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Pacs)
    server.daemon_threads = True
    server.asked, server.may_go_on, server.silent = [], threading.Event(), threading.Event()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setattr(platform, "MONAI_LABEL_STUDIES", f"http://127.0.0.1:{server.server_port}/dicom-web/")
    proxy._client.cache_clear()
    yield server
    proxy._client.cache_clear()
    server.may_go_on.set()
    server.shutdown()
    server.server_close()


def request_of(query=""):
    return Request(
        {"type": "http", "method": "GET", "query_string": query.encode(), "headers": [], "path": "/"}
    )


@pytest.fixture
def client(pacs):
    application = FastAPI()
    application.include_router(proxy.router)
    pacs.may_go_on.set()
    return Client(application)


def test_query_and_accept_reach_the_pacs_and_its_answer_comes_back(client, pacs):
    answer = client.get(
        "/proxy/dicom/qido/studies?PatientID=A%26B&limit=1", headers={"Accept": "application/dicom+json"}
    )
    ((path, headers, _),) = pacs.asked
    assert path == "/dicom-web/studies?PatientID=A%26B&limit=1"
    assert headers["accept"] == "application/dicom+json"
    assert (answer.status_code, answer.content) == (206, b"firstother")
    assert answer.headers["content-type"] == "application/dicom+json"
    assert "set-cookie" not in answer.headers


def test_log_ins_and_cookies_of_the_viewer_stay_here(client, pacs):
    client.get("/proxy/dicom/qido/studies", headers={"Authorization": "Bearer x", "Cookie": "a=b"})
    assert not {"authorization", "cookie"} & {name.lower() for name in pacs.asked[0][1]}


def test_storing_hands_body_and_type_on(client, pacs):
    kind = 'multipart/related; type="application/dicom"; boundary=x'
    assert (
        client.post(
            "/proxy/dicom/stow/studies", content=b"DICM" * 9, headers={"Content-Type": kind}
        ).status_code
        == 200
    )
    ((path, headers, body),) = pacs.asked
    assert (path, headers["content-type"], body) == ("/dicom-web/studies", kind, b"DICM" * 9)


def test_the_first_piece_arrives_before_the_last_was_sent(pacs):
    async def read():
        answer = await proxy.forward(request_of(), "wado/studies/1.2/series/3")
        pieces = aiter(answer.body_iterator)
        first = await anext(pieces)
        pacs.may_go_on.set()  # the server waits for this: to hold the answer back would make it send "wrong"
        return first, b"".join([piece async for piece in pieces])

    assert asyncio.run(read()) == (b"first", b"other")


def test_other_requests_are_answered_while_the_pacs_is_slow(pacs):
    async def both():
        pacs.silent.set()
        waiting = asyncio.create_task(proxy.forward(request_of(), "qido/studies"))
        while not pacs.asked:
            await asyncio.sleep(0.01)
        assert not waiting.done()  # the loop runs on although no answer has come
        pacs.may_go_on.set()
        with pytest.raises(HTTPException):
            await waiting

    asyncio.run(both())


def test_a_pacs_that_says_nothing_is_given_up_in_time(pacs, monkeypatch):
    monkeypatch.setattr(platform, "MONAI_LABEL_DICOMWEB_PROXY_TIMEOUT", 0.2)
    pacs.silent.set()
    with pytest.raises(HTTPException, match="MONAI_LABEL_DICOMWEB_PROXY_TIMEOUT") as given_up:
        asyncio.run(proxy.forward(request_of(), "qido/studies"))
    assert given_up.value.status_code == 504


def test_a_pacs_that_is_not_there_is_said_to_be_so(monkeypatch):
    monkeypatch.setattr(platform, "MONAI_LABEL_STUDIES", "http://127.0.0.1:9/dicom-web")
    proxy._client.cache_clear()
    with pytest.raises(HTTPException, match="did not answer at all") as refused:
        asyncio.run(proxy.forward(request_of(), "qido/studies"))
    proxy._client.cache_clear()
    assert refused.value.status_code == 502


def test_a_folder_of_studies_has_no_dicomweb(monkeypatch):
    monkeypatch.setattr(platform, "MONAI_LABEL_STUDIES", "/data/studies")
    with pytest.raises(SettingError, match="needs a DICOMweb server"):
        asyncio.run(proxy.forward(request_of(), "qido/studies"))


@pytest.mark.parametrize(
    "path",
    [
        "../system", "studies/../../system", "studies/..", "studies/%2e%2e/%2e%2e/system", "studies//1",
        "servers", "servers/peer/get", "studies/1\\..\\..", "studies/1?x=1", "studies/1#x",
        "studies/1\r\nHost: x", "", "/", ".",
    ],
)  # fmt: skip
def test_nothing_but_dicomweb_is_reached(path):
    with pytest.raises(PathError, match="must begin with one of studies, series, instances, bulkdata"):
        proxy.dicomweb_address(ROOT, "qido", path)


@given(st.lists(st.sampled_from(["studies", "1.2", "..", ".", "%2e%2e", "%2F", "/", "\\", "a", "?", "#"])))
def test_an_address_that_is_made_stays_below_the_root(parts):
    try:
        address = proxy.dicomweb_address(ROOT, "", "/".join(["studies", *parts]))
    except PathError:
        return
    path = unquote(unquote(urlsplit(address).path))
    assert path.startswith("/dicom-web/studies")
    assert ".." not in path.split("/")


def test_prefixes_of_the_operator_are_kept(monkeypatch):
    monkeypatch.setattr(platform, "MONAI_LABEL_QIDO_PREFIX", "qido-rs")
    monkeypatch.setattr(platform, "MONAI_LABEL_WADO_PREFIX", "wado-rs")
    assert proxy.dicomweb_address(ROOT, "qido", "studies/1/series") == f"{ROOT}/qido-rs/studies/1/series"
    assert proxy.dicomweb_address(ROOT, "qido", "studies/1/metadata") == f"{ROOT}/wado-rs/studies/1/metadata"


@pytest.mark.parametrize(("chosen", "seconds"), [(set(), 30.0), ({"MONAI_LABEL_DICOMWEB_READ_TIMEOUT"}, 5.0)])
def test_the_shorter_time_between_pieces_counts_where_the_operator_set_it(monkeypatch, chosen, seconds):
    monkeypatch.setattr(platform, "__pydantic_fields_set__", chosen)
    assert proxy.dicomweb_timeout().read == seconds
    assert proxy.dicomweb_timeout().connect == 30.0
