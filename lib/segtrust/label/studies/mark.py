"""Is the folder of the studies still the one that was opened, or the empty place where it was mounted?"""

import logging
import uuid
from collections.abc import Callable
from pathlib import Path

from segtrust.label.failures import StudiesError

__all__ = ["StudiesMark"]

logger = logging.getLogger(__name__)

_NAME = ".segtrust-studies"


class StudiesMark:
    """A small file in the folder with a text of its own; where nothing can be written, the folder itself.

    Args:
        folder: the studies.
        holds_scan: whether one of the scans that are listed is there now, or none is listed.
        frozen: never write the file; for processes beside the server.
    """

    def __init__(self, folder: Path, holds_scan: Callable[[], bool], *, frozen: bool = False) -> None:
        self._file = folder / _NAME
        self._holds_scan = holds_scan
        self._frozen = frozen
        self._place = _place(folder)
        self.text = self._read() or self._write()

    def check(self) -> None:
        """Check that the folder is there.

        Raises:
            StudiesError: if it is not, or another one is in its place.
        """
        if (now := self._read()) and now == self.text:
            return
        same = _place(self._file.parent) == self._place
        if same and not self.text:
            self.text = now  # another process was the first that could write it
            return
        if same and not now and self._holds_scan():
            self.text = self._write()  # somebody deleted the file, and nothing else
            return
        raise StudiesError(
            f"the studies folder {self._file.parent} must be the one that was opened at start, but "
            f"{'another one is in its place' if now else 'it is empty or gone'}. Is its disk mounted? "
            "Nothing was stored. Mount it again, or start the server anew if it was moved."
        )

    def _read(self) -> str:
        try:
            return self._file.read_text(encoding="utf-8").strip()
        except OSError:
            return ""

    def _write(self) -> str:
        if self._frozen:
            return ""
        try:
            with self._file.open("x", encoding="utf-8") as file:
                file.write(uuid.uuid4().hex)
        except FileExistsError:
            pass  # another process was faster
        except OSError as error:
            logger.info("The studies folder gets no mark: %s", error)
        return self._read()


def _place(folder: Path) -> tuple[int, int]:
    try:
        state = folder.stat()
    except OSError:
        return 0, 0
    return state.st_dev, state.st_ino
