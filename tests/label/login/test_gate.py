"""Who is let in."""

import asyncio

import pytest

from segtrust.label.login import gate as module
from segtrust.label.login.accounts import Account, UsersFile
from segtrust.label.login.credentials import Basic, Bearer
from segtrust.label.login.gate import Gate, Refused
from segtrust.label.login.limits import Attempts, Traffic
from segtrust.label.login.sessions import LoginSessions

WORDS = "correct horse battery"
HERE = "10.0.0.1"


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def users(tmp_path):
    users = UsersFile(tmp_path / "users.json")
    users.add("anna", "annotator", WORDS)
    return users


@pytest.fixture
def told():
    return []


@pytest.fixture
def gate(users, told):
    clock = Clock()
    return Gate(
        users=users,
        is_required=True,
        may_be_open=False,
        provider=None,
        traffic=Traffic(100, 10, clock),
        heavy=Traffic(100, 10, clock),
        sessions=LoginSessions(3600, clock),
        attempts=Attempts(clock),
        clock=clock,
        on_attempt=lambda *entry: told.append(entry),
    )


@pytest.fixture
def checks(monkeypatch):
    """Passwords that were really checked."""
    seen = []
    real = module.is_password
    monkeypatch.setattr(
        module, "is_password", lambda password, kept: seen.append(password) or real(password, kept)
    )
    return seen


def enter(gate, sent, address=HERE):
    return asyncio.run(gate.account(sent, address))


def status(gate, sent, address=HERE):
    try:
        enter(gate, sent, address)
    except Refused as refused:
        return refused.status
    return 200


def test_a_right_password_lets_in_and_is_checked_once_in_five_minutes(gate, checks):
    for _ in range(20):
        assert enter(gate, Basic("anna", WORDS)) == Account("anna", "annotator", "password")
    assert checks == [WORDS]
    gate.clock.now += 301
    enter(gate, Basic("anna", WORDS))
    assert checks == [WORDS, WORDS]


def test_many_requests_at_once_with_one_password_are_one_check_and_no_attack(gate, checks):
    async def many():
        return await asyncio.gather(*(gate.account(Basic("anna", WORDS), HERE) for _ in range(40)))

    assert {account.name for account in asyncio.run(many())} == {"anna"}
    assert checks == [WORDS]
    assert gate.attempts.seconds_to_wait(HERE, "anna") <= 0


def test_guesses_sent_at_once_wait_as_those_one_after_the_other(gate, checks):
    async def guess():
        sent = (gate.account(Basic("anna", f"guess number {n}"), HERE) for n in range(20))
        return await asyncio.gather(*sent, return_exceptions=True)

    statuses = [refused.status for refused in asyncio.run(guess())]
    assert set(statuses) == {401, 429}
    assert len(checks) <= 5


def test_while_somebody_guesses_the_user_who_is_in_goes_on(gate):
    enter(gate, Basic("anna", WORDS))
    assert [status(gate, Basic("anna", f"guess {n}")) for n in range(7)][-1] == 429
    assert status(gate, Basic("anna", WORDS)) == 200


def test_a_changed_or_removed_user_is_out_at_once(gate, users):
    assert status(gate, Basic("anna", WORDS)) == 200
    token, _ = asyncio.run(gate.log_in(Basic("anna", WORDS), HERE))
    assert enter(gate, Bearer(token)) == Account("anna", "annotator", "session")
    users.add("anna", "reader", None)
    assert enter(gate, Bearer(token)).rank == enter(gate, Basic("anna", WORDS)).rank == "reader"
    users.add("anna", "reader", "other words here")
    assert (status(gate, Bearer(token)), status(gate, Basic("anna", WORDS))) == (401, 401)
    users.remove("anna")
    assert status(gate, Basic("anna", "other words here")) == 401


STRANGERS = [Basic("", ""), Basic("nobody", WORDS), Basic("anna", "")]
TOKENS = [Bearer(text) for text in ("x", "stk_", "stk_a_b", "sts_x", "a.b.c")]


@pytest.mark.parametrize("sent", [None, *STRANGERS, *TOKENS])
def test_nobody_else_is_let_in(gate, sent):
    assert status(gate, sent) == 401


def test_a_user_without_a_password_has_no_empty_one(gate, users):
    users.add("robot", "reader", None)
    assert status(gate, Basic("robot", "")) == 401
    key = users.add_key("robot")
    assert enter(gate, Bearer(key)) == Account("robot", "reader", "key")


def test_a_damaged_file_of_users_is_said_and_lets_nobody_in(gate, users):
    users.path.write_text("{")
    assert status(gate, Basic("anna", WORDS)) == 503


def test_every_attempt_is_told_with_its_name_and_never_its_secret(gate, told):
    status(gate, Basic("anna", WORDS))
    status(gate, Basic("anna", "a wrong password"))
    status(gate, Bearer("stk_abc_secret"))
    assert told == [("anna", "password", True), ("anna", "password", False), ("", "token", False)]
    assert WORDS not in repr(gate._remembered)
