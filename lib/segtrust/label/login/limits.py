"""How often somebody may try, and how much one user may ask for; all of it in bounded memory."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

__all__ = ["Attempts", "Traffic"]

_MOST_KEYS = 10_000


@dataclass
class _Tries:
    wrong: int = 0
    last: float = 0.0


@dataclass
class Attempts:
    """Waits that grow with wrong passwords: for an address and a name together, each address, and each name.

    An attacker who knows a name makes its user wait half a minute at most, and never a user whose password
    was accepted in the last minutes: who is in is not asked here.

    Args:
        clock: seconds that only grow.
    """

    clock: Callable[[], float] = time.monotonic
    _tries: OrderedDict[Hashable, _Tries] = field(default_factory=OrderedDict, repr=False)

    def seconds_to_wait(self, address: str, name: str) -> float:
        """How long nobody is let in from an address under a name; 0 for not at all."""
        now, longest = self.clock(), 0.0
        for key, free, most in _keys(address, name):
            tries = self._tries.get(key)
            if tries is not None and tries.wrong >= free:
                wait = min(2.0 ** min(tries.wrong - free, 30), most)
                longest = max(longest, tries.last + wait - now)
        return longest

    def wrong(self, address: str, name: str) -> None:
        """Count a wrong password."""
        now = self.clock()
        for key, _, most in _keys(address, name):
            tries = self._tries.pop(key, None) or _Tries()
            if now - tries.last > 4 * most:
                tries.wrong = 0
            tries.wrong, tries.last = tries.wrong + 1, now
            self._tries[key] = tries  # at the end: the newest
        while len(self._tries) > _MOST_KEYS:
            self._tries.popitem(last=False)

    def right(self, address: str, name: str) -> None:
        """Forget wrong passwords of an address and a name; those of the address alone stay."""
        pair, _, user = (key for key, _, _ in _keys(address, name))
        self._tries.pop(pair, None)
        self._tries.pop(user, None)


def _keys(address: str, name: str) -> tuple[tuple[Hashable, int, float], ...]:
    """What is counted: key, wrong passwords without a wait, and the longest wait in seconds."""
    user = name.casefold()[:64]
    return ((address, user), 5, 900.0), (("address", address), 30, 300.0), (("name", user), 100, 30.0)


@dataclass
class _Use:
    tokens: float
    seen: float
    running: int = 0


@dataclass
class Traffic:
    """Requests of each user: in a minute, and at the same time.

    Args:
        per_minute: a user may save up this many and spend them at once.
        at_once: requests that run at the same time.
        clock: seconds that only grow.
    """

    per_minute: int
    at_once: int
    clock: Callable[[], float] = time.monotonic
    _uses: OrderedDict[str, _Use] = field(default_factory=OrderedDict, repr=False)

    def begin(self, user: str) -> float:
        """Begin a request.

        Args:
            user: who asks.

        Returns:
            0 if it may go on, and :meth:`end` must follow; else the seconds after which to ask again.
        """
        now = self.clock()
        use = self._uses.pop(user, None) or _Use(float(self.per_minute), now)
        self._uses[user] = use
        use.tokens = min(self.per_minute, use.tokens + (now - use.seen) * self.per_minute / 60)
        use.seen = now
        if use.running >= self.at_once:
            return 1.0
        if use.tokens < 1:
            return math.ceil((1 - use.tokens) * 60 / self.per_minute)
        use.tokens -= 1
        use.running += 1
        self._forget()
        return 0.0

    def end(self, user: str) -> None:
        """End a request that :meth:`begin` let go on."""
        self._uses[user].running -= 1

    def _forget(self) -> None:
        idle = [user for user, use in self._uses.items() if not use.running]
        for user in idle[: max(0, len(self._uses) - _MOST_KEYS)]:
            del self._uses[user]
