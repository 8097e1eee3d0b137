"""What a client gets for a password: a token that ends by itself, kept in memory as a hash."""

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from segtrust.label.login.accounts import Account

__all__ = ["SESSION_PREFIX", "LoginSessions"]

SESSION_PREFIX = "sts_"
_MOST = 10_000


@dataclass(frozen=True)
class _Session:
    account: Account
    stamp: str
    ends: float


@dataclass
class LoginSessions:
    """Open sessions.

    Args:
        seconds: how long one lasts.
        clock: seconds that only grow.
    """

    seconds: float
    clock: Callable[[], float] = time.monotonic
    _open: OrderedDict[str, _Session] = field(default_factory=OrderedDict, repr=False)

    def begin(self, account: Account, stamp: str, seconds: float | None = None) -> str:
        """Open a session.

        Args:
            account: who logged in.
            stamp: what must not change meanwhile: the user's kept password.
            seconds: a shorter time, as that of a provider's token.

        Returns:
            The token.
        """
        token = f"{SESSION_PREFIX}{secrets.token_urlsafe(32)}"
        lasts = self.seconds if seconds is None else min(seconds, self.seconds)
        self._open[_digest(token)] = _Session(account, stamp, self.clock() + lasts)
        while len(self._open) > _MOST:
            self._open.popitem(last=False)
        return token

    def find(self, token: str) -> tuple[Account, str] | None:
        """Account and stamp of an open session; ``None`` if it is not, or no longer, open."""
        session = self._open.get(_digest(token))
        if session is None:
            return None
        if session.ends <= self.clock():
            del self._open[_digest(token)]
            return None
        return session.account, session.stamp

    def end(self, token: str) -> None:
        """Close a session, if it is open."""
        self._open.pop(_digest(token), None)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
