"""What a client gets for a password."""

from segtrust.label.login.accounts import Account
from segtrust.label.login.sessions import LoginSessions

ANNA = Account("anna", "reader", "password")


def test_a_session_ends_by_itself_and_when_it_is_ended():
    now = [0.0]
    sessions = LoginSessions(100, lambda: now[0])
    one, short = sessions.begin(ANNA, "stamp"), sessions.begin(ANNA, "stamp", 5)
    assert sessions.find(one) == (ANNA, "stamp")
    now[0] = 6
    assert sessions.find(short) is None
    sessions.end(one)
    assert sessions.find(one) is None
    other = sessions.begin(ANNA, "stamp", 1000)
    now[0] = 106
    assert sessions.find(other) is None


def test_tokens_differ_and_memory_holds_none_of_them():
    sessions = LoginSessions(100)
    tokens = {sessions.begin(ANNA, "") for _ in range(100)}
    assert len(tokens) == 100
    assert not any(token in repr(sessions._open) for token in tokens)
    assert sessions.find("sts_") is None
    assert sessions.find("") is None


def test_no_more_than_ten_thousand_are_kept():
    sessions = LoginSessions(100)
    first = sessions.begin(ANNA, "")
    for _ in range(10_000):
        last = sessions.begin(ANNA, "")
    assert sessions.find(first) is None
    assert sessions.find(last) == (ANNA, "")
