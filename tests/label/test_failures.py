"""Errors over HTTP."""

import asyncio
import json
import shutil
import tarfile

import pytest
from monailabel.interfaces.exception import ImageNotFoundException, MONAILabelError, MONAILabelException
from starlette.requests import Request

from segtrust.errors import (
    DeviceError,
    ModelError,
    ModelNotFoundError,
    ScanError,
    SegtrustError,
    SettingError,
    StoreError,
)
from segtrust.label.failures import HANDLERS, LabelError, PathError, answer_failure, status_and_code


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ScanError("x", "scan_missing"), 404, "scan_missing"),
        (ScanError("x", "scan_channels"), 422, "scan_channels"),
        (ModelNotFoundError("x"), 404, "model_missing"),
        (SettingError("x"), 400, "setting"),
        (DeviceError("x"), 400, "device"),
        (PathError("x"), 400, "path"),
        (LabelError("x"), 422, "label"),
        (StoreError("x"), 503, "store"),
        (ModelError("x"), 500, "model"),
        (ImageNotFoundException("x"), 404, "not_found"),
        (MONAILabelException(MONAILabelError.INVALID_INPUT, "x"), 404, "not_found"),
        (MONAILabelException(MONAILabelError.SERVER_ERROR, "x"), 500, "internal"),
        (json.JSONDecodeError("x", "", 0), 400, "malformed"),
        (tarfile.ReadError("x"), 400, "malformed"),
        (shutil.ReadError("x"), 400, "malformed"),
        (KeyError("x"), 500, "internal"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_each_error_has_its_status_and_code(error, status, code):
    assert status_and_code(error) == (status, code)
    assert isinstance(error, HANDLERS)


def answer(error, query="", **path_params):
    scope = {"type": "http", "method": "POST", "path": "/x", "headers": [], "query_string": query.encode()}
    response = asyncio.run(answer_failure(Request(scope | {"path_params": path_params}), error))
    return response.status_code, json.loads(response.body)


def test_an_answer_names_scan_and_task():
    status, body = answer(ScanError("it is cut off", "scan_unreadable"), "image=a", model="tiny")
    assert status == 422
    assert body == {"detail": "it is cut off", "code": "scan_unreadable", "scan": "a", "task": "tiny"}


def test_what_nobody_foresaw_goes_to_the_log_and_not_to_the_client(caplog):
    status, body = answer(KeyError("secret"))
    assert (status, body["code"], body["scan"]) == (500, "internal", None)
    assert "secret" not in body["detail"]
    assert "secret" in caplog.text


def test_every_error_of_the_library_is_handled():
    assert SegtrustError in HANDLERS
    assert Exception in HANDLERS
