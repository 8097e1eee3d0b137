"""Routes of the datastore, answered in worker threads and without files left behind.

MONAI Label runs them where all requests wait for one another, also while a PACS is asked, and keeps the files
that came with a request that was refused.
"""

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import BackgroundTasks, Depends, File, Form, Request, UploadFile
from fastapi.responses import FileResponse
from monailabel.config import settings as platform
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.datastore import DefaultLabelTag
from monailabel.interfaces.exception import ImageNotFoundException, LabelNotFoundException
from monailabel.utils.others.generic import remove_file

from segtrust.files.archive import copy_bounded
from segtrust.label.failures import LabelError
from segtrust.label.host import serving_app
from segtrust.label.login.identity import SignedIn, require_rank
from segtrust.label.queue.annotators import annotator
from segtrust.label.queue.reviews import reviewed_slices
from segtrust.label.routes.downloads import send_file
from segtrust.label.routes.fields import (
    IMAGE_FIELDS,
    LABEL_FIELDS,
    SUBMISSION_FIELDS,
    UPLOAD_FIELDS,
    read_fields,
    split_fields,
)
from segtrust.label.routes.waiting import while_waiting
from segtrust.label.studies.changes import Submission
from segtrust.label.studies.ids import split_name

__all__ = ["DATASTORE_ROUTES"]

_UPLOAD = "upload"
_ENDINGS = tuple(pattern.lstrip("*") for pattern in platform.MONAI_LABEL_DATASTORE_FILE_EXT)

_Reader = Annotated[User, Depends(RBAC(platform.MONAI_LABEL_AUTH_ROLE_USER))]
_Annotator = Annotated[User, Depends(RBAC(platform.MONAI_LABEL_AUTH_ROLE_ANNOTATOR))]
_Admin = Annotated[User, Depends(RBAC(platform.MONAI_LABEL_AUTH_ROLE_ADMIN))]


def _save_label(
    user: _Annotator,
    request: Request,
    image: str,
    label: Annotated[UploadFile, File()],
    params: Annotated[str, Form()] = "{}",
    tag: str = DefaultLabelTag.FINAL.value,
) -> dict[str, Any]:
    host = serving_app()
    info, ignored = split_fields(params, SUBMISSION_FIELDS)
    tag = tag or DefaultLabelTag.FINAL.value
    by = annotator(info, user)
    _check_review(info, user)
    info = _overruled(info, by, user)
    with while_waiting(request), _received(label) as file:
        reviewed, slices = reviewed_slices(info, file, lambda: host.datastore().grid_of(image)) or (None, 0)
        submission = Submission(by=by, reviewed=None if reviewed is None else tuple(reviewed), slices=slices)
        label_id = host.datastore().submit_label(image, str(file), tag, info, submission)
    answer = {**host.on_save_label(image, label_id), "image": image, "label": label_id}
    return {**answer, "ignored": ignored} if ignored else answer


def _add_image(
    user: _Annotator,
    request: Request,
    file: Annotated[UploadFile, File()],
    image: str | None = None,
    params: Annotated[str, Form()] = "{}",
    replace: bool = False,
) -> dict[str, Any]:
    """Add a scan; one that has the id already is replaced only if ``replace`` says so."""
    host = serving_app()
    info, ignored = split_fields(params, UPLOAD_FIELDS)
    info |= {"user": user.username} if user.username else {}
    info = _overruled(info, annotator({}, user), user)
    name = re.split(r"[/\\]", file.filename or "")[-1]
    with while_waiting(request), _received(file) as path:
        scan_id = image or name.removesuffix(path.name.removeprefix(_UPLOAD))
        by = annotator({}, user)
        answer = {"image": host.datastore().add_image(scan_id, str(path), info, replace=replace, by=by)}
    return {**answer, "ignored": ignored} if ignored else answer


def _change_image_info(user: _Annotator, image: str, info: Annotated[str, Form()] = "{}") -> object:
    values = read_fields(info, IMAGE_FIELDS) | ({"user": user.username} if user.username else {})
    return serving_app().datastore().update_image_info(image, values)


def _change_label_info(user: _Annotator, label: str, tag: str, info: Annotated[str, Form()] = "{}") -> object:
    values = read_fields(info, LABEL_FIELDS) | ({"user": user.username} if user.username else {})
    _check_review(values, user)
    return serving_app().datastore().update_label_info(label, tag, values)


def _change_label_info_of_old(
    user: _Annotator, label: str, tag: str, params: Annotated[str, Form()] = "{}"
) -> object:
    """MONAI Label's Reviewer uses the old name of the route, and another one for the form's field."""
    return _change_label_info(user, label, tag, params)


def _overruled(info: dict[str, Any], by: str, user: User) -> dict[str, Any]:
    """What a client says of a file, with the name of who is logged in for what it says of itself."""
    return {**info, "client_id": by} if isinstance(user, SignedIn) and "client_id" in info else info


def _check_review(info: Mapping[str, Any], user: User) -> None:
    if "segmentationMeta" in info:
        require_rank(user, "reviewer", "the verdict of a review")


@contextmanager
def _received(upload: UploadFile) -> Iterator[Path]:
    """A file as long as the ``with`` runs; its ending is the client's, as it says what it is."""
    ending = split_name(upload.filename or ".nii.gz", _ENDINGS)[1]
    with tempfile.TemporaryDirectory(prefix="segtrust-upload-") as folder:
        path = Path(folder) / f"{_UPLOAD}{re.sub(r'[^A-Za-z0-9.]', '_', ending[:16])}"
        copy_bounded(upload.file, path, "the upload")
        yield path


def _remove_label(user: _Admin, id: str, tag: str) -> dict[str, Any]:  # noqa: A002 -- MONAI Label's name
    serving_app().datastore().remove_label(id, tag, by=annotator({}, user))
    return {}


def _remove_image(user: _Admin, id: str) -> dict[str, Any]:  # noqa: A002 -- MONAI Label's name
    serving_app().datastore().remove_image(id, by=annotator({}, user))
    return {}


def _download_image(user: _Reader, image: str) -> object:  # noqa: ARG001
    path = Path(serving_app().datastore().get_image_uri(image) or ".")
    if not path.is_file():
        raise ImageNotFoundException(f"no scan {image!r} in the datastore")
    serving_app().audit.export("scan", image)
    return send_file(path)


def _download_label(user: _Reader, label: str, tag: str) -> object:  # noqa: ARG001
    path = Path(serving_app().datastore().get_label_uri(label, tag) or ".")
    if not path.is_file():
        raise LabelNotFoundException(f"no label {tag!r} of {label!r} in the datastore")
    serving_app().audit.export("label", label, tag)
    return send_file(path)


def _download_dataset(
    user: _Annotator,  # noqa: ARG001
    tasks: BackgroundTasks,
    limit_cases: int | None = None,
) -> object:
    store = serving_app().datastore()
    if not store.get_labeled_images():
        raise LabelError("the dataset must hold at least one final label, got none. Submit one first.")
    archive = store.get_dataset_archive(limit_cases)
    serving_app().audit.export("dataset")
    tasks.add_task(remove_file, archive)
    return FileResponse(archive, media_type="application/zip", filename="dataset.zip")


DATASTORE_ROUTES = (
    ("PUT", "datastore/label", _save_label),
    ("DELETE", "datastore/label", _remove_label),
    ("PUT", "datastore/image", _add_image),
    ("PUT", "datastore/", _add_image),  # its old name
    ("PUT", "datastore/image/info", _change_image_info),
    ("PUT", "datastore/label/info", _change_label_info),
    ("PUT", "datastore/updatelabelinfo", _change_label_info_of_old),
    ("DELETE", "datastore/image", _remove_image),
    ("DELETE", "datastore/", _remove_image),
    ("GET", "datastore/image", _download_image),
    ("GET", "datastore/label", _download_label),
    ("GET", "datastore/dataset", _download_dataset),
)
"""Method, path and function of each route."""
