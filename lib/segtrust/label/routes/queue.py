"""The route of the next scan to label."""

from typing import Annotated, Any

from fastapi import Depends
from monailabel.config import settings as platform
from monailabel.endpoints.user.auth import RBAC, User

from segtrust.label.host import serving_app
from segtrust.label.queue.annotators import annotator
from segtrust.label.queue.strategies import telling_name
from segtrust.label.studies.dicomweb import DicomwebDatastore

__all__ = ["QUEUE_ROUTES"]

_Reader = Annotated[User, Depends(RBAC(platform.MONAI_LABEL_AUTH_ROLE_USER))]


def _next_scan(
    strategy: str,
    user: _Reader,
    params: dict[str, Any] | None = None,
) -> object:
    """The scan that a strategy picks; in a local folder its `name`, which 3D Slicer shows, tells why."""
    # not `async`: a strategy reads the datastore, and other requests are answered meanwhile
    host = serving_app()
    request = {**(params or {}), "strategy": strategy, "client_id": annotator(params or {}, user)}
    pick = host.next_sample(request)
    if not pick:
        return {}
    sample = {**host.datastore().get_image_info(pick["id"]), **pick}
    if not isinstance(host.datastore(), DicomwebDatastore):
        sample["name"] = telling_name(sample)
    return sample


QUEUE_ROUTES = (("POST", "activelearning/{strategy}", _next_scan),)
"""Method, path and function of each route."""
