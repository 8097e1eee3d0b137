"""Where the server's temporary files lie: a private folder for each run, and in it one for each request.

What MONAI Label, its libraries and this package write through :mod:`tempfile` goes there, so that it is gone
when the request ends, however it ends. What a killed server left is swept when the next one starts on the
same state.
"""

import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from multiprocessing.util import Finalize, get_temp_dir
from pathlib import Path

from fastapi import FastAPI
from filelock import FileLock, Timeout
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from segtrust.errors import StoreError

__all__ = ["PrivateFolder", "make_private", "part_of", "sweep_parts"]

_RUN = "SEGTRUST_RUN"
_NO_RUN = "0" * 12
_PART = re.compile(r"\.segtrust-([0-9a-f]{12})-[0-9a-f]{32}")
_UNMARKED_PART = re.compile(r"\..+\.(nii\.gz|nii|nrrd|json)\.[0-9a-f]{32}")
_IDLE_SECONDS = 60.0  # whoever still writes a part changes it, and renames it at once when it is whole
_OLD_SECONDS = 24 * 3600.0
_LAST = -1000  # at the end of a process, after multiprocessing has removed its own folder in here

_request_folder: ContextVar[Path | None] = ContextVar("request folder", default=None)


class PrivateFolder:
    """The folder of one run of the server, readable by its user alone.

    Args:
        state_dir: state of the site; notes there which runs there are, and holds a lock while this one lives.
        disk: where to put the folder; the system's place for temporary files unless set.

    Raises:
        StoreError: if the place belongs to somebody else.

    Note:
        The folder itself has a short path: sockets in it may not have one of more than 107 bytes.
    """

    def __init__(self, state_dir: Path, disk: Path | None = None) -> None:
        self.run = uuid.uuid4().hex[:12]
        self._notes = state_dir / "runs"
        make_private(self._notes)
        self._lock = FileLock(self._notes / f"{self.run}.lock")
        self._lock.acquire()
        self._note = self._notes / f"{self.run}.json"
        place = (disk or Path(tempfile.gettempdir())).resolve()
        place.mkdir(parents=True, exist_ok=True)
        site = place / f"segtrust-{hashlib.sha256(str(state_dir.resolve()).encode()).hexdigest()[:12]}"
        make_private(site)
        self.path = site / self.run
        self._note.write_text(json.dumps({"folder": str(self.path)}), encoding="utf-8")
        make_private(self.path)

    def use(self) -> None:
        """Make :mod:`tempfile` put everything here from now on, also in processes that this one starts."""
        tempfile.tempdir = str(self.path)
        # asked at each use; `tempdir` itself cannot be one place for one request and another for the next
        tempfile.gettempdir = _folder_in_use
        for name in ("TMPDIR", "TEMP", "TMP"):
            os.environ[name] = str(self.path)
        os.environ[_RUN] = self.run
        get_temp_dir()  # lives as long as this process: not to be made in the folder of a request
        Finalize(None, self.close, exitpriority=_LAST)

    def give_requests_folders(self, server: FastAPI) -> None:
        """Give each request of a server a folder of its own in here.

        Args:
            server: MONAI Label's FastAPI application, already started.
        """
        server.user_middleware.append(Middleware(RequestFolders, folder=self.path))
        server.middleware_stack = None  # built again at the next request

    def close(self) -> None:
        """Remove the folder; a killed server leaves this to the next one."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._note.unlink(missing_ok=True)
        self._lock.release()
        (self._notes / f"{self.run}.lock").unlink(missing_ok=True)

    def sweep(self) -> set[str]:
        """Remove the folders of earlier runs on the same state that are over.

        Returns:
            Their names: parts of files that they left in other folders have them, too.
        """
        over = set()
        for note in self._notes.glob("*.json"):
            lock = FileLock(note.with_suffix(".lock"), timeout=0)
            try:
                with lock:
                    self._remove(note)
            except Timeout:
                continue  # a server that lives
            over.add(note.stem)
            note.with_suffix(".lock").unlink(missing_ok=True)
        return over

    @staticmethod
    def _remove(note: Path) -> None:
        try:
            folder = Path(json.loads(note.read_text("utf-8"))["folder"])
        except (ValueError, KeyError, TypeError):
            folder = None  # killed before it had one
        if folder is not None and folder.name == note.stem and folder.parent.name.startswith("segtrust-"):
            shutil.rmtree(folder, ignore_errors=True)
        note.unlink(missing_ok=True)


class RequestFolders:
    """Gives each request a folder of its own, and removes it when the answer has been sent or refused.

    Args:
        app: what answers.
        folder: of the run.
    """

    def __init__(self, app: ASGIApp, folder: Path) -> None:
        self._app = app
        self._folder = folder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with _folder_of_request(self._folder):
            await self._app(scope, receive, send)


def _folder_in_use() -> str:
    """The folder of the request that is answered, made when it is needed first; else that of the run."""
    folder = _request_folder.get()
    if folder is None:
        return str(tempfile.tempdir)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return str(folder)


@contextmanager
def _folder_of_request(base: Path) -> Iterator[None]:
    folder = base / f"r-{uuid.uuid4().hex[:12]}"
    token = _request_folder.set(folder)
    try:
        yield
    finally:
        _request_folder.reset(token)
        shutil.rmtree(folder, ignore_errors=True)


def make_private(folder: Path) -> None:
    """Make a folder that only this user can read, or take these rights from others where it exists.

    Args:
        folder: the folder.

    Raises:
        StoreError: if it belongs to another user, or is a link.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    state = folder.lstat()
    if os.name == "posix" and (not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid()):
        raise StoreError(
            f"{folder} must be a folder of the server's own user, but belongs to somebody else or is a link. "
            "Remove it, or choose another place: --conf temp_dir DIR"
        )
    if stat.S_IMODE(state.st_mode) & 0o077:
        folder.chmod(0o700)


def part_of(target: Path) -> Path:
    """Where to write a file that is renamed when it is whole: beside its place, under a name of nobody.

    Args:
        target: the file's place.

    Returns:
        A name that no other call returns; it begins with a dot and has no ending, so nothing lists it.
    """
    return target.with_name(f".segtrust-{os.environ.get(_RUN, _NO_RUN)}-{uuid.uuid4().hex}")


def sweep_parts(folders: Iterable[Path], runs: set[str]) -> int:
    """Remove parts of files that were never renamed, since their server was killed.

    Args:
        folders: where to look; what lies in their folders is left alone.
        runs: that are over. Parts of other runs may belong to a server that lives; they go after a day.

    Returns:
        How many there were.
    """
    swept = 0
    for folder in folders:
        for entry in list(os.scandir(folder)) if folder.is_dir() else []:
            if _is_over(entry, runs):
                _remove_entry(entry)
                swept += 1
    return swept


def _is_over(entry: os.DirEntry[str], runs: set[str]) -> bool:
    marked, unmarked = _PART.fullmatch(entry.name), _UNMARKED_PART.fullmatch(entry.name)
    if not (marked or unmarked):
        return False
    try:
        idle = time.time() - entry.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:  # renamed by a server that lives
        return False
    return idle > (_IDLE_SECONDS if unmarked else _OLD_SECONDS) or (marked is not None and marked[1] in runs)


def _remove_entry(entry: os.DirEntry[str]) -> None:
    if entry.is_dir(follow_symlinks=False):
        shutil.rmtree(entry.path, ignore_errors=True)
    else:
        Path(entry.path).unlink(missing_ok=True)
