"""Which pages and names the server answers."""

import asyncio
import socket

import httpx
import pytest
from fastapi import FastAPI, WebSocket
from fastapi.middleware.cors import CORSMiddleware
from hypothesis import example, given, settings
from hypothesis import strategies as st

from segtrust.errors import SettingError
from segtrust.label.routes.origins import OriginPolicy, guard

OWN = "http://127.0.0.1:8000"
PAGE = "https://viewer.example.org"
NAME = "segtrust.example.org"


@pytest.fixture
def ask():
    """A function that sends one request; what was reached is in its attribute."""
    server = FastAPI()
    server.add_middleware(
        CORSMiddleware, allow_origins=["*"], allow_credentials=True, allow_methods=["*"], allow_headers=["*"]
    )
    reached = []

    @server.api_route("/scan", methods=["GET", "PUT", "POST", "DELETE"])
    def scan():
        reached.append("scan")
        return {}

    @server.websocket("/live")
    async def live(connection: WebSocket):
        reached.append("live")
        await connection.accept()
        await connection.close()

    guard(server, OriginPolicy((NAME,), (PAGE,)))

    def send(method="GET", base=OWN, **headers):
        fields = {name.replace("_", "-"): value for name, value in headers.items()}

        async def arrived(scope, receive, send):
            await server({**scope, "server": ("127.0.0.1", 8000)}, receive, send)

        async def exchange():
            async with httpx.AsyncClient(transport=httpx.ASGITransport(arrived), base_url=base) as client:
                return await client.request(method, "/scan", headers=fields)

        return asyncio.run(exchange())

    send.reached, send.server = reached, server
    return send


FOREIGN = [
    "https://evil.example",
    "null",
    "http://127.0.0.1:9000",
    "https://127.0.0.1:8000",
    "file://",
    "http://",
]


@pytest.mark.parametrize("page", FOREIGN)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_a_page_of_another_server_reaches_nothing_and_gets_no_permission(ask, method, page):
    answer = ask(method, origin=page)
    assert (answer.status_code, answer.json()["code"]) == (403, "origin")
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert ask.reached == []


def test_its_question_whether_it_may_is_refused(ask):
    answer = ask("OPTIONS", origin="https://evil.example", access_control_request_method="DELETE")
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("base", [OWN, "http://localhost:8000", "http://[::1]:8000", f"https://{NAME}"])
def test_our_own_page_may_do_everything(ask, base):
    for method in ("GET", "PUT", "DELETE"):
        assert ask(method, base, origin=base).status_code == 200


def test_a_program_sends_no_origin_and_is_answered(ask):
    assert ask("PUT").status_code == 200


def test_a_page_that_is_configured_may_ask_without_the_readers_credentials(ask):
    may = ask(
        "OPTIONS", origin=PAGE, access_control_request_method="PUT", access_control_request_headers="x-a"
    )
    assert may.status_code == 204
    assert "PUT" in may.headers["access-control-allow-methods"]
    assert may.headers["access-control-allow-headers"] == "x-a"
    assert ask.reached == []
    answer = ask("PUT", origin=PAGE)
    assert answer.headers["access-control-allow-origin"] == PAGE
    for headers in (may.headers, answer.headers):
        assert "access-control-allow-credentials" not in headers
        assert "Origin" in headers["vary"]


@pytest.mark.parametrize(
    "base", ["http://evil.example:8000", "http://10.0.0.7:8000", "http://127.0.0.1.evil.example"]
)
def test_a_name_that_somebody_points_to_this_machine_is_refused(ask, base):
    for headers in ({}, {"origin": base}):
        answer = ask("GET", base, **headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "host")
        assert "allowed_hosts" in answer.json()["detail"]
    assert ask.reached == []


def scope(host, *, server=("127.0.0.1", 8000), **headers):
    named = [(b"host", host.encode("latin-1"))] if isinstance(host, str) else [(b"host", h) for h in host]
    others = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http", "method": "GET", "scheme": "http", "server": server, "headers": named + others}


def test_the_address_that_the_client_connected_to_is_a_name_of_ours():
    assert OriginPolicy().refusal(scope("192.0.2.7:8000", server=("192.0.2.7", 8000))) is None
    assert OriginPolicy().refusal(scope("[2001:db8::7]:8000", server=("2001:db8::7", 8000))) is None


def test_the_machine_s_own_name_is_one_of_ours():
    assert OriginPolicy().refusal(scope(f"{socket.gethostname().upper()}:8000")) is None


@pytest.mark.parametrize(
    "hosts", [(), (b"127.0.0.1:8000", b"127.0.0.1:8000"), (b"",), (b"evil@localhost",), (b"localhost:x",)]
)
def test_a_request_with_no_clear_name_is_refused(hosts):
    assert OriginPolicy(("*",)).refusal(scope(hosts)).code == "host"


def test_any_name_may_be_allowed():
    assert OriginPolicy(("*",)).refusal(scope("whatever.example")) is None


@settings(max_examples=200)
@given(host=st.text(st.characters(codec="latin-1"), max_size=40))
@example(host="localhost.evil.example")
@example(host="localhost\x00")
@example(host="127.0.0.1,evil")
@example(host="LOCALHOST.")
def test_only_our_names_are_accepted_whatever_is_sent(host):
    refusal = OriginPolicy().refusal(scope(host))
    name = host.partition(":")[0].rstrip(".").lower()
    ours = name in {"localhost", "127.0.0.1", socket.gethostname().lower()} or host.startswith("[")
    assert refusal is not None or ours


def test_a_part_of_a_foreign_page_is_refused_and_a_link_is_followed():
    picture = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors", "sec_fetch_dest": "image"}
    frame = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "iframe"}
    link = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
    own = {"sec_fetch_site": "same-origin", "sec_fetch_mode": "no-cors", "sec_fetch_dest": "image"}
    refused = [OriginPolicy().refusal(scope("localhost", **part)) for part in (picture, frame, link, own)]
    assert [entry and entry.code for entry in refused] == ["origin", "origin", None, None]


@pytest.mark.parametrize(("page", "opens"), [(OWN, True), ("http://evil.example", False), ("null", False)])
def test_a_web_socket_is_checked_as_well(ask, page, opens):
    answers = []
    connection = scope("127.0.0.1:8000", origin=page) | {
        "type": "websocket", "scheme": "ws", "path": "/live", "query_string": b"", "subprotocols": []
    }  # fmt: skip

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        answers.append(message)

    asyncio.run(ask.server(connection, receive, send))
    assert answers[0]["type"] == ("websocket.accept" if opens else "websocket.close")
    assert ask.reached == (["live"] if opens else [])


@pytest.mark.parametrize("origin", ["*", "null", "viewer.example.org", "https://a/b", "https://a?b", ""])
def test_an_origin_that_is_no_address_stops_the_start(origin):
    with pytest.raises(SettingError, match="`allowed_origins` must be addresses such as https://"):
        OriginPolicy((), (origin,))


@pytest.mark.parametrize("host", ["https://a", "a:8000", "a/b", "a b"])
def test_a_host_that_is_no_name_stops_the_start(host):
    with pytest.raises(SettingError, match="`allowed_hosts` must be host names"):
        OriginPolicy((host,))
