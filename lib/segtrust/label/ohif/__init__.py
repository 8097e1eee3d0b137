"""What the OHIF viewer inside MONAI Label needs from us, added at run time: nothing is built or patched.

- ``viewer``: our configuration, panel and the viewer's own files
- ``proxy``: the way from the viewer to the DICOMweb server
- ``static``: the configuration and the panel, plain JavaScript modules
"""

from fastapi import APIRouter

from segtrust.label.ohif import proxy, viewer

__all__ = ["routers_for"]


def routers_for(studies: str) -> tuple[APIRouter, ...]:
    """What is to be put in front of MONAI Label's own routes, which answer some of the same paths.

    Args:
        studies: folder of the scans, or URL of a DICOMweb server.

    Returns:
        Our routers. Google's DICOMweb needs a log-in of its own: there MONAI Label's proxy stays.
    """
    return (viewer.router,) if "googleapis.com" in studies else (viewer.router, proxy.router)
