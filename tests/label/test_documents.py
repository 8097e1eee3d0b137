"""JSON of clients: an object that can be stored and sent back, or a refusal in words."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bad_inputs import DOCUMENTS, RAW
from segtrust.errors import SettingError
from segtrust.label.documents import DocumentError, read_object

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(TEXTS, VALUES, max_size=5))
def test_what_json_can_say_is_read_as_it_was_sent(document):
    text = json.dumps(document)
    assert read_object(text, "params") == document
    assert read_object(text.encode(), "info") == document


@given(st.text(max_size=60) | st.binary(max_size=60))
def test_any_other_text_is_an_object_or_a_refusal(text):
    try:
        document = read_object(text, "params")
    except SettingError:
        return
    assert isinstance(document, dict)
    json.dumps(document, allow_nan=False, ensure_ascii=False).encode("utf-8")


@pytest.mark.parametrize("kind", sorted({*DOCUMENTS, *RAW}))
def test_each_kind_of_bad_json_is_refused(kind):
    with pytest.raises(SettingError, match="must be a JSON object such as") as refused:
        read_object({**DOCUMENTS, **RAW}[kind], "params")
    assert refused.value.code == "setting"
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("text", ["", "  ", b"", "{}"], ids=repr)
def test_nothing_sent_is_no_options(text):
    assert read_object(text, "params") == {}


def test_thirty_levels_are_read_and_forty_are_not():
    read_object('{"a":' + "[" * 30 + "]" * 30 + "}", "params")
    with pytest.raises(SettingError, match="more than 32 levels"):
        read_object('{"a":' + "[" * 40 + "]" * 40 + "}", "params")


def test_a_document_of_two_megabytes_is_refused():
    with pytest.raises(SettingError, match="may have 1,048,576"):
        read_object(json.dumps({"a": "b" * 2_000_000}), "params")


def test_what_is_no_option_has_a_word_of_its_own():
    with pytest.raises(DocumentError, match=r"`info` must be a JSON object .* it is a list"):
        read_object("[1]", "info")
    assert DocumentError.code == "malformed"
