"""How the PACS is reached: MONAI Label's own settings, with time limits and with defaults that fit."""

import os
from collections.abc import Mapping
from typing import Any

import requests
from dicomweb_client.ext.gcp.session_utils import create_session_from_gcp_credentials
from monailabel.config import settings as platform
from monailabel.datastore.dicom import DICOMwebClientX

__all__ = ["connect", "forget_defaults", "image_filters", "listing_seconds"]

_CONNECT_SECONDS = 10
_LISTING_SECONDS = 60
_IMAGES = ({"Modality": "CT"}, {"Modality": "MR"})
_FILTER, _EXPIRY = "MONAI_LABEL_DICOMWEB_SEARCH_FILTER", "MONAI_LABEL_DICOMWEB_CACHE_EXPIRY"


def connect(url: str) -> DICOMwebClientX:
    """MONAI Label's client of an archive, with its credentials and prefixes, and with time limits.

    Args:
        url: root of DICOMweb.

    Returns:
        The client. Nothing is asked of the archive yet.
    """
    if "googleapis.com" in url:
        session = create_session_from_gcp_credentials()
    else:
        session = _PatientSession()
        if platform.MONAI_LABEL_DICOMWEB_USERNAME and platform.MONAI_LABEL_DICOMWEB_PASSWORD:
            session.auth = (platform.MONAI_LABEL_DICOMWEB_USERNAME, platform.MONAI_LABEL_DICOMWEB_PASSWORD)
    client = DICOMwebClientX(
        url=url,
        session=session,
        qido_url_prefix=platform.MONAI_LABEL_QIDO_PREFIX,
        wado_url_prefix=platform.MONAI_LABEL_WADO_PREFIX,
        stow_url_prefix=platform.MONAI_LABEL_STOW_PREFIX,
    )
    # its five tries with growing pauses would make three minutes of a limit of 30 s
    client.set_http_retry_params(retry=False)
    return client


class _PatientSession(requests.Session):
    """Waits for the archive, but not for ever."""

    def request(self, *args: Any, **options: Any) -> requests.Response:  # noqa: ANN401 -- handed through
        limits = (_CONNECT_SECONDS, platform.MONAI_LABEL_DICOMWEB_PROXY_TIMEOUT)
        return super().request(*args, **{"timeout": limits, **options})


def image_filters() -> tuple[Mapping[str, Any], ...]:
    """Filters for series to annotate: CT and MR, unless MONAI Label's setting says otherwise."""
    if _FILTER in platform.model_fields_set:
        return (platform.MONAI_LABEL_DICOMWEB_SEARCH_FILTER,)
    return _IMAGES


def listing_seconds() -> float:
    """How long a listing counts: MONAI Label's setting if it was made, else a minute instead of two hours."""
    if _EXPIRY in platform.model_fields_set:
        return float(platform.MONAI_LABEL_DICOMWEB_CACHE_EXPIRY)
    return _LISTING_SECONDS


def forget_defaults() -> None:
    """Keep settings that nobody made from the processes of this server, to which MONAI Label hands on all."""
    for name in (_FILTER, _EXPIRY):
        if name not in platform.model_fields_set:
            os.environ.pop(name, None)
