"""HTTP routes and handlers that replace MONAI Label's; installed once the server is up."""

from pathlib import Path
from typing import Annotated, Any

from fastapi import BackgroundTasks, Depends, FastAPI, File, Form, HTTPException, Request, UploadFile
from monailabel.config import settings as platform
from monailabel.endpoints.infer import ResultType, send_response
from monailabel.endpoints.user.auth import RBAC, User, get_current_user
from starlette.middleware import Middleware

from segtrust.errors import ScanError
from segtrust.label.documents import read_object
from segtrust.label.failures import HANDLERS, answer_failure
from segtrust.label.host import Host, serving_app
from segtrust.label.ohif import routers_for
from segtrust.label.queue.annotators import annotator
from segtrust.label.queue.strategies import telling_name
from segtrust.label.routes import findings, labels
from segtrust.label.routes.inference import INFERENCE_ROUTES
from segtrust.label.routes.intake import Intake, checked_user, is_session_id
from segtrust.label.routes.scoring import SCORE_ROUTES
from segtrust.label.routes.service import SERVICE_ROUTES, refuse_reload
from segtrust.label.routes.sessions import SESSION_ROUTES
from segtrust.label.routes.studies import DATASTORE_ROUTES
from segtrust.label.routes.training import TRAIN_ROUTES
from segtrust.label.routes.uploads import receive
from segtrust.label.routes.waiting import while_waiting
from segtrust.label.studies.dicomweb import DicomwebDatastore

__all__ = ["install_routes", "next_scan", "run_inference"]


def install_routes(server: FastAPI) -> None:
    """Put our routes in front of MONAI Label's and our handlers behind all of them.

    Args:
        server: MONAI Label's FastAPI application, already started.
    """
    routes = server.router.routes
    before = len(routes)
    prefix = platform.MONAI_LABEL_API_STR
    # the documentation keeps showing MONAI Label's own entries for the same paths
    tasks = (
        ("POST", "infer/{model}", run_inference),
        ("POST", "activelearning/{strategy}", next_scan),
    )
    for method, path, route in (
        *(*tasks, *INFERENCE_ROUTES, *DATASTORE_ROUTES, *SESSION_ROUTES),
        *(*SCORE_ROUTES, *TRAIN_ROUTES, *SERVICE_ROUTES),
    ):
        server.add_api_route(
            f"{prefix}/{path}", route, methods=[method], include_in_schema=False, response_model=None
        )
    server.add_api_route("/reload", refuse_reload, methods=["POST"], include_in_schema=False)
    for router in (findings.router, *routers_for(platform.MONAI_LABEL_STUDIES), labels.router):
        server.include_router(router, prefix=prefix)
    ours = routes[before:]
    del routes[before:]
    routes[0:0] = ours
    for kind in HANDLERS:
        server.add_exception_handler(kind, answer_failure)
    server.dependency_overrides[get_current_user] = checked_user
    server.user_middleware.insert(0, Middleware(Intake))  # outermost: before any other looks at the address
    server.openapi_schema = None
    server.middleware_stack = None  # built again, with the handlers, at the next request


def run_inference(  # noqa: PLR0913, PLR0917 -- MONAI Label's parameters
    background_tasks: BackgroundTasks,
    connection: Request,
    model: str,
    user: Annotated[User, Depends(RBAC(platform.MONAI_LABEL_AUTH_ROLE_USER))],
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
    if options.get("save_label"):
        _require_annotator(user)
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


def _require_annotator(user: User) -> None:
    role = platform.MONAI_LABEL_AUTH_ROLE_ANNOTATOR
    if platform.MONAI_LABEL_AUTH_ENABLE and role not in user.roles:
        raise HTTPException(status_code=403, detail=f'Role "{role}" is required to save a label')


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


def next_scan(
    strategy: str,
    user: Annotated[User, Depends(RBAC(platform.MONAI_LABEL_AUTH_ROLE_USER))],
    params: dict[str, Any] | None = None,
) -> object:
    """The scan that a strategy picks; in a local folder its `name`, which 3D Slicer shows, tells why."""
    # not `async`: a strategy reads the datastore, and other requests are answered meanwhile
    host = serving_app()
    request = {**(params or {}), "strategy": strategy, "client_id": annotator(params or {}, user)}
    found = host.next_sample(request)
    if not found:
        return {}
    sample = {**host.datastore().get_image_info(found["id"]), **found}
    if not isinstance(host.datastore(), DicomwebDatastore):
        sample["name"] = telling_name(sample)
    return sample
