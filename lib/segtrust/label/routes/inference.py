"""Routes of inference over many scans and over whole slides: checked before anything starts."""

from typing import Annotated, Any, Literal

from fastapi import Depends
from monailabel.config import settings as platform
from monailabel.endpoints import batch_infer
from monailabel.endpoints.user.auth import RBAC, User

from segtrust.errors import ModelNotFoundError
from segtrust.label.studies.tags import result_tag

__all__ = ["INFERENCE_ROUTES", "NO_SLIDES"]

NO_SLIDES = "no model of this server segments whole slides. Ask for one scan: POST /infer/MODEL?image=ID"
"""Why whole-slide inference is off: MONAI Label's opens, and afterwards deletes, any path it is told."""

_Reader = Annotated[User, Depends(RBAC(platform.MONAI_LABEL_AUTH_ROLE_USER))]
_Admin = Annotated[User, Depends(RBAC(platform.MONAI_LABEL_AUTH_ROLE_ADMIN))]


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
    return batch_infer.run(model, batch_infer.BatchInferImageType(images), request, run_sync)


INFERENCE_ROUTES = (
    ("POST", "infer/wsi/{model}", _no_slides),
    ("POST", "infer/wsi_v2/{model}", _no_slides),
    ("POST", "batch/infer/{model}", _infer_batch),
)
"""Method, path and function of each route."""
