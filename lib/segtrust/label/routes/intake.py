"""What every request must be, checked at one place before a route sees it, and refused as JSON."""

import re
from collections.abc import AsyncIterator
from urllib.parse import unquote_to_bytes

from fastapi import HTTPException, params
from monailabel.endpoints.user.auth import User, get_current_user
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from segtrust.errors import ScanError
from segtrust.label.documents import read_object
from segtrust.label.failures import PathError, answer_failure
from segtrust.label.login.identity import signed_in

__all__ = ["Intake", "checked_user", "is_session_id"]

_LONGEST_NAME = 255  # bytes; what file systems take
_LONGEST_QUERY = 8192
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DOCUMENTS = ("params", "info", "wsi")  # form fields that hold JSON
_FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
_BODIED = ("POST", "PUT", "PATCH")
_FORWARDED = "/proxy/"  # to the PACS, which has its own limits and its own words
_OF_THE_TEXT = ("content-type", "content-length", "content-encoding")
_HEAD_BYTES = 4096  # of an error's text


class Intake:
    """Middleware that refuses an address no route could use, and turns errors in plain text into JSON.

    Args:
        app: what comes after it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the address of a request and hand it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            _check_address(scope)
        except (PathError, HTTPException) as error:
            await (await answer_failure(request, error))(scope, receive, send)
            return
        forwarded = scope["path"].startswith(_FORWARDED)
        await self._app(scope, receive, send if forwarded else _Refusals(request, receive, send))


def _check_address(scope: Scope) -> None:
    query = bytes(scope.get("query_string") or b"")
    if len(query) > _LONGEST_QUERY:
        raise HTTPException(
            414, f"a query may have {_LONGEST_QUERY:,} bytes, got {len(query):,}. Shorten it."
        )
    values = [part for pair in query.split(b"&") for part in pair.replace(b"+", b" ").split(b"=", 1)]
    address = unquote_to_bytes(bytes(scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0])
    longest = _LONGEST_QUERY if scope["path"].startswith(_FORWARDED) else _LONGEST_NAME
    for name in [*address.split(b"/"), *map(unquote_to_bytes, values)]:
        if len(name) > longest:
            raise PathError(f"a name may have {longest} bytes, got {len(name)}: {_shown(name)}. Shorten it.")
        if _CONTROL.search(name):
            raise PathError(f"a name must not have control characters, got {_shown(name)}. Leave them out.")
        try:
            name.decode("utf-8")
        except UnicodeDecodeError as error:
            raise PathError(f"a name must be UTF-8, got {_shown(name)}. Encode it so.") from error


def _shown(name: bytes) -> str:
    return ascii(name[:40])[1:]


class _Refusals:
    """Hands an answer on; one of an error that is no JSON is sent again as JSON."""

    def __init__(self, request: Request, receive: Receive, send: Send) -> None:
        self._request, self._receive, self._send = request, receive, send
        self._status = 0
        self._headers: dict[str, str] = {}
        self._text = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400:
            headers = {
                bytes(key).lower().decode(): value.decode("latin-1") for key, value in message["headers"]
            }
            if "json" not in headers.get("content-type", ""):
                self._status = message["status"]
                self._headers = {key: headers[key] for key in headers if key not in _OF_THE_TEXT}
                return
        if not self._status:
            await self._send(message)
            return
        self._text += bytes(message.get("body") or b"")[: _HEAD_BYTES - len(self._text)]
        if not message.get("more_body"):
            error = HTTPException(self._status, self._text.decode("utf-8", "replace"), self._headers)
            answer = await answer_failure(self._request, error)
            await answer(self._request.scope, self._receive, self._send)


async def checked_user(request: Request) -> User:
    """Who is calling, with the check of what came along: every route asks for it, also those of MONAI Label.

    Args:
        request: the request.

    Returns:
        The user.

    Raises:
        HTTPException: 415 for a body of the wrong type.
        SettingError: for JSON that is no object, or that holds what no route can use.
        ScanError: for a session that cannot exist.
    """
    user: User = signed_in(request.scope) or await get_current_user("")
    session = request.path_params.get("session_id") or request.query_params.get("session_id")
    if session and not is_session_id(session):
        raise ScanError(f"no session {session!r}; has it expired? Upload the scan again.", "scan_missing")
    if request.method in _BODIED and not request.url.path.startswith(_FORWARDED):
        await _check_body(request)
    return user


def is_session_id(text: str) -> bool:
    """Whether a text can be the name of a session, and not a way out of the sessions' folder."""
    return _SESSION.fullmatch(text) is not None


async def _check_body(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    field = getattr(request.scope.get("route"), "body_field", None)
    takes_form = field is not None and isinstance(field.field_info, params.Form)
    if takes_form and kind in _FORMS:
        async for name, text in _texts(request):
            if name in _DOCUMENTS:
                read_object(text, name)
        return
    if takes_form:
        if await _has_body(request):
            raise HTTPException(415, f"the body must be a form ({_FORMS[0]}), got {kind or 'no type'!r}.")
        return
    body = await request.body()
    if field is None or not body:
        return
    if kind != "application/json" and not kind.endswith("+json"):
        raise HTTPException(415, f"the body must be application/json, got {kind or 'no type'!r}.")
    read_object(body, "params")


async def _texts(request: Request) -> AsyncIterator[tuple[str, str]]:
    form = await request.form()  # read by the framework already
    for name, value in form.multi_items():
        if not isinstance(value, UploadFile):
            yield name, value
        elif value.filename is not None:
            _check_file_name(value.filename)


def _check_file_name(name: str) -> None:
    plain = re.split(r"[\\/]", name)[-1]
    if name and plain in {"", ".", ".."}:
        raise PathError(f"a file must have a name, got {name[:40]!r}. Send the name of the file itself.")
    if len(plain.encode("utf-8", "replace")) > _LONGEST_NAME or _CONTROL.search(
        plain.encode("utf-8", "replace")
    ):
        raise PathError(
            f"a file's name must have at most {_LONGEST_NAME} bytes and no control characters, got "
            f"{plain[:40]!a}. Rename the file."
        )


async def _has_body(request: Request) -> bool:
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
