"""The private folder: who can read it, what it holds, and what is gone afterwards."""

import asyncio
import os
import stat
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fastapi import FastAPI, UploadFile
from starlette.background import BackgroundTask
from starlette.responses import FileResponse

from asgi import ask
from segtrust.errors import StoreError
from segtrust.label import temporary
from segtrust.label.temporary import PrivateFolder, make_private, part_of, sweep_parts


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """Stands for the system's place of temporary files; what a run changes in this process is undone."""
    monkeypatch.setattr(tempfile, "tempdir", tempfile.gettempdir())
    monkeypatch.setattr(tempfile, "gettempdir", tempfile.gettempdir)
    monkeypatch.setattr(temporary, "get_temp_dir", lambda: None)  # would be that of all tests to come
    for name in ("TMPDIR", "TEMP", "TMP", "SEGTRUST_RUN"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    return tmp_path / "disk"


@pytest.fixture
def folder(tmp_path, disk):
    folder = PrivateFolder(tmp_path / "state", disk)
    folder.use()
    yield folder
    folder.close()


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def left_in(folder):
    return sorted(p.name for p in folder.path.rglob("*") if not p.name.startswith("pymp-"))


@pytest.fixture
def server(folder):
    application = FastAPI()
    folder.give_requests_folders(application)

    @application.put("/fails")
    def fails(file: UploadFile):
        Path(tempfile.mkdtemp(), "scan").write_bytes(file.file.read())
        tempfile.NamedTemporaryFile(delete=False).close()
        message = "full"
        raise OSError(28, message)

    @application.put("/is-refused")
    async def is_refused(file: UploadFile):
        Path(tempfile.mkdtemp(), "scan.nii.gz").write_bytes(await file.read())
        message = "no scan"
        raise ValueError(message)

    @application.get("/answers")
    def answers():
        with tempfile.NamedTemporaryFile(delete=False) as file:
            file.write(b"mask")
        assert Path(file.name).parent.parent == folder.path
        assert mode(Path(file.name).parent) == 0o700
        return FileResponse(file.name, background=BackgroundTask(lambda: Path(file.name).stat()))

    @application.get("/later")
    def later():
        with ThreadPoolExecutor(1) as pool:  # stands for work that goes on after the answer
            return {"folder": pool.submit(tempfile.mkdtemp).result()}

    return application


@pytest.mark.parametrize("path", ["/fails", "/is-refused"])
def test_nothing_is_left_of_a_request_that_failed(server, folder, path):
    content = b"x" * (2 << 20)  # above what stays in memory
    answer = ask(server, "PUT", path, files={"file": ("Mueller^Hans.nii.gz", content)})
    assert answer.status_code == 500
    assert left_in(folder) == []


def test_an_answer_is_sent_whole_and_nothing_is_left_of_it(server, folder):
    assert ask(server, "GET", "/answers").content == b"mask"
    assert left_in(folder) == []


def test_what_a_thread_of_its_own_writes_outlives_the_request(server, folder):
    path = Path(ask(server, "GET", "/later").json()["folder"])
    assert path.parent == folder.path
    assert path.is_dir()


def test_requests_at_the_same_time_have_folders_of_their_own(folder):
    seen = {}
    application = FastAPI()
    folder.give_requests_folders(application)

    @application.get("/{name}")
    async def place(name: str):
        seen[name] = tempfile.gettempdir()
        await asyncio.sleep(0)
        assert tempfile.gettempdir() == seen[name]

    for name in "ab":
        assert ask(application, "GET", f"/{name}").status_code == 200
    assert seen["a"] != seen["b"]


def test_the_folder_is_for_its_user_alone_and_its_path_is_short_enough_for_sockets(folder, disk):
    assert mode(folder.path) == mode(folder.path.parent) == 0o700
    assert len(str(folder.path)) - len(str(disk)) < 40


def test_processes_that_the_server_starts_write_there(folder):
    code = "import tempfile; print(tempfile.gettempdir())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(folder.path)


KILLED = """
import os, signal, sys, tempfile
from pathlib import Path
from segtrust.label import temporary
from segtrust.label.temporary import PrivateFolder, part_of
folder = PrivateFolder(Path(sys.argv[1]), Path(sys.argv[2]))
folder.use()
Path(tempfile.mkdtemp(), "Mueller.nii.gz").write_bytes(b"scan")
part_of(Path(sys.argv[3]) / "Mueller.nii.gz").write_bytes(b"scan")
print(folder.path, flush=True)
os.kill(os.getpid(), signal.SIGKILL if sys.argv[4] == "kill" else signal.SIGSTOP)
"""


def start(state, disk, studies, how):
    studies.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, state, disk, studies, how], stdout=subprocess.PIPE, text=True
    )
    return process, Path(process.stdout.readline().strip())


@pytest.mark.slow
def test_what_a_killed_server_left_is_swept_at_the_next_start(tmp_path, disk):
    process, path = start(tmp_path / "state", disk, tmp_path / "studies", "kill")
    process.communicate()
    assert list(path.rglob("Mueller.nii.gz"))
    folder = PrivateFolder(tmp_path / "state", tmp_path / "another disk")
    assert sweep_parts([tmp_path / "studies"], folder.sweep()) == 1
    assert not path.exists()
    assert list((tmp_path / "studies").iterdir()) == []
    assert {p.stem for p in (tmp_path / "state" / "runs").iterdir()} == {folder.run}
    folder.close()


@pytest.mark.slow
@pytest.mark.parametrize("state", ["state", "another"], ids=["of the same state", "of another state"])
def test_what_a_server_that_lives_has_is_not_touched(tmp_path, disk, state):
    process, path = start(tmp_path / state, disk, tmp_path / "studies", "stop")
    try:
        folder = PrivateFolder(tmp_path / "state", disk)
        assert sweep_parts([tmp_path / "studies"], folder.sweep()) == 0
        assert list(path.rglob("Mueller.nii.gz"))
        folder.close()
    finally:
        process.kill()
        process.communicate()


def test_a_place_that_somebody_else_prepared_is_refused(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    with pytest.raises(StoreError, match="must be a folder of the server's own user"):
        make_private(tmp_path / "link")


def test_rights_of_others_are_taken_from_a_folder_that_exists(tmp_path):
    (tmp_path / "sessions").mkdir(mode=0o755)
    make_private(tmp_path / "sessions")
    assert mode(tmp_path / "sessions") == 0o700


def test_parts_of_files_that_nobody_writes_any_more_are_swept_and_others_stay(tmp_path):
    names = {".a.nii.gz." + "0" * 32: 120, ".datastore_v2.json." + "1" * 32: 120, ".b.nii.gz." + "2" * 32: 0}
    names |= {part_of(tmp_path / "c.nii.gz").name: 3600, "scan.nii.gz": 1e6, ".hidden": 1e6, ".lock": 1e6}
    for name, age in names.items():
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    assert sweep_parts([tmp_path, tmp_path / "missing"], set()) == 2
    assert {p.name for p in tmp_path.iterdir()} == {n for n, age in names.items() if age != 120}


def test_a_part_that_is_renamed_while_others_are_swept_is_passed_over(tmp_path, monkeypatch):
    for name in (part_of(tmp_path / "a.nii.gz").name, ".b.nii.gz." + "2" * 32):
        (tmp_path / name).write_bytes(b"x")
    listing = os.scandir

    def listing_before_the_rename(folder):
        with listing(folder) as entries:
            listed = list(entries)
        for number, entry in enumerate(listed):
            Path(entry.path).rename(tmp_path / f"whole{number}.nii.gz")
        return listed

    monkeypatch.setattr(temporary.os, "scandir", listing_before_the_rename)
    assert sweep_parts([tmp_path], set()) == 0
