"""Routes of ``/segtrust/labels/``: labels that were replaced or deleted, and how one comes back."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import FileResponse
from monailabel.config import settings as platform
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.exception import LabelNotFoundException

from segtrust.errors import SettingError
from segtrust.label.host import serving_app
from segtrust.label.queue.annotators import annotator
from segtrust.label.studies.datastore import SafeDatastore

__all__ = ["router"]

router = APIRouter(prefix="/segtrust/labels", tags=["Labels"])

_Reader = Annotated[User, Depends(RBAC(platform.MONAI_LABEL_AUTH_ROLE_USER))]
_Annotator = Annotated[User, Depends(RBAC(platform.MONAI_LABEL_AUTH_ROLE_ANNOTATOR))]


@router.get("/history")
def list_former_labels(user: _Reader, image: str | None = None, limit: int = 500) -> dict[str, Any]:  # noqa: ARG001
    """Labels that were replaced or deleted, the newest first: of one scan, or of all.

    Each has ``scan``, ``entry`` (its name for the other routes), ``tag``, ``author``, ``saved`` and ``ended``
    (seconds since 1970), ``by`` (who replaced or deleted it), ``reason`` and ``size`` in bytes. ``total``
    counts also those beyond ``limit``.
    """
    history = _datastore().history
    scans = history.scans() if image is None else [image]
    former = sorted((x for scan in scans for x in history.entries(scan)), key=lambda x: x.ended, reverse=True)
    return {"labels": [label.to_json() for label in former[: max(limit, 0)]], "total": len(former)}


@router.get("/history/file", response_class=FileResponse)
def download_former_label(user: _Reader, image: str, entry: str) -> FileResponse:  # noqa: ARG001
    """The volume of one of them."""
    there = _datastore().history.find(image, entry)
    if there is None:
        raise LabelNotFoundException(f"no label {entry!r} in the history of {image!r}")
    former, file = there
    serving_app().audit.export("label of the past", image, former.tag)
    return FileResponse(file, filename=former.file, headers={"Cache-Control": "no-store"})


@router.post("/restore")
def restore_former_label(user: _Annotator, image: str, entry: str, client_id: str = "") -> dict[str, Any]:
    """Make one of them the label of its scan again; the label of now goes to the history."""
    by = annotator({"client_id": client_id}, user)
    return {"restored": _datastore().restore_label(image, entry, by=by).to_json()}


def _datastore() -> SafeDatastore:
    host = serving_app()
    datastore = host.datastore()
    if not isinstance(datastore, SafeDatastore):
        raise SettingError("the history of labels needs a folder or a DICOMweb server as studies.")
    return datastore
