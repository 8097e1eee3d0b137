"""Routes of ``/scoring/``: MONAI Label's paths; work is queued, and its state can be asked for."""

from typing import Annotated, Any

from fastapi import Depends, HTTPException
from monailabel.config import settings as platform
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.exception import MONAILabelError, MONAILabelException

from segtrust.errors import SettingError
from segtrust.label.host import Host, serving_app
from segtrust.label.queue.strategies import chosen_model
from segtrust.label.requests import model_name

__all__ = ["SCORE_ROUTES"]

_Reader = Annotated[User, Depends(RBAC(platform.MONAI_LABEL_AUTH_ROLE_USER))]
_Annotator = Annotated[User, Depends(RBAC(platform.MONAI_LABEL_AUTH_ROLE_ANNOTATOR))]


def _last(user: _Reader, all: bool = False, check_if_running: bool = False) -> object:  # noqa: A002, ARG001
    worker = serving_app().scoring_worker
    runs = [run for run in worker.runs() if run.is_open or not check_if_running]
    if not runs:
        kind = "running" if check_if_running else "known"
        raise HTTPException(status_code=404, detail=f"no scoring is {kind}. Start one: POST /scoring/entropy")
    tasks = [worker.described(run) for run in runs]
    return tasks if all else tasks[0] if check_if_running else tasks[-1]


def _status(user: _Reader, method: str) -> object:  # noqa: ARG001
    host = serving_app()
    _check(host, method)
    return host.scoring_worker.status()


def _start_all(user: _Annotator, params: dict[str, Any] | None = None, run_sync: bool = False) -> object:
    host = serving_app()
    return {
        method: {"result": _start(user, method, _options(params, method), run_sync), "detail": None}
        for method in host.info()["scoring"]
    }


def _options(params: dict[str, Any] | None, method: str) -> dict[str, Any]:
    options = (params or {}).get(method) or {}
    if not isinstance(options, dict):
        raise SettingError(f"options of {method!r} must be a JSON object, got {options!r}.")
    return options


def _start(
    user: _Annotator,  # noqa: ARG001
    method: str,
    params: dict[str, Any] | None = None,
    run_sync: bool = False,
) -> object:
    """Queue the scoring of the unlabelled scans; with ``run_sync`` the answer comes when it is done."""
    host = serving_app()
    _check(host, method)
    worker = host.scoring_worker
    run = worker.request(chosen_model(model_name(params or {}), host.served).name)
    if not run_sync:
        return worker.described(run)
    worker.wait(run)
    if run.error is not None:
        raise run.error
    return run.result()


def _stop(user: _Annotator) -> object:  # noqa: ARG001
    worker = serving_app().scoring_worker
    ended = worker.stop()
    return worker.described(ended[0]) if ended else None


def _check(host: Host, method: str) -> None:
    methods = host.info()["scoring"]
    if method not in methods:
        raise MONAILabelException(
            MONAILabelError.APP_INIT_ERROR, f"no scoring method {method!r}. Known: {', '.join(methods)}."
        )


SCORE_ROUTES = (
    ("GET", "scoring/", _last),
    ("POST", "scoring/", _start_all),
    ("DELETE", "scoring/", _stop),
    ("GET", "scoring/{method}", _status),
    ("POST", "scoring/{method}", _start),
)
"""Method, path and function of each route."""
