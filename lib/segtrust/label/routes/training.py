"""Routes of ``/train/``: the same paths and answers as MONAI Label's, checked before anything starts."""

from typing import Annotated, Any

from fastapi import Depends, HTTPException
from monailabel.config import settings as platform
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.utils.async_tasks.utils import tasks

from segtrust.label.host import serving_app
from segtrust.label.trail import acting

__all__ = ["TRAIN_ROUTES"]

_Reader = Annotated[User, Depends(RBAC(platform.MONAI_LABEL_AUTH_ROLE_USER))]
_Admin = Annotated[User, Depends(RBAC(platform.MONAI_LABEL_AUTH_ROLE_ADMIN))]


def _status(user: _Reader, all: bool = False, check_if_running: bool = False) -> object:  # noqa: A002, ARG001
    host = serving_app()
    if all and tasks("train"):
        return [host.trainings.described(task) for task in tasks("train")]
    status = host.trainings.status(running=check_if_running)
    if status is None:
        kind = "running" if check_if_running else "known"
        raise HTTPException(status_code=404, detail=f"no training is {kind}. Start one: POST /train/MODEL")
    return status


def _start_all(user: _Admin, params: dict[str, Any] | None = None, run_sync: bool = False) -> object:  # noqa: ARG001
    host = serving_app()
    started = host.trainings.start_all(_named(params))
    host.audit.act("training started", {"models": list(started)})
    if run_sync:
        host.trainings.wait()
    return started


def _start(
    user: _Admin,  # noqa: ARG001
    model: str,
    params: dict[str, Any] | None = None,
    run_sync: bool = False,
    enqueue: bool = False,  # noqa: ARG001 -- MONAI Label's; one training at a time is enough
) -> object:
    host = serving_app()
    started = host.trainings.start(model, _named(params))
    host.audit.act("training started", {"models": [model]})
    if not run_sync:
        return started
    host.trainings.wait()
    return host.trainings.status()


def _named(params: dict[str, Any] | None) -> dict[str, Any]:
    """Options with the name of who is logged in, for the audit trail of the process that trains."""
    return {**(params or {}), **({"client_id": acting()} if acting() else {})}


def _stop(user: _Admin) -> object:  # noqa: ARG001
    host = serving_app()
    host.audit.act("training stopped", {})
    return host.trainings.stop()


TRAIN_ROUTES = (
    ("GET", "train/", _status),
    ("POST", "train/", _start_all),
    ("POST", "train/{model}", _start),
    ("DELETE", "train/", _stop),
)
"""Method, path and function of each route."""
