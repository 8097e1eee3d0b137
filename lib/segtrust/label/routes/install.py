"""HTTP routes and handlers that replace MONAI Label's; installed once the server is up."""

import itertools
from collections.abc import Callable

from fastapi import FastAPI
from monailabel.config import settings as platform
from monailabel.endpoints.user.auth import get_current_user
from starlette.middleware import Middleware

from segtrust.label.failures import HANDLERS, answer_failure
from segtrust.label.ohif import routers_for
from segtrust.label.routes import findings, labels
from segtrust.label.routes.inference import INFERENCE_ROUTES
from segtrust.label.routes.intake import Intake, checked_user
from segtrust.label.routes.queue import QUEUE_ROUTES
from segtrust.label.routes.scoring import SCORE_ROUTES
from segtrust.label.routes.service import SERVICE_ROUTES, refuse_reload
from segtrust.label.routes.sessions import SESSION_ROUTES
from segtrust.label.routes.studies import DATASTORE_ROUTES
from segtrust.label.routes.training import TRAIN_ROUTES

__all__ = ["install_routes"]

_ROUTES: tuple[tuple[tuple[str, str, Callable[..., object]], ...], ...] = (
    INFERENCE_ROUTES,
    QUEUE_ROUTES,
    DATASTORE_ROUTES,
    SESSION_ROUTES,
    SCORE_ROUTES,
    TRAIN_ROUTES,
    SERVICE_ROUTES,
)


def install_routes(server: FastAPI) -> None:
    """Put our routes in front of MONAI Label's and our handlers behind all of them.

    Args:
        server: MONAI Label's FastAPI application, already started.
    """
    routes = server.router.routes
    before = len(routes)
    prefix = platform.MONAI_LABEL_API_STR
    # the documentation keeps showing MONAI Label's own entries for the same paths
    for method, path, route in itertools.chain(*_ROUTES):
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
