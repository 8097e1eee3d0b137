"""The check in front of every route: ours, MONAI Label's, its pages and files, and what nobody listed."""

import json
import math
from urllib.parse import urlsplit

from fastapi import FastAPI
from monailabel.config import settings as platform
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from segtrust.label.login.access import ANYONE, is_heavy, least_rank
from segtrust.label.login.accounts import Account, Rank, reaches
from segtrust.label.login.credentials import (
    BadCredentialsError,
    Bearer,
    path_of,
    read_credentials,
    take_key_from_path,
)
from segtrust.label.login.gate import Gate, Refused
from segtrust.label.login.identity import keep_account
from segtrust.label.login.routes import router_of
from segtrust.label.routes.origins import OriginsOnly
from segtrust.label.trail import act_as

__all__ = ["install_login"]

_CODES = {400: "malformed", 401: "login", 403: "forbidden", 429: "busy", 503: "unavailable"}
_CHALLENGE = 'Basic realm="segtrust", charset="UTF-8"'
_VIOLATION = 1008  # WebSocket's word for a policy that was not kept
_LOOPBACK = ("127.", "::1", "localhost", "testserver", "/")


_KEY = "segtrust.key_in_path"


class KeyAside:
    """Outermost middleware: takes a key off the address before anything could write the address down.

    Args:
        app: what answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand one connection on with the key in its scope."""
        if scope["type"] in ("http", "websocket"):
            try:
                key = take_key_from_path(scope)
            except BadCredentialsError as error:
                await _refuse(Refused(400, str(error)), scope, receive, send)
                return
            if key is not None:
                scope[_KEY] = key
                send = _below(f"/u/{key}", scope, send)
        await self._app(scope, receive, send)


class LoginFirst:
    """Middleware that lets nobody through whose role does not reach what they ask for.

    Args:
        app: what answers.
        gate: who is let in.
    """

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection; what is neither HTTP nor WebSocket goes on as it is."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        key: str | None = scope.get(_KEY)
        try:
            account = await self._admitted(scope, key)
        except BadCredentialsError as error:
            await _refuse(Refused(400, str(error)), scope, receive, send)
            return
        except Refused as refused:
            await _refuse(refused, scope, receive, send)
            return
        if account is None:
            await self._app(scope, receive, _with_policy(send))
            return
        keep_account(scope, account)
        act_as(account.name)
        try:
            await self._counted(account, scope, receive, _with_policy(send))
        except Refused as refused:
            await _refuse(refused, scope, receive, send)

    async def _admitted(self, scope: Scope, key: str | None) -> Account | None:
        gate = self._gate
        if not gate.is_required:
            if not gate.may_be_open and not _arrived_here(scope):
                raise Refused(
                    403,
                    "without a log-in this server answers programs of its own machine alone. Add users: "
                    "segtrust users add NAME --role reader STUDIES, or start it with --conf login off",
                )
            return None
        path = _local_path(scope)
        method = "WEBSOCKET" if scope["type"] == "websocket" else scope["method"]
        needed = least_rank(method, path)
        if needed == ANYONE:
            return None
        sent = read_credentials(scope)
        if key is not None:
            if sent is not None:
                raise BadCredentialsError(
                    "a request must say once who asks, got a key in the address as well."
                )
            sent = Bearer(key)
        account = await gate.account(sent, (scope.get("client") or ("", 0))[0])
        if not reaches(account.rank, _rank(needed)):
            raise Refused(
                403,
                f"{method} {path[:100]} needs the role {needed!r}, and {account.name!r} is {account.rank!r}; "
                "or there is nothing of this name. Who runs the server gives roles: segtrust users add",
            )
        return account

    async def _counted(self, account: Account, scope: Scope, receive: Receive, send: Send) -> None:
        heavy = scope["type"] == "http" and is_heavy(_local_path(scope))
        limits = [self._gate.traffic, self._gate.heavy] if heavy else [self._gate.traffic]
        begun = []
        try:
            for limit in limits:
                if wait := limit.begin(account.name):
                    raise Refused(
                        429,
                        f"a user may send {limit.per_minute} such requests in a minute and have "
                        f"{limit.at_once} answered at a time, and {account.name!r} did. Try again later.",
                        wait,
                    )
                begun.append(limit)
            await self._app(scope, receive, send)
        finally:
            for limit in begun:
                limit.end(account.name)


def install_login(server: FastAPI, gate: Gate) -> None:
    """Put the check in front of all routes; only the check of names and pages comes before it.

    Args:
        server: MONAI Label's FastAPI application, already started, with our routes.
        gate: who is let in.

    Raises:
        ValueError: without the check of names and pages, which must be there already.
    """
    before = len(server.router.routes)
    server.include_router(router_of(gate), prefix=platform.MONAI_LABEL_API_STR)
    ours = server.router.routes[before:]
    del server.router.routes[before:]
    server.router.routes[0:0] = ours
    place = 1 + [vars(entry)["cls"] for entry in server.user_middleware].index(OriginsOnly)
    server.user_middleware.insert(place, Middleware(LoginFirst, gate=gate))
    server.user_middleware.insert(0, Middleware(KeyAside))
    server.openapi_schema = None
    server.middleware_stack = None  # built again at the next request


def _local_path(scope: Scope) -> str:
    path = path_of(scope)
    prefix = platform.MONAI_LABEL_API_STR
    return path.removeprefix(prefix) if prefix and path.startswith(f"{prefix}/") else path


def _rank(needed: str) -> Rank:
    rank: Rank = needed  # type: ignore[assignment]  # the table has roles and `anyone`, which was seen to
    return rank


def _arrived_here(scope: Scope) -> bool:
    """Whether a request came in at an address that only this machine can reach."""
    address = (scope.get("server") or ("", 0))[0] or ""
    return address.startswith(_LOOPBACK) or address in ("", "::ffff:127.0.0.1")


async def _refuse(refused: Refused, scope: Scope, receive: Receive, send: Send) -> None:
    code = _CODES[refused.status]
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": _VIOLATION, "reason": code})
        return
    body = {"detail": refused.detail, "code": code, "scan": None, "task": None}
    # the rest of what the client sends is not read
    headers = {"connection": "close", "cache-control": "no-store"}
    if refused.status == 401:
        headers["www-authenticate"] = _CHALLENGE
    if refused.wait:
        headers["retry-after"] = str(math.ceil(refused.wait))
    text = json.dumps(body).encode("utf-8", "replace")
    await Response(text, refused.status, headers, media_type="application/json")(scope, receive, send)


def _with_policy(send: Send) -> Send:
    """Let pages of this server tell its addresses to nobody else."""

    async def send_with_policy(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).setdefault("referrer-policy", "same-origin")
        await send(message)

    return send_with_policy


def _below(prefix: str, scope: Scope, send: Send) -> Send:
    """Lead redirects of this server back below a key's address."""
    host = Headers(scope=scope).get("host", "")

    async def send_below(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            target = urlsplit(headers.get("location", ""))
            if target.path.startswith("/") and target.netloc in ("", host):
                headers["location"] = target._replace(path=f"{prefix}{target.path}").geturl()
        await send(message)

    return send_below
