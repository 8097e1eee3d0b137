"""The route that makes a session; MONAI Label's unpacks any archive, whatever its size."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, File, HTTPException, Request, UploadFile
from monailabel.config import settings as platform
from monailabel.endpoints.user.auth import RBAC, User

from segtrust.errors import ScanError
from segtrust.files import ENDINGS, current_limits, read_claims
from segtrust.files.archive import copy_bounded, safe_name, unpack
from segtrust.label.host import serving_app
from segtrust.label.routes.waiting import while_waiting

__all__ = ["SESSION_ROUTES"]

_Reader = Annotated[User, Depends(RBAC(platform.MONAI_LABEL_AUTH_ROLE_USER))]


def _create_session(
    user: _Reader,  # noqa: ARG001
    request: Request,
    files: Annotated[list[UploadFile], File()],
    uncompress: bool = False,
    expiry: int = 0,
) -> dict[str, Any]:
    sessions = serving_app().sessions()
    if sessions is None:
        raise HTTPException(status_code=406, detail="Session Feature is Not Enabled")
    with (
        while_waiting(request),
        tempfile.TemporaryDirectory(prefix="segtrust-session-", ignore_cleanup_errors=True) as folder,
    ):
        received = Path(folder) / "received"
        received.mkdir()
        paths = _received(files, received)
        if uncompress and len(paths) == 1:
            unpacked = Path(folder) / "scan"
            unpacked.mkdir()
            paths = unpack(paths[0], unpacked)
            shutil.rmtree(received)
        if not paths:
            raise ScanError("a session must hold at least one file, got none. Send the scan.", "scan_missing")
        for path in paths:
            if path.name.lower().endswith(ENDINGS):
                read_claims(path)
        image = paths[0] if len(paths) == 1 else paths[0].parent
        session_id, session = sessions.add_session(str(image), max(expiry, 0), False)
    return {"session_id": session_id, "session_info": session.to_json()}


def _received(files: list[UploadFile], folder: Path) -> list[Path]:
    paths: list[Path] = []
    total = 0
    current_limits().check("max_archive_files", len(files), "the upload")
    for upload in files:
        path = folder / safe_name(upload.filename or "scan.nii.gz", folder)
        total = copy_bounded(upload.file, path, "the upload", total)
        paths.append(path)
    return paths


SESSION_ROUTES: tuple[tuple[str, str, Callable[..., Any]], ...] = (("PUT", "session/", _create_session),)
"""Method, path and function of each route."""
