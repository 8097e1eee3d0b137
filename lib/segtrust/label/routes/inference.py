"""Routes of inference over many scans and over whole slides: checked before anything starts."""

from collections.abc import Collection
from typing import Annotated, Any, Literal

from fastapi import Depends
from monailabel.config import settings as platform
from monailabel.endpoints import batch_infer
from monailabel.endpoints.user.auth import RBAC, User

from segtrust.errors import ModelNotFoundError, SettingError
from segtrust.label.host import serving_app
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
    ("POST", "infer/wsi/{model}", _no_slides),
    ("POST", "infer/wsi_v2/{model}", _no_slides),
    ("POST", "batch/infer/{model}", _infer_batch),
)
"""Method, path and function of each route."""
