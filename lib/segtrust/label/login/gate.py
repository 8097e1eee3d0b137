"""Who is let in: one question, with all that must be kept to answer it."""

import asyncio
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
import anyio.to_thread

from segtrust.errors import SettingError
from segtrust.label.login.accounts import KEY_PREFIX, Account, UsersFile
from segtrust.label.login.credentials import Basic, Bearer
from segtrust.label.login.limits import Attempts, Traffic
from segtrust.label.login.openid import Provider, ProviderError
from segtrust.label.login.passwords import is_password, waste_time
from segtrust.label.login.sessions import SESSION_PREFIX, LoginSessions

__all__ = ["Gate", "Refused"]

_CHECKS_AT_ONCE, _MOST_WAITING = 2, 32
_REMEMBERED_SECONDS, _MOST_REMEMBERED = 300.0, 1000
_LOG_IN = (
    "this server asks for a log-in. Send a name and a password (HTTP Basic), or a key as `Authorization: "
    "Bearer KEY`. Who runs the server makes both, with `segtrust users`."
)
_WRONG = "this name and password, key or token are not those of a user, or are over. Log in again."


@dataclass
class Refused(Exception):  # noqa: N818 -- an answer, not a fault
    """Why somebody is not let in: HTTP status, words, and after how many seconds to try again."""

    status: int
    detail: str
    wait: float = 0.0


@dataclass
class Gate:
    """The log-in of a server.

    Args:
        users: the users' file.
        is_required: whether anybody is asked at all.
        may_be_open: whether requests that arrive at another address than this machine's own are answered
            without a log-in.
        provider: of OpenID Connect; none unless configured.
        traffic: bounds on all requests of a user.
        heavy: bounds on requests that compute.
        sessions: what clients got for passwords.
        attempts: wrong passwords.
        clock: seconds that only grow.
        on_attempt: is told of every log-in: name, way, and whether it was let in.
    """

    users: UsersFile
    is_required: bool
    may_be_open: bool
    provider: Provider | None
    traffic: Traffic
    heavy: Traffic
    sessions: LoginSessions
    attempts: Attempts = field(default_factory=Attempts)
    clock: Callable[[], float] = time.monotonic
    on_attempt: Callable[[str, str, bool], None] = lambda *_told: None
    _remembered: OrderedDict[bytes, tuple[str, float]] = field(default_factory=OrderedDict, repr=False)
    _checking: dict[bytes, asyncio.Task[bool]] = field(default_factory=dict, repr=False)
    _secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    async def account(self, sent: Basic | Bearer | None, address: str) -> Account:
        """Who asks.

        Args:
            sent: what came with the request.
            address: where it came from.

        Returns:
            The account.

        Raises:
            Refused: if nobody came, somebody unknown, or too often.
        """
        if sent is None:
            raise Refused(401, _LOG_IN)
        try:
            if isinstance(sent, Basic):
                return await self._of_password(sent, address)
            return await self._of_token(sent.token, address)
        except SettingError as error:  # the users' file
            raise Refused(503, f"nobody can log in just now: {error}") from error
        except ProviderError as error:
            raise Refused(503, f"nobody can log in with a token just now: {error}.", 10) from error

    async def log_in(self, sent: Basic, address: str) -> tuple[str, float]:
        """Open a session for a name and a password.

        Returns:
            Its token, and the seconds it lasts.

        Raises:
            Refused: as :meth:`account`.
        """
        account = await self.account(sent, address)
        stamp = self.users.users()[account.name].password
        return self.sessions.begin(account, stamp), self.sessions.seconds

    async def _of_password(self, sent: Basic, address: str) -> Account:
        user = self.users.users().get(sent.name)
        mark = self._mark(sent)
        if user is not None and user.password and self._is_remembered(mark, user.password):
            return Account(user.name, user.rank, "password")
        there = self._checking.get(mark)
        if there is None:  # the same name and password are checked once, however many requests have them
            if len(self._checking) >= _MOST_WAITING:
                raise Refused(429, "too many are logging in just now. Try again.", 1)
            there = asyncio.ensure_future(self._check(sent, user.password if user else "", address, mark))
            self._checking[mark] = there
            there.add_done_callback(lambda _: self._checking.pop(mark, None))
        is_right = await asyncio.shield(there)
        if user is None or not is_right:
            raise Refused(401, _WRONG)
        return Account(user.name, user.rank, "password")

    async def _check(self, sent: Basic, kept: str, address: str, mark: bytes) -> bool:
        if (wait := self.attempts.seconds_to_wait(address, sent.name)) > 0:
            raise Refused(429, "too many wrong passwords. Wait before you try again.", wait)
        self.attempts.wrong(address, sent.name)  # until it is seen to be right: others ask meanwhile
        limiter = _limiter_of(asyncio.get_running_loop())
        if kept:
            is_right = await anyio.to_thread.run_sync(is_password, sent.password, kept, limiter=limiter)
        else:
            await anyio.to_thread.run_sync(waste_time, limiter=limiter)
            is_right = False
        if is_right:
            self.attempts.right(address, sent.name)
            self._remembered[mark] = kept, self.clock() + _REMEMBERED_SECONDS
            while len(self._remembered) > _MOST_REMEMBERED:
                self._remembered.popitem(last=False)
        # a name that no user has may be a password in the wrong field
        await anyio.to_thread.run_sync(self.on_attempt, sent.name if kept else "", "password", is_right)
        return is_right

    async def _of_token(self, token: str, address: str) -> Account:
        account: Account | None = None
        if token.startswith(SESSION_PREFIX):
            account = self._of_session(token)
        elif token.startswith(KEY_PREFIX):
            account = self.users.account_of_key(token)
        elif self.provider is not None and token.count(".") == 2:
            account = await anyio.to_thread.run_sync(self.provider.account, token)
            if account is not None and account.name in self.users.users():
                account = None  # the name is that of somebody whom this server knows itself
        if account is None:
            if (wait := self.attempts.seconds_to_wait(address, "")) > 0:
                raise Refused(429, "too many wrong keys or tokens. Wait before you try again.", wait)
            self.attempts.wrong(address, "")
            await anyio.to_thread.run_sync(self.on_attempt, "", "token", False)
            raise Refused(401, _WRONG)
        return account

    def _of_session(self, token: str) -> Account | None:
        there = self.sessions.find(token)
        if there is None:
            return None
        account, stamp = there
        if account.how == "openid":
            return account
        user = self.users.users().get(account.name)
        if user is None or not hmac.compare_digest(user.password, stamp):
            self.sessions.end(token)  # removed, or another password since
            return None
        return Account(user.name, user.rank, "session")

    def _mark(self, sent: Basic) -> bytes:
        # keyed by a secret of this run: memory holds nothing that a password could be guessed from elsewhere
        name = sent.name.encode("utf-8", "surrogatepass")
        text = len(name).to_bytes(4, "big") + name + sent.password.encode("utf-8", "surrogatepass")
        return hmac.new(self._secret, text, hashlib.sha256).digest()

    def _is_remembered(self, mark: bytes, kept: str) -> bool:
        there = self._remembered.get(mark)
        return there is not None and there[0] == kept and there[1] > self.clock()


_limiters: dict[int, anyio.CapacityLimiter] = {}


def _limiter_of(loop: asyncio.AbstractEventLoop) -> anyio.CapacityLimiter:
    """Each check takes 19 MiB and a core: a few at a time."""
    return _limiters.setdefault(id(loop), anyio.CapacityLimiter(_CHECKS_AT_ONCE))
