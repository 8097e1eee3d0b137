"""Routes about the server and its files: logs, whether a file is there, and what nobody may do."""

import hashlib
import shutil
import subprocess
from collections import deque
from pathlib import Path
from typing import Annotated

from fastapi import Depends, HTTPException, Query
from fastapi.responses import Response
from monailabel.config import settings as platform
from monailabel.endpoints import datastore, logs, session
from monailabel.endpoints.user.auth import RBAC, User

from segtrust.errors import ModelNotFoundError, SettingError
from segtrust.label.host import serving_app

__all__ = ["SERVICE_ROUTES", "refuse_reload"]

_Reader = Annotated[User, Depends(RBAC(platform.MONAI_LABEL_AUTH_ROLE_USER))]
_Admin = Annotated[User, Depends(RBAC(platform.MONAI_LABEL_AUTH_ROLE_ADMIN))]
_DIGESTS = ("SHA256", "SHA512", "MD5")
_MOST_LINES = 10_000
_NVIDIA_SECONDS = 20


def _check_image(user: _Reader, image: str, check_sum: str | None = None) -> object:  # noqa: ARG001
    """Whether a scan is there, and, with a check sum, whether it is this one."""
    datastore.download_image(image, check_only=True)
    if check_sum:
        kind, _, digest = check_sum.rpartition(":")
        path = Path(serving_app().datastore().get_image_uri(image))
        if _digest(path, kind or "SHA256") != digest.lower():
            raise HTTPException(404, "the scan is there, but with another check sum. Download it again.")
    return {}


def _digest(path: Path, kind: str) -> str:
    if kind.upper() not in _DIGESTS:
        raise SettingError(
            f"`check_sum` must be DIGEST or KIND:DIGEST with one of {', '.join(_DIGESTS)}, got {kind[:40]!r}."
        )
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind.lower()).hexdigest()


def _check_label(user: _Reader, image: str, tag: str) -> object:  # noqa: ARG001
    return datastore.download_label(image, tag, check_only=True)


def _read_log(
    user: _Admin,  # noqa: ARG001
    lines: Annotated[int, Query(ge=1, le=_MOST_LINES)] = 300,
    html: bool = True,
    text: bool = False,
    refresh: Annotated[int, Query(ge=0, le=3600)] = 0,
) -> Response:
    """The last lines of the log, or a page that shows them."""
    path = Path(platform.MONAI_LABEL_APP_DIR) / "logs" / "app.log"
    if not path.is_file():
        raise HTTPException(404, "this server writes no log file. Its messages are where it was started.")
    if html and not text:
        again = f"setInterval(fetch, 1000*{max(refresh, 3)});" if refresh else ""
        page = logs.HTML_TEMPLATE.replace("LINES_T", str(lines)).replace("REFRESH_T", again)
        return Response(page, media_type="text/html")
    with path.open(encoding="utf-8", errors="replace") as file:
        return Response("".join(deque(file, lines)), media_type="text/plain")


def _describe_gpus(user: _Admin) -> Response:  # noqa: ARG001
    """What ``nvidia-smi`` says."""
    program = shutil.which("nvidia-smi")
    if program is None:
        raise HTTPException(
            503, "this server has no nvidia-smi, so probably no GPU of NVIDIA; it runs on CPUs."
        )
    try:
        done = subprocess.run([program], capture_output=True, timeout=_NVIDIA_SECONDS, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        raise HTTPException(503, "nvidia-smi does not answer. Is the driver of the GPU running?") from error
    return Response(done.stdout.decode("utf-8", "replace"), media_type="text/plain")


def _refuse_model_file(user: _Admin, model: str) -> object:  # noqa: ARG001
    """Model files are code or weights of people; a version gets here by training or by the command line."""
    host = serving_app()
    if model not in host.info()["models"]:
        raise ModelNotFoundError(f"no model {model!r}. Served: {', '.join(host.info()['models'])}.")
    raise HTTPException(
        403,
        f"the versions of {model!r} are not up- or downloaded over HTTP. Publish one by training, by "
        "`segtrust train`, or by putting its folder into `models_dir`.",
    )


def _describe_session(
    user: _Reader,  # noqa: ARG001
    session_id: str,
    update_ts: bool = False,
    image: bool = False,
) -> object:
    sessions = serving_app().sessions()
    described = sessions.get_session(session_id) if image and sessions is not None else None
    if described is not None and Path(described.image).is_dir():
        raise HTTPException(422, "this session has several files, and only a single one can be downloaded.")
    return session.get_session(session_id, update_ts, image)


def refuse_reload() -> object:
    """MONAI Label would forget the app, with all that it is doing, and build another one.

    Raises:
        HTTPException: 403, always.
    """
    raise HTTPException(403, "the app is not loaded anew while it serves. Start the server again.")


SERVICE_ROUTES = (
    ("HEAD", "datastore/image", _check_image),
    ("HEAD", "datastore/label", _check_label),
    ("GET", "logs/", _read_log),
    ("GET", "logs/gpu", _describe_gpus),
    ("GET", "model/info/{model}", _refuse_model_file),
    ("GET", "model/{model}", _refuse_model_file),
    ("PUT", "model/{model}", _refuse_model_file),
    ("DELETE", "model/{model}", _refuse_model_file),
    ("GET", "session/{session_id}", _describe_session),
)
"""Method, path and function of each route."""
