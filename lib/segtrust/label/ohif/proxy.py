"""The way from the viewer to the DICOMweb server: streams, hands the query on, and cannot leave DICOMweb."""

import functools
import logging
import re
from collections.abc import AsyncIterator, Mapping

import httpx
from fastapi import APIRouter, Depends, HTTPException
from fastapi.responses import StreamingResponse
from monailabel.config import settings as platform
from monailabel.endpoints.user.auth import RBAC
from starlette.requests import Request

from segtrust.errors import SettingError
from segtrust.label.failures import PathError

__all__ = ["dicomweb_address", "dicomweb_timeout", "forward", "router"]

# what DICOMweb serves; a server may offer its administration under other names of the same root
_RESOURCES = ("studies", "series", "instances", "bulkdata")
_SERVICES = ("qido", "wado", "stow")
_SEGMENT = re.compile(r"(?!\.+$)[A-Za-z0-9.,_~-]+")
_REQUEST_HEADERS = ("accept", "accept-encoding", "content-type", "content-length", "if-none-match", "range")
_ANSWER_HEADERS = (
    "content-type", "content-encoding", "content-length", "content-range", "accept-ranges", "cache-control",
    "etag", "last-modified", "warning",
)  # fmt: skip

router = APIRouter(
    prefix="/proxy/dicom",
    dependencies=[Depends(RBAC(platform.MONAI_LABEL_AUTH_ROLE_USER))],
    include_in_schema=False,
)


def dicomweb_address(root: str, service: str, path: str, query: str = "") -> str:
    """Address on the DICOMweb server.

    Args:
        root: of the DICOMweb server.
        service: ``qido``, ``wado``, ``stow`` or empty; MONAI Label may know a prefix for it.
        path: below the root, decoded once as a web framework hands it over.
        query: as the client sent it.

    Returns:
        The address.

    Raises:
        PathError: if the path is no resource of DICOMweb, or has parts that lead out of its root.

    Source:
        Resources of DICOM PS3.18 section 8.

    Example:
        >>> dicomweb_address("http://pacs/dicom-web/", "qido", "studies", "PatientID=1")
        'http://pacs/dicom-web/studies?PatientID=1'
    """
    parts = path.strip("/").split("/")
    if parts[0] not in _RESOURCES or not all(_SEGMENT.fullmatch(part) for part in parts):
        raise PathError(
            f"a DICOMweb path must begin with one of {', '.join(_RESOURCES)} and have plain names in it, "
            f"got {path!r}."
        )
    is_metadata = parts[-1] == "metadata"  # some releases of the viewer ask for it as a search
    prefix = {
        "qido": platform.MONAI_LABEL_WADO_PREFIX if is_metadata else platform.MONAI_LABEL_QIDO_PREFIX,
        "wado": platform.MONAI_LABEL_WADO_PREFIX,
        "stow": platform.MONAI_LABEL_STOW_PREFIX,
    }.get(service)
    address = "/".join([root.rstrip("/"), *filter(None, [prefix]), *parts])
    return f"{address}?{query}" if query else address


def dicomweb_timeout() -> httpx.Timeout:
    """How long the DICOMweb server may take.

    Returns:
        ``MONAI_LABEL_DICOMWEB_PROXY_TIMEOUT`` seconds for each step; for a pause in the answer
        ``MONAI_LABEL_DICOMWEB_READ_TIMEOUT`` where the operator set it. Its default of 5 s is shorter than
        a PACS needs for the headers of a large series.
    """
    each = platform.MONAI_LABEL_DICOMWEB_PROXY_TIMEOUT
    chosen = "MONAI_LABEL_DICOMWEB_READ_TIMEOUT" in platform.model_fields_set
    return httpx.Timeout(each, read=platform.MONAI_LABEL_DICOMWEB_READ_TIMEOUT if chosen else each)


@router.get("/{path:path}")
@router.post("/{path:path}")
async def forward(request: Request, path: str) -> StreamingResponse:
    """Hand a DICOMweb request on and its answer back, piece by piece.

    Args:
        request: what the viewer sent.
        path: below the DICOMweb root, with or without ``qido/``, ``wado/`` or ``stow/`` in front.

    Returns:
        The DICOMweb server's answer with its status, type and encoding.

    Raises:
        SettingError: if the studies are a folder.
        PathError: if the path leaves DICOMweb.
        HTTPException: 502 or 504 if the DICOMweb server does not answer (in time).
    """
    root = platform.MONAI_LABEL_STUDIES
    if not root.startswith(("http://", "https://")):
        raise SettingError("the viewer needs a DICOMweb server as studies, but they are a folder.")
    service, _, rest = path.partition("/")
    if service not in _SERVICES:
        service, rest = "", path
    address = dicomweb_address(root, service, rest, request.url.query)
    outgoing = _client().build_request(
        request.method,
        address,
        # else httpx would ask for an encoding that this client may not know
        headers={"accept-encoding": "identity"} | _only(request.headers, _REQUEST_HEADERS),
        content=request.stream() if request.method == "POST" else None,
    )
    try:
        answer = await _client().send(outgoing, stream=True)
    except httpx.HTTPError as error:
        late = isinstance(error, httpx.TimeoutException)
        when = "in time; MONAI_LABEL_DICOMWEB_PROXY_TIMEOUT sets the seconds" if late else "at all"
        raise HTTPException(
            status_code=504 if late else 502, detail=f"the DICOMweb server did not answer {when}"
        ) from error
    return StreamingResponse(
        _pieces(answer),
        status_code=answer.status_code,
        headers=_only(answer.headers, _ANSWER_HEADERS),
    )


@functools.cache
def _client() -> httpx.AsyncClient:
    # it logs addresses, and in a search these name the patient
    logging.getLogger("httpx").setLevel(logging.WARNING)
    return httpx.AsyncClient(timeout=dicomweb_timeout(), auth=_login())


async def _pieces(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for piece in answer.aiter_raw():
            yield piece
    finally:
        await answer.aclose()  # also when the viewer has gone


def _login() -> tuple[str, str] | None:
    user, password = platform.MONAI_LABEL_DICOMWEB_USERNAME, platform.MONAI_LABEL_DICOMWEB_PASSWORD
    return (user, password) if user and password else None


def _only(headers: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    return {name: headers[name] for name in names if name in headers}
