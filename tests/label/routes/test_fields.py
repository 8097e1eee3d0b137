"""What a client may say about a scan or a label."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segtrust.errors import SettingError
from segtrust.label.routes.fields import (
    IMAGE_FIELDS,
    LABEL_FIELDS,
    SUBMISSION_FIELDS,
    UPLOAD_FIELDS,
    read_fields,
    split_fields,
)

EVERY = {
    "image": IMAGE_FIELDS,
    "label": LABEL_FIELDS,
    "upload": UPLOAD_FIELDS,
    "submission": SUBMISSION_FIELDS,
}
IDENTITY = (
    "name",
    "path",
    "id",
    "ts",
    "checksum",
    "PatientID",
    "PatientName",
    "SeriesInstanceUID",
    "strategy",
)


@pytest.mark.parametrize("field", [*IDENTITY, "segtrust", "params", "__proto__", ""])
@pytest.mark.parametrize("fields", EVERY.values(), ids=EVERY)
def test_what_identifies_a_scan_cannot_be_said_by_a_client(fields, field):
    with pytest.raises(SettingError, match="may be changed here, got"):
        read_fields(json.dumps({field: "../../evil"}), fields)
    assert split_fields(json.dumps({field: "../../evil"}), fields) == ({}, [field])


@pytest.mark.parametrize(
    "value", [1, None, True, ["x"], {"a": "b"}, "x" * 2001, "a\x00b", "a\x1b[2Jb", "\u202etxt", float("nan")]
)
@pytest.mark.parametrize("fields", EVERY.values(), ids=EVERY)
def test_a_note_is_bounded_text(fields, value):
    with pytest.raises(SettingError, match=r"must be text of at most 2000 characters|must be a JSON object"):
        split_fields(json.dumps({"note": value}), fields)


@pytest.mark.parametrize("text", ["[]", "1", '"note"', "null", "true"])
def test_information_is_an_object(text):
    with pytest.raises(SettingError, match="must be a JSON object"):
        read_fields(text, IMAGE_FIELDS)


def test_what_viewers_send_is_kept():
    reviewer = {"status": "approved", "approvedBy": "Ann", "level": "easy", "comment": "ö\n", "editTime": 1}
    meta = {"segmentationMeta": reviewer}
    assert read_fields(json.dumps(meta), LABEL_FIELDS) == meta
    slicer = {"label_info": [{"name": "spleen", "idx": 1}], "client_id": "user-xyz"}
    assert split_fields(json.dumps(slicer), SUBMISSION_FIELDS) == (slicer, [])
    ours = {"label_info": [{"name": "spleen", "idx": 1}], "reviewed_slices": [1, 2]}
    assert split_fields(json.dumps(ours), SUBMISSION_FIELDS) == (ours, [])
    assert read_fields("", IMAGE_FIELDS) == {}


@pytest.mark.parametrize(
    "value",
    [{"status": ["x"]}, {"evil": "x"}, {"editTime": -1}, {"editTime": 1e400}, {"comment": "x" * 2001}, []],
)
def test_a_reviewers_verdict_has_listed_fields(value):
    with pytest.raises(SettingError):
        read_fields(json.dumps({"segmentationMeta": value}), LABEL_FIELDS)


def test_segments_keep_name_and_value_alone_and_are_bounded():
    segments = [{"name": "spleen", "idx": 1, "color": "x" * 10**6, "PatientID": "P1"}]
    values, _ = split_fields(json.dumps({"label_info": segments}), SUBMISSION_FIELDS)
    assert values == {"label_info": [{"name": "spleen", "idx": 1}]}
    for wrong in ([{"name": "x" * 201}], [{"name": 1}], [{"name": "a"}] * 4097):
        with pytest.raises(SettingError):
            split_fields(json.dumps({"label_info": wrong}), SUBMISSION_FIELDS)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=12,
)
names = st.sampled_from([*SUBMISSION_FIELDS, *IDENTITY, "anything"])


@settings(max_examples=300, deadline=None)
@given(info=st.dictionaries(names, json_values, max_size=5))
def test_whatever_is_sent_what_is_kept_is_listed_and_small(info):
    try:
        values, others = split_fields(json.dumps(info), SUBMISSION_FIELDS)
    except SettingError:
        return
    assert set(values) <= set(SUBMISSION_FIELDS)
    assert set(values) | set(others) == set(info)
    assert len(values.get("note", "")) <= 2000
