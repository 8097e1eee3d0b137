"""The check in front of every route, in this process."""

import asyncio
import base64

import httpx
import pytest
from fastapi import FastAPI, Request, WebSocket

from segtrust.label.login import access
from segtrust.label.login.accounts import UsersFile
from segtrust.label.login.gate import Gate
from segtrust.label.login.identity import signed_in
from segtrust.label.login.limits import Traffic
from segtrust.label.login.middleware import install_login
from segtrust.label.login.sessions import LoginSessions
from segtrust.label.routes.intake import Intake
from segtrust.label.routes.origins import OriginPolicy, guard

WORDS = "correct horse battery"
URL = "http://127.0.0.1:8000"
BASIC = {"Authorization": "Basic " + base64.b64encode(f"anna:{WORDS}".encode()).decode()}


def application(tmp_path, *, required=True, may_be_open=False, per_minute=1000, at_once=10):
    users = UsersFile(tmp_path / "users.json")
    if not users.users():
        users.add("anna", "annotator", WORDS)
    server = FastAPI()
    server.reached = []

    @server.get("/info/")
    async def info(request: Request):
        server.reached.append("info")
        if server.hold is not None:
            await server.hold.wait()
        user = signed_in(request.scope)
        return {"user": user.username if user else None, "roles": user.roles if user else []}

    @server.get("/forgotten")
    @server.get("/logs/")
    def forgotten():
        server.reached.append("forgotten")
        return {}

    @server.websocket("/live")
    async def live(connection: WebSocket):
        server.reached.append("live")
        await connection.accept()

    server.hold = None
    server.add_middleware(Intake)
    guard(server, OriginPolicy())
    gate = Gate(
        users=users,
        is_required=required,
        may_be_open=may_be_open,
        provider=None,
        traffic=Traffic(per_minute, at_once),
        heavy=Traffic(per_minute, at_once),
        sessions=LoginSessions(100),
    )
    install_login(server, gate)
    return server


def ask(server, path, *, method="GET", address="127.0.0.1", **headers):
    async def arrived(scope, receive, send):
        await server({**scope, "server": (address, 8000)}, receive, send)

    async def exchange():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(arrived), base_url=URL) as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(exchange())


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    return application(tmp_path_factory.mktemp("closed"))


TRICKS = [
    *("/info/", "/info", "//info/", "/./info/", "/%69nfo/", "/info/%2e%2e/info/", "/info%2f", "/INFO/"),
    *("/info/;x", "/info/?/auth/", "/auth/../info/", "/auth/%2e%2e/info/", "/auth/%2F..%2Finfo/"),
    *("/u/x/info/", "/u//info/", "/u/%2e%2e/info/", "/static/../info/", "/favicon.ico/../info/"),
    *("/openapi.json", "/forgotten"),
]


@pytest.mark.parametrize("path", TRICKS)
def test_no_way_of_writing_an_address_gets_by_without_a_log_in(closed, path):
    for method in ("GET", "HEAD", "OPTIONS", "POST", "TRACE", "get", "PROPFIND"):
        answer = ask(closed, path, method=method)
        # the latter after five wrong keys
        assert answer.status_code in ({401, 429} if "/u/" in path else {401}), (method, answer.text)
        assert "location" not in answer.headers
    assert closed.reached == []


def test_who_logged_in_is_known_to_routes_by_name_and_roles(tmp_path):
    answer = ask(application(tmp_path), "/info/", **BASIC)
    assert answer.json() == {"user": "anna", "roles": ["monailabel-user", "monailabel-annotator"]}


def test_a_route_that_is_not_listed_is_closed_to_all_but_administrators(tmp_path):
    server = application(tmp_path)
    assert ask(server, "/forgotten", **BASIC).status_code == 403
    assert server.reached == []
    UsersFile(tmp_path / "users.json").add("anna", "administrator", None)
    assert ask(server, "/forgotten", **BASIC).status_code == 200


def test_a_socket_is_refused_before_it_is_open(tmp_path):
    server, sent = application(tmp_path), []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "websocket", "path": "/live", "raw_path": b"/live", "query_string": b"", "scheme": "ws",
        "headers": [(b"host", b"127.0.0.1:8000"), (b"authorization", BASIC["Authorization"].encode())],
        "server": ("127.0.0.1", 8000), "client": ("127.0.0.1", 1), "subprotocols": [], "root_path": "",
    }  # fmt: skip
    asyncio.run(server(scope, receive, send))
    assert [message["type"] for message in sent] == ["websocket.close"]
    assert server.reached == []


def test_the_key_is_off_the_address_before_anything_else_sees_it_even_a_refusal(tmp_path):
    server = application(tmp_path)
    key = UsersFile(tmp_path / "users.json").add_key("anna")
    scopes = []

    async def arrived(scope, receive, send):
        own = {**scope, "server": ("127.0.0.1", 8000)}
        scopes.append(own)
        await server(own, receive, send)

    async def exchange(host):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(arrived), base_url=URL) as client:
            return await client.get(f"/u/{key}/info/", headers={"Host": host})

    assert asyncio.run(exchange("127.0.0.1:8000")).json()["user"] == "anna"
    assert asyncio.run(exchange("elsewhere.example")).status_code == 400
    assert [scope["path"] for scope in scopes] == ["/info/", "/info/"]
    assert not any(key.encode() in scope["raw_path"] for scope in scopes)


def test_a_key_in_the_address_and_another_name_beside_it_is_refused(tmp_path):
    server = application(tmp_path)
    key = UsersFile(tmp_path / "users.json").add_key("anna")
    assert ask(server, f"/u/{key}/info/", **BASIC).status_code == 400


def test_without_a_log_in_only_this_machine_is_answered_unless_somebody_said_otherwise(tmp_path):
    for address in ("127.0.0.1", "::1"):
        assert ask(application(tmp_path, required=False), "/info/", address=address).json()["user"] is None
    refused = ask(application(tmp_path, required=False), "http://10.0.0.7:8000/info/", address="10.0.0.7")
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert "segtrust users add" in refused.json()["detail"]
    opened = application(tmp_path, required=False, may_be_open=True)
    assert ask(opened, "http://10.0.0.7:8000/info/", address="10.0.0.7").status_code == 200


def test_a_user_who_asks_for_too_much_waits_and_nobody_else_does(tmp_path):
    server = application(tmp_path, per_minute=60)
    server_answers = [ask(server, "/info/", **BASIC) for _ in range(62)]
    assert [a.status_code for a in server_answers[:60]] == [200] * 60
    assert server_answers[-1].status_code == 429
    assert server_answers[-1].json()["code"] == "busy"
    assert int(server_answers[-1].headers["Retry-After"]) >= 1
    UsersFile(tmp_path / "users.json").add("rob", "reader", WORDS)
    rob = {"Authorization": "Basic " + base64.b64encode(f"rob:{WORDS}".encode()).decode()}
    assert ask(server, "/info/", **rob).status_code == 200


def test_only_so_many_requests_of_a_user_run_at_a_time(tmp_path):
    server = application(tmp_path, at_once=2)

    async def arrived(scope, receive, send):
        await server({**scope, "server": ("127.0.0.1", 8000)}, receive, send)

    async def exchange():
        server.hold = asyncio.Event()
        async with httpx.AsyncClient(transport=httpx.ASGITransport(arrived), base_url=URL) as client:
            held = [asyncio.create_task(client.get("/info/", headers=BASIC)) for _ in range(2)]
            while len(server.reached) < 2:
                await asyncio.sleep(0)
            third = await client.get("/info/", headers=BASIC)
            server.hold.set()
            return third, await asyncio.gather(*held)

    third, held = asyncio.run(exchange())
    assert third.status_code == 429
    assert [answer.status_code for answer in held] == [200, 200]
    server.hold = None
    assert ask(server, "/info/", **BASIC).status_code == 200


def test_the_token_of_the_log_in_lets_in_and_a_wrong_password_says_no(tmp_path):
    server = application(tmp_path)

    def log_in(password):
        async def exchange():
            transport = httpx.ASGITransport(server)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                return await client.post("/auth/token", data={"username": "anna", "password": password})

        return asyncio.run(exchange())

    token = log_in(WORDS).json()
    bearer = {"Authorization": f"{token['token_type']} {token['access_token']}"}
    assert ask(server, "/auth/token/valid", **bearer).status_code == 200
    assert log_in("not the password").status_code == 401
    assert access.least_rank("POST", "/auth/token") == "anyone"
