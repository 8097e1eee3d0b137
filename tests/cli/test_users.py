"""`segtrust users`: who may log in."""

import io
import re
import subprocess
import sys

import pytest

from segtrust.cli import main
from segtrust.label.login.accounts import Account, UsersFile
from segtrust.label.login.passwords import is_password

WORDS = "correct horse battery"


@pytest.fixture
def typed(monkeypatch):
    def type_in(text):
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))

    return type_in


def test_a_user_is_added_listed_and_removed(tmp_path, typed, capsys):
    where = ["--studies", str(tmp_path)]
    typed(f"{WORDS}\n")
    assert main(["users", "add", "anna", "--role", "annotator", *where]) == 0
    users = UsersFile(tmp_path / ".segtrust" / "users.json")
    assert is_password(WORDS, users.users()["anna"].password)
    assert main(["users", "key", "anna", "--role", "reader", "--note", "export", *where]) == 0
    key = re.search(r"^stk_\S+$", capsys.readouterr().out, re.M)[0]
    assert users.account_of_key(key) == Account("anna", "reader", "key")
    assert main(["users", "list", *where]) == 0
    shown = capsys.readouterr().out
    assert "anna  annotator  password" in shown
    assert "export" in shown
    assert key.split("_", 2)[2] not in shown
    assert main(["users", "revoke", key.split("_")[1], *where]) == 0
    assert users.account_of_key(key) is None
    assert main(["users", "remove", "anna", *where]) == 0
    assert users.users() == {}


def test_no_password_is_ever_an_argument(capsys):
    with pytest.raises(SystemExit):
        main(["users", "add", "anna", "--role", "reader", "--file", "x", "--password", WORDS])
    assert "unrecognized arguments" in capsys.readouterr().err


def test_what_must_not_be_is_said(tmp_path, typed, capsys):
    where = ["--file", str(tmp_path / "users.json")]
    typed("short\n")
    assert main(["users", "add", "anna", "--role", "reader", *where]) == 1
    assert main(["users", "remove", "anna", *where]) == 1
    assert main(["users", "add", "robot", "--role", "reader", "--no-password", *where]) == 0
    assert main(["users", "key", "robot", "--role", "reviewer", *where]) == 1
    said = capsys.readouterr().err
    for words in ("10 to 256 characters", "no user 'anna'", "must not be above 'reader'"):
        assert words in said


def test_it_needs_none_of_the_large_libraries():
    code = "import sys, segtrust.cli.users; print({'torch', 'monai', 'monailabel'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
