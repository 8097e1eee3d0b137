"""The viewer's files: our configuration and panel, and its own from MONAI Label's package."""

from pathlib import Path

from fastapi import APIRouter, Depends, HTTPException
from fastapi.responses import FileResponse
from monailabel import endpoints
from monailabel.config import settings as platform
from monailabel.endpoints.user.auth import RBAC
from monailabel.utils.others.generic import get_mime_type

__all__ = ["router"]

_OURS = Path(__file__).parent / "static"
_BUNDLED = Path(endpoints.__file__).parent / "static" / "ohif"
_TYPES = {".js": "text/javascript", ".css": "text/css"}
_CHECK_FIRST = {"Cache-Control": "no-cache"}  # so that an update of segtrust shows at the next reload

router = APIRouter(
    prefix="/ohif",
    dependencies=[Depends(RBAC(platform.MONAI_LABEL_AUTH_ROLE_USER))],
    include_in_schema=False,
)


@router.get("/app-config.js")
def send_app_config() -> FileResponse:
    """Our configuration of the viewer in place of MONAI Label's."""
    return send_panel_file("app-config.js")


@router.get("/segtrust/{name}")
def send_panel_file(name: str) -> FileResponse:
    """A file of the panel.

    Args:
        name: plain name of the file.

    Returns:
        The file, to be asked for again at each start of the viewer.

    Raises:
        HTTPException: 404 if there is no such file.
    """
    file = _inside(_OURS, name)
    if file is None:
        raise HTTPException(status_code=404, detail=f"no file {name!r} in the panel")
    return FileResponse(file, media_type=_TYPES.get(file.suffix), headers=_CHECK_FIRST)


@router.get("/{path:path}")
def send_viewer_file(path: str) -> FileResponse:
    """A file of the viewer; MONAI Label answers its start page instead of those in sub-folders.

    Args:
        path: below the viewer's folder.

    Returns:
        The file, or the start page for an address that the viewer itself understands.

    Raises:
        HTTPException: 404 for a file that is not there.
    """
    file = _inside(_BUNDLED, path)
    if file is None and Path(path).suffix:
        raise HTTPException(
            status_code=404, detail=f"no file {path[-80:]!r} in the viewer; it begins at /ohif/"
        )
    file = file or _BUNDLED / "index.html"
    return FileResponse(file, media_type=_TYPES.get(file.suffix) or get_mime_type(file))


def _inside(root: Path, path: str) -> Path | None:
    """The file below ``root``; nothing if it is not there or somewhere else."""
    file = (root / path).resolve()
    return file if "\x00" not in path and file.is_relative_to(root.resolve()) and file.is_file() else None
