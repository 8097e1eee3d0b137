"""What goes wrong, said over HTTP: a status and JSON with ``detail``, ``code``, ``scan`` and ``task``."""

import errno
import json
import logging
import shutil
import tarfile
from http import HTTPStatus
from typing import Any

import requests
from fastapi.exceptions import RequestValidationError
from monailabel.interfaces.exception import (
    ImageNotFoundException,
    LabelNotFoundException,
    MONAILabelError,
    MONAILabelException,
)
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from segtrust.errors import (
    DeviceError,
    DicomError,
    ModelError,
    ModelNotFoundError,
    ScanError,
    SegtrustError,
    SettingError,
    StoreError,
    StoreFullError,
    TrainingError,
)
from segtrust.files import StoppedError

__all__ = [
    "HANDLERS",
    "BusyError",
    "ConflictError",
    "LabelError",
    "PacsError",
    "PathError",
    "ReadOnlyError",
    "StudiesError",
    "answer_failure",
    "status_and_code",
]

logger = logging.getLogger(__name__)


class LabelError(SegtrustError, ValueError):
    """A submitted label that cannot be kept as it is."""

    code = "label"


class PathError(SegtrustError, ValueError):
    """A name that must not become part of a path on the server."""

    code = "path"


class ConflictError(SegtrustError, ValueError):
    """Something is there already that must not be lost, or belongs to something else."""

    code = "conflict"


class ReadOnlyError(SegtrustError, PermissionError):
    """Something was to be written where nothing can be written."""

    code = "read_only"


class StudiesError(SegtrustError, RuntimeError):
    """The folder of the studies is not there now, or another one is in its place."""

    code = "studies"


class BusyError(SegtrustError, RuntimeError):
    """Somebody starts a training while another one runs."""

    code = "busy"


class PacsError(SegtrustError, RuntimeError):
    """The PACS did not do what it was asked."""

    code = "pacs"


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BAD_NAME = (errno.ENAMETOOLONG, errno.EINVAL, errno.EISDIR)
_DISK = {
    "disk_full": "a disk of the server must have room, and is full. Nothing was kept; make room first.",
    "read_only": "a folder of the server must be writable, and is write-protected. Nothing was kept.",
    "name": "a name must be one that the server's file system takes. Choose a shorter, plain one.",
    "gone": "a file must be there, and is not any more. List the scans again; was a folder unmounted?",
    "unavailable": "the server must reach its files, and cannot just now. Try again, or ask who runs it.",
}
_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (ModelNotFoundError, 404),
    (ImageNotFoundException, 404),
    (LabelNotFoundException, 404),
    (SettingError, 400),
    (DeviceError, 400),
    (PathError, 400),
    (ConflictError, 409),
    (ReadOnlyError, 403),
    (StudiesError, 503),
    (StoppedError, 499),  # nobody reads it: the client has gone
    (BusyError, 429),  # MONAI Label's own status for it
    (LabelError, 422),
    (ScanError, 422),
    (DicomError, 422),
    (TrainingError, 422),
    (PacsError, 502),
    (requests.RequestException, 502),
    (StoreFullError, 507),
    (StoreError, 503),
    (ModelError, 503),  # a folder of this machine is damaged
    (json.JSONDecodeError, 400),
    (tarfile.TarError, 400),
    (shutil.ReadError, 400),
    (MemoryError, 503),
)
_WORDS = {
    400: "malformed", 401: "login", 403: "forbidden", 404: "not_found", 405: "method", 406: "sessions_off",
    413: "too_large", 414: "too_long", 415: "content_type", 416: "range", 422: "malformed", 429: "busy",
    502: "pacs", 503: "unavailable", 504: "pacs", 507: "disk_full",
}  # fmt: skip
_LONGEST_DETAIL = 2000


def status_and_code(error: Exception) -> tuple[int, str]:
    """HTTP status and one word for an error; 500 and ``internal`` for what nobody foresaw."""
    if number := _disk_error(error):
        return (507, "disk_full") if number in _FULL else (403, "read_only")
    status = _status(error)
    if isinstance(error, SegtrustError):
        return status, error.code
    if status == 500 and isinstance(error, OSError):
        return _of_the_system(error)
    return status, _WORDS.get(status, "internal" if status == 500 else "refused")


def _status(error: Exception) -> int:
    if isinstance(error, HTTPException):
        # MONAI Label's word for what a client did wrong is often 500
        return 422 if error.status_code == 500 else error.status_code
    if isinstance(error, RequestValidationError):
        return 400 if _is_no_json(error) else 422
    is_missing = (isinstance(error, ScanError) and error.code == "scan_missing") or (
        isinstance(error, MONAILabelException)
        # the latter is its word for an unknown strategy
        and error.error in {MONAILabelError.INVALID_INPUT, MONAILabelError.APP_INIT_ERROR}
    )
    return 404 if is_missing else next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def _is_no_json(error: RequestValidationError) -> bool:
    return any(part.get("type") == "json_invalid" for part in error.errors())


def _of_the_system(error: OSError) -> tuple[int, str]:
    if error.errno in _BAD_NAME:
        return 400, "name"
    return (404, "gone") if error.errno in {errno.ENOENT, errno.ENOTDIR} else (503, "unavailable")


def _disk_error(error: BaseException | None) -> int:
    """Number of the system's error, if a full or a write-protected disk is behind an error; else 0."""
    while error is not None:
        if isinstance(error, OSError) and (error.errno in _FULL or error.errno == errno.EROFS):
            return error.errno
        error = error.__cause__ or error.__context__
    return 0


async def answer_failure(request: Request, error: Exception) -> JSONResponse:
    """Turn an error into an answer; what nobody foresaw goes to the log, not to the client."""
    status, code = status_and_code(error)
    if code == "internal":
        logger.error("Unforeseen error at %s", request.url.path, exc_info=error)
    detail = _detail(request, error, status, code)[:_LONGEST_DETAIL]
    return JSONResponse(
        {
            "detail": detail.encode("utf-8", "replace").decode("utf-8"),
            "code": code,
            "scan": _scan(request),
            "task": _task(request),
        },
        status_code=status,
        headers=dict(error.headers or {}) if isinstance(error, HTTPException) else None,
    )


def _detail(request: Request, error: Exception, status: int, code: str) -> str:
    detail = str(getattr(error, "msg", "") or error)
    if isinstance(error, HTTPException):
        detail = _http_detail(request, error, status)
    elif isinstance(error, RequestValidationError):
        detail = _validation_detail(error)
    elif isinstance(error, json.JSONDecodeError):
        detail = f"what was sent must be JSON, but {error}."
    elif status == 500:
        detail = "Unforeseen error on the server; its log has the details."
    elif isinstance(error, MemoryError):
        detail = "the server has too little memory for this just now. Try later, or send a smaller scan."
    elif code in _DISK and not isinstance(error, SegtrustError):
        logger.error("%s: %s", request.url.path, error)  # names the file, which the client need not know
        detail = _DISK[code]
    return detail


def _http_detail(request: Request, error: HTTPException, status: int) -> str:
    detail = str(error.detail or "").strip()
    if detail and detail not in {phrase.phrase for phrase in HTTPStatus}:
        return detail
    address = f"{request.method} {request.url.path[:100]}"
    if status == 405:
        allowed = (error.headers or {}).get("Allow", "other methods")
        return f"{address} is not allowed here; allowed: {allowed}. /openapi.json describes all addresses."
    if status == 404:
        return f"there is nothing at {address}. /openapi.json describes all addresses."
    reason = detail or HTTPStatus(status).phrase
    return f"{address} was refused: {reason}. /openapi.json describes all addresses."


def _validation_detail(error: RequestValidationError) -> str:
    """The first parts that do not fit, in words; what was sent is shown in part only."""
    if _is_no_json(error):
        return "the body must be JSON, and is none. Send an object such as {}."
    parts = []
    for part in error.errors()[:3]:
        where, *names = [str(name) for name in part.get("loc", ())] or ["request"]
        shown = repr(part.get("input"))[:60]
        parts.append(
            f"`{'.'.join(names) or where}` in the {where} does not fit: {part.get('msg')}; got {shown}."
        )
    return " ".join([*parts, "/openapi.json describes all addresses."])


def _scan(request: Request) -> str | None:
    query = request.query_params
    return next((query[key] for key in ("image", "label", "id", "session_id") if query.get(key)), None)


def _task(request: Request) -> str | None:
    names: dict[str, Any] = request.path_params
    return next((names[key] for key in ("model", "strategy", "method") if names.get(key)), None)


HANDLERS: tuple[type[Exception], ...] = (
    SegtrustError,
    MONAILabelException,
    json.JSONDecodeError,
    tarfile.TarError,
    shutil.ReadError,
    requests.RequestException,
    HTTPException,
    RequestValidationError,
    OSError,
    MemoryError,
    Exception,
)
"""Classes of errors that :func:`answer_failure` is registered for."""
