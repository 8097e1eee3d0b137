"""What a log line says, and what it keeps to itself."""

import io
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from segtrust.errors import ScanError, StoreError
from segtrust.label.logs import NamesHidden

NAME = "Mueller^Hans"


@pytest.fixture
def written(monkeypatch):
    """What a handler with the filter wrote; the root logger is at INFO as in a server."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
    handler.addFilter(NamesHidden())
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [*root.handlers, handler])
    monkeypatch.setattr(root, "level", logging.INFO)
    logging.Logger.manager._clear_cache()
    yield stream.getvalue
    monkeypatch.undo()
    logging.Logger.manager._clear_cache()


def log(name, level, *words, **options):
    logging.getLogger(name).log(level, *words, **options)


@pytest.mark.parametrize("library", ["monailabel.endpoints.session", "dicomweb_client.web", "itk"])
def test_lines_of_other_libraries_are_left_out_or_only_say_where_they_come_from(written, library):
    log(library, logging.INFO, f"Request Files: {NAME}")
    assert written() == ""
    log(library, logging.WARNING, "Failed to finish: %s", NAME)
    assert NAME not in written()
    assert "test_logs.py" in written()


def test_our_own_lines_stay(written):
    log("segtrust.label.served", logging.INFO, "Model %s: version %s is served now", "spleen", "0001")
    assert "Model spleen: version 0001 is served now" in written()


def test_an_error_is_named_by_class_and_code_and_not_by_its_words(written):
    log(
        "segtrust.label.app",
        logging.WARNING,
        "No roles yet: %s",
        ScanError(f"{NAME} is cut off", "scan_unreadable"),
    )
    log("segtrust.label.app", logging.WARNING, "Not kept: %s", OSError(28, "No space left on device", NAME))
    log("segtrust.label.app", logging.WARNING, "Not kept: %s", ValueError(NAME))
    assert NAME not in written()
    assert "No roles yet: ScanError (scan_unreadable)" in written()
    assert "Not kept: OSError: No space left on device" in written()


def test_an_error_about_the_site_itself_is_told_in_words(written):
    log("segtrust.label.app", logging.WARNING, "%s", StoreError("the state file must be writable"))
    assert "StoreError: the state file must be writable" in written()


def test_a_traceback_keeps_its_places_and_loses_its_words(written):
    def reads_a_scan():
        try:
            Path(NAME).read_bytes()
        except FileNotFoundError as error:
            raise RuntimeError(NAME) from error

    try:
        reads_a_scan()
    except RuntimeError:
        log("uvicorn.error", logging.ERROR, "Exception in ASGI application", exc_info=True)
    assert NAME not in written()
    for word in ("RuntimeError", "FileNotFoundError", "reads_a_scan", "test_logs.py"):
        assert word in written()


def test_who_asks_for_everything_gets_it(written, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "level", logging.DEBUG)
    logging.Logger.manager._clear_cache()
    log("monailabel.endpoints.session", logging.INFO, f"Request Files: {NAME}")
    assert NAME in written()


def test_what_ends_a_process_is_said_without_names():
    code = f"""
import logging
logging.basicConfig(level=logging.INFO)
from segtrust.label.logs import hide_names
hide_names()
hide_names()
assert len(logging.getLogger().handlers[0].filters) == 1
def trains(): raise ValueError({NAME!r})
trains()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert NAME not in done.stdout + done.stderr
    assert "ValueError" in done.stderr
    assert "trains" in done.stderr
