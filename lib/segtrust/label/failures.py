"""What goes wrong, said over HTTP: a status and JSON with ``detail``, ``code``, ``scan`` and ``task``."""

import errno
import json
import logging
import shutil
import tarfile
from typing import Any

import requests
from monailabel.interfaces.exception import (
    ImageNotFoundException,
    LabelNotFoundException,
    MONAILabelError,
    MONAILabelException,
)
from starlette.requests import Request
from starlette.responses import JSONResponse

from segtrust.errors import (
    DeviceError,
    DicomError,
    ModelNotFoundError,
    ScanError,
    SegtrustError,
    SettingError,
    StoreError,
    StoreFullError,
    TrainingError,
)

__all__ = [
    "HANDLERS",
    "BusyError",
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


class ReadOnlyError(SegtrustError, PermissionError):
    """Something was to be written where nothing can be written."""

    code = "read_only"


class StudiesError(SegtrustError, RuntimeError):
    """The folder of the studies is not there now, or another one is in its place."""

    code = "studies"


class BusyError(SegtrustError, RuntimeError):
    """A training was asked for while another one runs."""

    code = "busy"


class PacsError(SegtrustError, RuntimeError):
    """The PACS did not do what it was asked."""

    code = "pacs"


_FULL = (errno.ENOSPC, errno.EDQUOT)
_DISK = {
    "disk_full": "a disk of the server must have room, and is full. Nothing was kept; make room first.",
    "read_only": "a folder of the server must be writable, and is write-protected. Nothing was kept.",
}
_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (ModelNotFoundError, 404),
    (ImageNotFoundException, 404),
    (LabelNotFoundException, 404),
    (SettingError, 400),
    (DeviceError, 400),
    (PathError, 400),
    (ReadOnlyError, 403),
    (StudiesError, 503),
    (BusyError, 429),  # MONAI Label's own status for it
    (LabelError, 422),
    (ScanError, 422),
    (DicomError, 422),
    (TrainingError, 422),
    (PacsError, 502),
    (requests.RequestException, 502),
    (StoreFullError, 507),
    (StoreError, 503),
    (json.JSONDecodeError, 400),
    (tarfile.TarError, 400),
    (shutil.ReadError, 400),
)


def status_and_code(error: Exception) -> tuple[int, str]:
    """HTTP status and one word for an error; 500 and ``internal`` for what nobody foresaw."""
    if isinstance(error, ScanError) and error.code == "scan_missing":
        return 404, error.code
    if isinstance(error, MONAILabelException) and error.error in (
        MONAILabelError.INVALID_INPUT,
        MONAILabelError.APP_INIT_ERROR,  # its word for an unknown strategy
    ):
        return 404, "not_found"
    if number := _disk_error(error):
        return (507, "disk_full") if number in _FULL else (403, "read_only")
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    if isinstance(error, SegtrustError):
        return status, error.code
    return status, {404: "not_found", 400: "malformed", 502: "pacs"}.get(status, "internal")


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
    detail = str(getattr(error, "msg", "") or error)
    if code in _DISK and not isinstance(error, SegtrustError):
        logger.error("%s: %s", request.url.path, error)  # names the file, which the client need not know
        detail = _DISK[code]
    if code == "internal":
        logger.error("Unforeseen error at %s", request.url.path, exc_info=error)
        detail = "Unforeseen error on the server; its log has the details."
    return JSONResponse(
        {"detail": detail, "code": code, "scan": _scan(request), "task": _task(request)}, status_code=status
    )


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
    Exception,
)
"""Classes of errors that :func:`answer_failure` is registered for."""
