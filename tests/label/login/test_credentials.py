"""What came with a request to say who asks."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrust.label.login.credentials import (
    BadCredentialsError,
    Basic,
    Bearer,
    path_of,
    read_credentials,
    take_key_from_path,
)


def scope(path="/info/", *headers, root=""):
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    return {
        "type": "http",
        "path": root + path,
        "raw_path": (root + path).encode(),
        "root_path": root,
        "headers": raw,
    }


def of(*values):
    return read_credentials(scope("/", *(("Authorization", value) for value in values)))


def basic(text):
    return "Basic " + base64.b64encode(text.encode("utf-8", "surrogatepass")).decode()


@given(
    st.text(st.characters(exclude_characters=":", exclude_categories=["Cs"])),
    st.text(st.characters(exclude_categories=["Cs"])),
)
def test_any_name_and_password_arrive_as_they_were_typed(name, password):
    if len(name + password) < 2000:
        assert of(basic(f"{name}:{password}")) == Basic(name, password)


def test_a_password_may_have_colons_and_the_word_any_case():
    assert of(basic("anna:a:b").replace("Basic", "bAsIc")) == Basic("anna", "a:b")
    assert of("bearer  abc ") == Bearer("abc")


@pytest.mark.parametrize(
    "value",
    ["", "Basic", "Bearer", "Basic ", "Digest x", "abc", "Basic !!", "Basic YW5uYQ==",
     "Basic /zr/", "Bearer " + "x" * 20_000],
)  # fmt: skip
def test_what_is_none_is_refused_and_never_quoted(value):
    with pytest.raises(BadCredentialsError) as refused:
        of(value)
    assert "xxxx" not in str(refused.value)


def test_two_headers_are_refused_even_if_they_agree():
    with pytest.raises(BadCredentialsError, match="one Authorization header"):
        of("Bearer a", "Bearer a")


def test_without_a_header_nobody_asks_whatever_cookies_say():
    assert read_credentials(scope("/", ("Cookie", "segtrust_session=sts_x"))) is None


@pytest.mark.parametrize(
    ("path", "key", "rest"),
    [
        ("/u/abc/info/", "abc", "/info/"),
        ("/u/abc", "abc", "/"),
        ("/u/abc/", "abc", "/"),
        ("/u//info/", "", "/info/"),
        ("/u/abc//auth/", "abc", "//auth/"),
        ("/u/abc/u/def/x", "abc", "/u/def/x"),  # one key: the rest is a route that there is not
    ],
)
def test_a_key_is_taken_off_the_address_and_off_what_logs_write(path, key, rest):
    for root in ("", "/below"):
        asked = scope(path, root=root)
        assert take_key_from_path(asked) == key
        assert asked["path"] == root + rest
        assert asked["raw_path"] == (root + rest).encode()
        assert path_of(asked) == rest


@pytest.mark.parametrize("path", ["/", "/u", "/user/abc", "/U/abc/info/", "//u/abc/info/", "/x/u/abc"])
def test_other_addresses_have_no_key(path):
    asked = scope(path)
    assert take_key_from_path(asked) is None
    assert asked["path"] == path


@pytest.mark.parametrize("header", ["Sec-Fetch-Mode", "Sec-Fetch-Site", "Origin", "Referer"])
def test_a_browser_is_told_to_log_in_otherwise(header):
    asked = scope("/u/abc/info/", (header, "x"))
    with pytest.raises(BadCredentialsError, match="is for programs"):
        take_key_from_path(asked)
    assert "abc" not in asked["path"] + asked["raw_path"].decode()
