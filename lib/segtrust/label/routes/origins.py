"""Which web pages may use the server, and under which names it answers: checked before anything else runs."""

import json
import re
import socket
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from segtrust.errors import SettingError

__all__ = ["OriginPolicy", "OriginsOnly", "guard"]

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_ORIGIN = re.compile(r"https?://[a-z0-9.\-\[\]:_]+")
_NAME = re.compile(r"[a-z0-9._\-]+|[0-9a-f.]*(:[0-9a-f.]*){2,7}")
_DEFAULT_PORT = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_METHODS = "GET, HEAD, POST, PUT, DELETE, OPTIONS"
_MAX_AGE_SECONDS = 600
_VIOLATION = 1008  # WebSocket's word for a policy that was not kept


@dataclass(frozen=True)
class Refusal:
    """Why a request is not answered: HTTP status, one word, and a sentence for the reader."""

    status: int
    code: Literal["host", "origin"]
    detail: str


@dataclass(frozen=True)
class OriginPolicy:
    """Which names of the server and which web pages are accepted.

    Args:
        hosts: names of the server besides those of this machine, or ``*`` for any.
        origins: web pages of other servers, as ``https://viewer.example.org``.

    Raises:
        SettingError: if a name is no host name, or an origin no ``http(s)://host[:port]``.

    Note:
        A page of another server that points its own name to this machine (DNS rebinding) counts as ours for a
        browser; it is told apart by the name in ``Host`` alone.
    """

    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    _own: frozenset[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        names = [name.strip("[]").lower() for name in self.hosts]
        pages = [page.lower().rstrip("/") for page in self.origins]
        if wrong := [name for name in names if name != "*" and not _NAME.fullmatch(name)]:
            raise SettingError(
                f"`allowed_hosts` must be host names without http:// and port, or *, got {', '.join(wrong)}. "
                "Example: --conf allowed_hosts segtrust.example.org"
            )
        if wrong := [page for page in pages if not _ORIGIN.fullmatch(page)]:
            raise SettingError(
                f"`allowed_origins` must be addresses such as https://viewer.example.org, got "
                f"{', '.join(wrong)}. Give scheme, host and, if it is not the usual one, the port."
            )
        machine = socket.gethostname().lower()
        own = _LOOPBACK | {machine, machine.partition(".")[0], *names}
        object.__setattr__(self, "_own", own)
        object.__setattr__(self, "origins", tuple(pages))

    def refusal(self, scope: Scope) -> Refusal | None:
        """Why a request must not be answered; ``None`` if it may.

        Args:
            scope: of the request, as ASGI has it.

        Returns:
            The reason, with the setting that would allow it.
        """
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        address = (scope.get("server") or ("", 0))[0] or ""
        if len(hosts) != 1 or not self._is_own_name(_name_of(hosts[0]), address):
            return Refusal(
                400,
                "host",
                f"the server must be addressed by a name of its own, got {', '.join(hosts)[:200] or 'none'}. "
                "Is this its name in your network? Start it with --conf allowed_hosts NAME",
            )
        pages = headers.getlist("origin")
        if pages:
            same = len(pages) == 1 and _is_same(pages[0], scope["scheme"], hosts[0])
            if same or self.allowed_page(headers):
                return None
            return Refusal(
                403,
                "origin",
                f"a web page of {', '.join(pages)[:200]} must not use this server at "
                f"{scope['scheme']}://{hosts[0][:200]}. Is it yours? Start the server with --conf "
                "allowed_origins ADDRESS; a proxy in front must hand on Host and X-Forwarded-Proto.",
            )
        if _comes_from_elsewhere(scope["method"] if scope["type"] == "http" else "", headers):
            return Refusal(
                403,
                "origin",
                "a web page of another server must not load parts from this one; open its pages.",
            )
        return None

    def allowed_page(self, headers: Headers) -> str | None:
        """The page of another server that asks and may; ``None`` if there is none."""
        pages = headers.getlist("origin")
        return pages[0] if len(pages) == 1 and pages[0].lower() in self.origins else None

    def _is_own_name(self, name: str, address: str) -> bool:
        return bool(name) and ("*" in self._own or name in self._own or name == address.lower())


class OriginsOnly:
    """Answers requests of accepted pages to accepted names, and refuses all others before they are read.

    Args:
        app: what answers.
        policy: what is accepted.
    """

    def __init__(self, app: ASGIApp, policy: OriginPolicy) -> None:
        self._app = app
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection; what is neither HTTP nor WebSocket goes on as it is."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        if refusal := self._policy.refusal(scope):
            await _refuse(refusal, scope, receive, send)
            return
        headers = Headers(scope=scope)
        page = self._policy.allowed_page(headers)
        if page is None or scope["type"] == "websocket":
            await self._app(scope, receive, send)
        elif scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await Response(status_code=204, headers=_preflight(page, headers))(scope, receive, send)
        else:
            await self._app(scope, receive, _with_page(send, page))


def guard(server: FastAPI, policy: OriginPolicy) -> None:
    """Put the check in front of all routes, in place of MONAI Label's grant to every page.

    Args:
        server: MONAI Label's FastAPI application, already started.
        policy: what is accepted.
    """
    stay = [entry for entry in server.user_middleware if vars(entry)["cls"] is not CORSMiddleware]
    server.user_middleware[:] = [Middleware(OriginsOnly, policy=policy), *stay]
    server.middleware_stack = None  # built again at the next request


async def _refuse(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": _VIOLATION, "reason": refusal.code})
        return
    body = {"detail": refusal.detail, "code": refusal.code, "scan": None, "task": None}
    # the rest of what the client sends is not read
    headers = {"connection": "close", "vary": "Origin"}
    answer = Response(json.dumps(body), refusal.status, headers, media_type="application/json")
    await answer(scope, receive, send)


def _preflight(page: str, headers: Headers) -> dict[str, str]:
    answer = {
        # no `allow-credentials`: a page of another server asks in its own name, not in the reader's
        "access-control-allow-origin": page,
        "vary": "Origin",
        "access-control-allow-methods": _METHODS,
        "access-control-allow-headers": headers.get("access-control-request-headers", ""),
        "access-control-max-age": str(_MAX_AGE_SECONDS),
    }
    if headers.get("access-control-request-private-network") == "true":
        answer["access-control-allow-private-network"] = "true"
    return answer


def _with_page(send: Send, page: str) -> Send:
    async def send_with_page(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["access-control-allow-origin"] = page
            headers.add_vary_header("Origin")
        await send(message)

    return send_with_page


def _name_of(host: str) -> str:
    """Name in a Host header, without port and brackets; empty if it is none."""
    try:
        parts = urlsplit(f"//{host}")
        parts.port  # noqa: B018 -- raises for a port that is none
    except ValueError:
        return ""
    if parts.username is not None or parts.path or parts.query or parts.fragment:
        return ""
    return (parts.hostname or "").rstrip(".")


def _is_same(page: str, scheme: str, host: str) -> bool:
    """Whether a page's origin is the address of the request itself."""
    try:
        own, asked = urlsplit(page), urlsplit(f"//{host}")
        ports = (own.port or _DEFAULT_PORT.get(own.scheme), asked.port or _DEFAULT_PORT.get(scheme))
    except ValueError:
        return False
    web = {"ws": "http", "wss": "https"}.get(scheme, scheme)
    return own.scheme == web and own.hostname == asked.hostname is not None and ports[0] == ports[1]


def _comes_from_elsewhere(method: str, headers: Headers) -> bool:
    """Whether a browser says that another server's page loads this as a part of itself.

    Such a request (a picture, a frame, a script) has no Origin. Opening an address by a link is no part.
    """
    if headers.get("sec-fetch-site") not in ("cross-site", "same-site"):
        return False
    is_link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return not (is_link and method in ("GET", "HEAD"))
