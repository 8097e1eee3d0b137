"""Routes of inference, over one scan, many scans and whole slides: checked before anything starts."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import BackgroundTasks, Depends, File, Form, HTTPException, Request, UploadFile
from monailabel.config import settings as platform
from monailabel.endpoints import batch_infer
from monailabel.endpoints.infer import ResultType, send_response
from monailabel.endpoints.user.auth import RBAC, User

from segtrust.errors import ModelNotFoundError, ScanError, SettingError
from segtrust.label.documents import read_object
from segtrust.label.host import Host, serving_app
from segtrust.label.login.identity import require_rank
from segtrust.label.requests import result_tag
from segtrust.label.routes.intake import is_session_id
from segtrust.label.routes.uploads import receive
from segtrust.label.routes.waiting import while_waiting

__all__ = ["INFERENCE_ROUTES", "NO_SLIDES"]

NO_SLIDES = "no model of this server segments whole slides. Ask for one scan: POST /infer/MODEL?image=ID"
"""Why whole-slide inference is off: MONAI Label's opens, and afterwards deletes, any path it is told."""

_Reader = Annotated[User, Depends(RBAC(platform.MONAI_LABEL_AUTH_ROLE_USER))]
_Admin = Annotated[User, Depends(RBAC(platform.MONAI_LABEL_AUTH_ROLE_ADMIN))]


def _infer(  # noqa: PLR0913, PLR0917 -- MONAI Label's parameters
    background_tasks: BackgroundTasks,
    connection: Request,
    model: str,
    user: _Reader,
    image: str = "",
    session_id: str = "",
    params: Annotated[str, Form()] = "{}",
    file: Annotated[UploadFile | None, File()] = None,
    output: ResultType | None = None,
) -> object:
    """Run one infer task on a scan of the datastore, of a session, or of the request itself."""
    # not `async`: runs in a worker thread, so that other requests are answered meanwhile
    host = serving_app()
    options = read_object(params, "params")
    if options.get("save_label") or options.get("store_in_pacs"):
        require_rank(user, "annotator", "keeping a result")
    with (
        while_waiting(connection),
        receive(file.file if file else None, file.filename if file else None) as scan,
    ):
        request: dict[str, Any] = {"image": image, **options, "model": model}
        if scan:
            request["image"] = scan
        if session_id:
            request |= _session(host, session_id)
        if not request["image"]:
            raise ScanError("give `image`, `session_id` or a `file`: no scan was named.", "scan_missing")
        if output == ResultType.dicom_seg:
            return _dicom_seg(host, request, background_tasks)
        result = host.infer(request)
    return send_response(host.datastore(), result, output, background_tasks)


def _session(host: Host, session_id: str) -> dict[str, Any]:
    sessions = host.sessions()
    if sessions is None:
        raise HTTPException(status_code=406, detail="Session Feature is Not Enabled")
    session = sessions.get_session(session_id) if is_session_id(session_id) else None
    if session is None:
        raise ScanError(f"no session {session_id!r}; has it expired? Upload the scan again.", "scan_missing")
    return {"image": Path(session.image), "session": session.to_json()}


def _dicom_seg(host: Host, request: dict[str, Any], tasks: BackgroundTasks) -> object:
    result = host.infer({**request, "result_extension": ".dcm"})
    return send_response(
        host.datastore(), {**result, "dicom_seg": result["file"]}, ResultType.dicom_seg, tasks
    )


def _no_slides(user: _Reader, model: str) -> object:  # noqa: ARG001
    raise ModelNotFoundError(NO_SLIDES)


def _infer_batch(
    user: _Admin,  # noqa: ARG001
    model: str,
    images: Literal["all", "labeled", "unlabeled"] = "all",
    params: dict[str, Any] | None = None,
    run_sync: bool = False,
) -> object:
    request = params or {}
    result_tag(request)
    _check_batch(serving_app().info()["models"], model, request)
    return batch_infer.run(model, batch_infer.BatchInferImageType(images), request, run_sync)


def _check_batch(models: Collection[str], model: str, request: dict[str, Any]) -> None:
    """What MONAI Label would find out in a process of its own, after it said that all is well."""
    if model not in models:
        raise ModelNotFoundError(f"no model {model!r}. Served: {', '.join(models)}.")
    kinds: dict[str, tuple[type, ...]] = {
        "max_batch_size": (int,),
        "max_workers": (int,),
        "gpus": (str,),
        "device": (str,),
        "logging": (str,),
        "images": (str, list),
        "multi_gpu": (bool,),
    }
    for key, allowed in kinds.items():
        value = request.get(key)
        if value is not None and (not isinstance(value, allowed) or _is_flag(value) != (bool in allowed)):
            wanted = " or ".join(kind.__name__ for kind in allowed)
            raise SettingError(f"`{key}` must be {wanted}, got {value!r}.")


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)  # which Python counts among the whole numbers


INFERENCE_ROUTES = (
    ("POST", "infer/{model}", _infer),
    ("POST", "infer/wsi/{model}", _no_slides),
    ("POST", "infer/wsi_v2/{model}", _no_slides),
    ("POST", "batch/infer/{model}", _infer_batch),
)
"""Method, path and function of each route."""
