"""The users' file."""

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from segtrust.errors import SettingError
from segtrust.label.login.accounts import Account, UsersFile, reaches
from segtrust.label.login.passwords import is_password

WORDS = "correct horse battery"


@pytest.fixture
def users(tmp_path):
    return UsersFile(tmp_path / "new" / "users.json")


def test_a_user_has_a_role_and_a_password_that_is_kept_as_a_hash(users):
    users.add("anna", "annotator", WORDS)
    user = users.users()["anna"]
    assert (user.rank, is_password(WORDS, user.password)) == ("annotator", True)
    assert WORDS not in users.path.read_text()
    assert stat.S_IMODE(users.path.stat().st_mode) == 0o600


def test_another_role_keeps_the_password_and_lowers_keys(users):
    users.add("anna", "administrator", WORDS)
    key = users.add_key("anna")
    users.add("anna", "reader", None)
    assert is_password(WORDS, users.users()["anna"].password)
    assert users.account_of_key(key) == Account("anna", "reader", "key")


def test_a_key_is_kept_as_a_hash_and_can_be_taken_back(users):
    users.add("anna", "reviewer", WORDS)
    key, other = users.add_key("anna", "reader", "a program"), users.add_key("anna")
    assert users.account_of_key(key) == Account("anna", "reader", "key")
    assert key.split("_", 2)[2] not in users.path.read_text()
    users.revoke_key(key.split("_")[1])
    assert users.account_of_key(key) is None
    assert users.account_of_key(other) == Account("anna", "reviewer", "key")
    with pytest.raises(SettingError, match="no key"):
        users.revoke_key(key.split("_")[1])


def test_no_other_text_is_a_key(users):
    users.add("anna", "reader", WORDS)
    key = users.add_key("anna")
    head, secret = key.rsplit("_", 1) if key.count("_") == 2 else (key[:17], key[17:])
    for text in (
        "",
        "stk_",
        "stk__",
        key[:-1],
        key + "x",
        f"{head}_",
        secret,
        key.swapcase(),
        f"{key}\u00e9",
    ):
        assert users.account_of_key(text) is None


def test_a_key_s_role_is_not_above_its_user_s(users):
    users.add("anna", "annotator", None)
    with pytest.raises(SettingError, match="must not be above 'annotator'"):
        users.add_key("anna", "administrator")


@pytest.mark.parametrize("name", ["", " anna", "an:na", "a\nb", "x" * 65, "user-xyz", "a\u202eb"])
def test_a_name_that_could_be_mistaken_is_refused(users, name):
    with pytest.raises(SettingError, match="a user's name must have"):
        users.add(name, "reader", WORDS)


def test_names_are_composed_and_differ_by_more_than_case(users):
    users.add("Rene\u0301e", "reader", None)
    assert list(users.users()) == ["Ren\u00e9e"]
    with pytest.raises(SettingError, match="differ by more than case"):
        users.add("REN\u00c9E", "administrator", None)


def test_a_change_of_the_file_counts_at_once_and_without_it_nobody_is_left(users):
    users.add("anna", "reader", WORDS)
    other = UsersFile(users.path)
    assert "anna" in other.users()
    users.remove("anna")
    assert other.users() == {}
    users.path.unlink()
    assert other.users() == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"form": 2, "users": {}}',
        '{"form": 1}',
        '{"form": 1, "users": {"a": {"rank": "king", "password": "", "made": 0, "keys": []}}}',
        '{"form": 1, "users": {"a": {"rank": "reader", "keys": [{"id": "x"}]}}}',
        '{"form": 1, "users": {"a": 7}}',
    ],
)
def test_a_damaged_file_lets_nobody_in_and_says_so(users, text):
    users.path.parent.mkdir()
    users.path.write_text(text)
    users.path.chmod(0o600)
    with pytest.raises(SettingError, match="that `segtrust users` wrote"):
        users.users()


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
@pytest.mark.parametrize("mode", [0o620, 0o602, 0o604])
def test_a_file_that_others_may_use_is_refused(users, mode):
    users.add("anna", "reader", WORDS)
    users.path.chmod(mode)
    with pytest.raises(SettingError, match="chmod 600"):
        UsersFile(users.path).users()


def test_two_who_change_the_file_at_once_lose_nothing(users):
    users.path.parent.mkdir()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: UsersFile(users.path).add(f"user {n}", "reader", None), range(12)))
    assert len(users.users()) == 12
    assert json.loads(users.path.read_text())["form"] == 1


def test_each_role_may_do_what_those_before_it_may():
    assert [reaches("annotator", needed) for needed in ("reader", "annotator", "reviewer")] == [
        True,
        True,
        False,
    ]
