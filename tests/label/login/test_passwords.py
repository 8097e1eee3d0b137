"""Passwords as they are kept."""

import base64
import time

import pytest
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from segtrust.errors import SettingError
from segtrust.label.login.passwords import hash_password, is_password, waste_time

WORDS = "correct horse battery"


def test_what_is_kept_is_argon2id_with_a_salt_of_its_own():
    one, two = hash_password(WORDS), hash_password(WORDS)
    assert one != two
    _, kind, version, parameters, salt, digest = one.split("$")
    assert (kind, version, parameters) == ("argon2id", "v=19", "m=19456,t=2,p=1")
    raw = [base64.b64decode(f"{part}==") for part in (salt, digest)]
    again = Argon2id(salt=raw[0], length=32, iterations=2, lanes=1, memory_cost=19456)
    assert again.derive(WORDS.encode()) == raw[1]


def test_the_password_and_no_other_is_the_password():
    kept = hash_password(WORDS)
    assert is_password(WORDS, kept)
    for other in ("", WORDS + " ", WORDS.upper(), WORDS[:-1], "x" * 100_000, "\ud800" * 12, "\x00" * 12):
        assert not is_password(other, kept)


@pytest.mark.parametrize(
    "kept", ["", "x", "$argon2id$v=19$m=1$x$y", "$argon2i$v=19$m=19456,t=2,p=1$AAAA$AAAA"]
)
def test_nothing_is_the_password_of_what_is_damaged(kept):
    assert not is_password("", kept)
    assert not is_password(WORDS, kept)


def test_two_keyboards_that_compose_letters_differently_type_one_password():
    assert is_password("Schlu\u0308sselwort", hash_password("Schl\u00fcsselwort"))


@pytest.mark.parametrize("password", ["", "short 789", "x" * 257, "a\x00bcdefghijkl", "line\nbreak is in"])
def test_a_password_that_is_too_short_too_long_or_no_text_is_refused(password):
    with pytest.raises(SettingError, match="10 to 256 characters"):
        hash_password(password)


def test_an_unknown_user_takes_as_long_as_a_wrong_password():
    kept = hash_password(WORDS)
    waste_time()  # makes what it compares with, once

    def fastest(act):
        times = []
        for _ in range(7):
            begun = time.process_time()
            act()
            times.append(time.process_time() - begun)
        return min(times)

    unknown, wrong = fastest(waste_time), fastest(lambda: is_password("a wrong one", kept))
    # both are one Argon2 of tens of milliseconds; without it an unknown user would take microseconds
    assert 0.5 < unknown / wrong < 2
    assert 0.5 < fastest(lambda: is_password("x" * 100_000, kept)) / wrong < 2
