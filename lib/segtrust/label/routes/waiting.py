"""Whether the client of a request still waits for its answer."""

from contextlib import AbstractContextManager

import anyio.from_thread
from starlette.requests import Request

from segtrust.files import stoppable

__all__ = ["while_waiting"]


def while_waiting(request: Request) -> AbstractContextManager[None]:
    """End the work inside a ``with`` between its steps once the client has gone.

    Args:
        request: the request that is answered in this worker thread.

    Returns:
        A context; the work raises :class:`segtrust.files.StoppedError` when the client is not there any more.
    """
    return stoppable(lambda: bool(anyio.from_thread.run(request.is_disconnected)))
