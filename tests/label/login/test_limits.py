"""Wrong passwords and busy users."""

from hypothesis import given
from hypothesis import strategies as st

from segtrust.label.login.limits import Attempts, Traffic


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def test_five_wrong_passwords_are_free_and_the_wait_doubles_up_to_a_quarter_of_an_hour():
    clock = Clock()
    attempts = Attempts(clock)
    waits = []
    for _ in range(20):
        attempts.wrong("10.0.0.1", "anna")
        waits.append(attempts.seconds_to_wait("10.0.0.1", "anna"))
        clock.now += max(waits[-1], 0)
    assert max(waits[:4]) <= 0
    assert waits[4:10] == [1, 2, 4, 8, 16, 32]
    assert max(waits) == 900


def test_the_right_password_ends_the_wait_and_others_are_not_held_up():
    attempts = Attempts(Clock())
    for _ in range(10):
        attempts.wrong("10.0.0.1", "anna")
    assert attempts.seconds_to_wait("10.0.0.1", "ANNA") > 0
    assert attempts.seconds_to_wait("10.0.0.2", "anna") <= 0
    assert attempts.seconds_to_wait("10.0.0.1", "rob") <= 0
    attempts.right("10.0.0.1", "anna")
    assert attempts.seconds_to_wait("10.0.0.1", "anna") <= 0


def test_an_address_that_tries_many_names_waits_and_a_name_tried_from_many_waits_half_a_minute_at_most():
    clock = Clock()
    attempts = Attempts(clock)
    for number in range(60):
        attempts.wrong("10.0.0.1", f"name {number}")
    assert attempts.seconds_to_wait("10.0.0.1", "another") > 60
    for number in range(300):
        attempts.wrong(f"10.1.{number // 256}.{number % 256}", "anna")
    assert 0 < attempts.seconds_to_wait("10.9.9.9", "anna") <= 30
    clock.now += 3601
    attempts.wrong("10.0.0.1", "another")
    assert attempts.seconds_to_wait("10.0.0.1", "another") <= 0


def test_memory_is_bounded_whatever_is_tried():
    attempts = Attempts(Clock())
    for number in range(25_000):
        attempts.wrong(f"address {number}", f"{number}" + "x" * 1000)
    assert len(attempts._tries) <= 10_000


def test_a_user_may_spend_a_minute_s_requests_at_once_and_then_as_they_come():
    clock = Clock()
    traffic = Traffic(60, 100, clock)
    assert [traffic.begin("anna") for _ in range(60)] == [0] * 60
    assert traffic.begin("anna") == 1
    assert traffic.begin("rob") == 0
    clock.now += 2
    assert [traffic.begin("anna") for _ in range(3)] == [0, 0, 1]


def test_only_so_many_run_at_a_time():
    traffic = Traffic(1000, 2, Clock())
    assert [traffic.begin("anna") for _ in range(3)] == [0, 0, 1]
    traffic.end("anna")
    assert traffic.begin("anna") == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.floats(0, 30)), max_size=60))
def test_a_user_never_has_more_than_allowed_whatever_the_order(steps):
    clock = Clock()
    traffic = Traffic(10, 3, clock)
    running, answered = dict.fromkeys("abc", 0), dict.fromkeys("abc", 0)
    begun = clock.now
    for user, ends, seconds in steps:
        clock.now += seconds
        if ends and running[user]:
            traffic.end(user)
            running[user] -= 1
        elif traffic.begin(user) == 0:
            running[user] += 1
            answered[user] += 1
        assert running[user] <= 3
        # saved up at first, and what came in since; sums of floats are off by less than a millionth
        assert answered[user] <= 10 + (clock.now - begun) / 6 + 1e-6
