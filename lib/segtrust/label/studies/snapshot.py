"""Writing a file some time after the last of many changes, beside the requests that made them."""

import atexit
import logging
import threading
import time
from collections.abc import Callable

from segtrust.errors import SegtrustError

__all__ = ["Snapshot"]

logger = logging.getLogger(__name__)

_SHARE = 0.05  # of one processor's time, at most


class Snapshot:
    """Calls a function soon after a change, once for all changes until then, and at the end of the process.

    Args:
        write: writes the snapshot.
        delay: seconds from a change to the snapshot; longer where writing takes long.
    """

    def __init__(self, write: Callable[[], None], delay: float = 5.0) -> None:
        self._write = write
        self._delay = delay
        self._took = 0.0
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        atexit.register(self.close)

    def changed(self) -> None:
        """Have the snapshot written soon."""
        with self._lock:
            if self._timer is None:
                self._timer = threading.Timer(max(self._delay, self._took / _SHARE), self.now)
                self._timer.daemon = True
                self._timer.start()

    def now(self) -> None:
        """Write the snapshot; a failure is logged and tried again at the next change."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        begun = time.perf_counter()
        try:
            self._write()
        except (OSError, SegtrustError) as error:
            logger.warning("The list of scans cannot be written: %s", error)
        self._took = time.perf_counter() - begun

    def close(self) -> None:
        """Write the snapshot now if a change waits for it."""
        if self._timer is not None:
            self.now()
