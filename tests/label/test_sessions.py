"""Which sessions are cleaned up, also after a kill in the middle of one."""

import os
import time

import pytest
from monailabel.utils.sessions import Sessions

from segtrust.label.sessions import remove_expired


@pytest.fixture
def sessions(tmp_path):
    return Sessions(str(tmp_path / "sessions"), expiry=100)


def add(sessions, tmp_path, *, age):
    scan = tmp_path / "scan.nii"
    scan.write_bytes(b"scan")
    name, session = sessions.add_session(str(scan))
    session.last_access_ts -= age
    sessions._write_meta_info(name, session)
    sessions.clear()  # as after a start
    return name


def test_what_expired_goes_and_the_rest_stays(sessions, tmp_path):
    old, new = add(sessions, tmp_path, age=200), add(sessions, tmp_path, age=0)
    assert remove_expired(sessions) == 1
    assert sessions.get_session(old) is None
    assert sessions.get_session(new).name == new


@pytest.mark.parametrize("record", [None, "", '{"name": "x"'], ids=["none", "empty", "cut off"])
@pytest.mark.parametrize(("age", "stays"), [(10, True), (7200, False)])
def test_one_that_was_never_finished_stops_nothing_and_goes_after_an_hour(
    sessions, tmp_path, record, age, stays
):
    expired = add(sessions, tmp_path, age=200)
    folder = tmp_path / "sessions" / "0-unfinished"
    folder.mkdir()
    if record is not None:
        (folder / "meta.info").write_text(record, encoding="utf-8")
    os.utime(folder, (time.time() - age,) * 2)
    remove_expired(sessions)
    assert folder.is_dir() == stays
    assert not (tmp_path / "sessions" / expired).exists()


def test_without_a_folder_there_is_nothing_to_do(tmp_path):
    assert remove_expired(Sessions(str(tmp_path / "none"))) == 0
