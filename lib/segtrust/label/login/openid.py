"""Tokens of an OpenID Connect provider: found by discovery, checked by the library PyJWT."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import urlsplit

import jwt
import requests

from segtrust.errors import SettingError
from segtrust.label.login.accounts import RANKS, Account, Rank, checked_name

__all__ = ["OpenidRules", "Provider", "ProviderError"]

# signatures with a public key only: with a shared secret everybody who checks could also sign
_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_SECONDS, _MOST_BYTES = 5.0, 1 << 20
_KEPT_S, _AGAIN_S, _LEEWAY_S = 3600.0, 30.0, 30.0


class ProviderError(Exception):
    """The provider cannot be asked just now, or answers what it must not."""


@dataclass(frozen=True, kw_only=True)
class OpenidRules:
    """Whose tokens are taken, and what they say.

    Args:
        issuer: address of the provider; https, but on this machine.
        audience: name under which the provider knows this server.
        name_claim: what is the user's name. It must be one that users cannot change themselves.
        role_claim: where roles stand; names separated by dots lead into an object.
        roles: pairs ``theirs=ours``.

    Raises:
        SettingError: if something is missing or unknown.
    """

    issuer: str
    audience: str
    name_claim: str
    role_claim: str
    roles: tuple[str, ...]

    def __post_init__(self) -> None:
        parts = urlsplit(self.issuer)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
            raise SettingError(f"`openid_issuer` must be an https address, got {self.issuer!r}.")
        if not self.audience:
            raise SettingError(
                "`openid_audience` must be set where `openid_issuer` is: the client's name there."
            )
        if wrong := [pair for pair in self.roles if pair.partition("=")[2] not in RANKS]:
            raise SettingError(
                f"`openid_roles` must be pairs THEIRS=OURS with ours one of {', '.join(RANKS)}, got "
                f"{wrong[0]!r}."
            )

    def rank_of(self, claims: Mapping[str, Any]) -> Rank | None:
        """The highest of our roles that a token's roles stand for; ``None`` for none."""
        value: Any = claims
        for name in self.role_claim.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        theirs = {value} if isinstance(value, str) else set(filter(_is_text, value or ()))
        pairs = [pair.partition("=") for pair in self.roles]
        ours = [cast(Rank, our) for their, _, our in pairs if their in theirs]
        return max(ours, key=RANKS.index, default=None)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


@dataclass
class Provider:
    """A provider, and the keys with which it signs.

    Args:
        rules: what is taken.
        clock: seconds that only grow.
    """

    rules: OpenidRules
    clock: Callable[[], float] = time.monotonic
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _keys: dict[str | None, jwt.PyJWK] = field(default_factory=dict, repr=False)
    _asked: float = field(default=float("-inf"), repr=False)
    _document: dict[str, Any] = field(default_factory=dict, repr=False)

    def account(self, token: str, nonce: str | None = None) -> Account | None:
        """Whose token this is; waits for the provider where its keys are not known.

        Args:
            token: a signed JWT.
            nonce: what the token must repeat: that of the log-in which asked for it.

        Returns:
            The account; ``None`` for a token that is none, is over, or is for somebody else.

        Raises:
            ProviderError: if the provider cannot be asked.
        """
        try:
            header = jwt.get_unverified_header(token)
            key = self._key(header.get("kid"), str(header.get("alg")))
            if key is None:
                return None
            claims = jwt.decode(
                token,
                key.key,
                algorithms=[str(header["alg"])],  # one of ours: `_key` looked
                audience=self.rules.audience,
                issuer=self.rules.issuer,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
            if nonce is not None and claims.get("nonce") != nonce:
                return None
            rank, name = self.rules.rank_of(claims), claims.get(self.rules.name_claim)
            return Account(checked_name(name), rank, "openid") if rank and isinstance(name, str) else None
        except (jwt.InvalidTokenError, SettingError, KeyError, ValueError):
            return None

    def document(self) -> Mapping[str, Any]:
        """What the provider says of itself (OpenID Connect Discovery).

        Raises:
            ProviderError: if it cannot be asked.
        """
        with self._lock:
            if not self._document:
                self._ask()
            return self._document

    def _key(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        if algorithm not in _ALGORITHMS:
            return None
        with self._lock:
            age = self.clock() - self._asked
            if age > _KEPT_S or (kid not in self._keys and age > _AGAIN_S):
                self._ask()
            key = self._keys.get(kid)
        # a key says with which kind of algorithm it signs
        family = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}[algorithm[:2]]
        return key if key is not None and key.key_type == family else None

    def _ask(self) -> None:
        self._asked = self.clock()
        document = _fetch(f"{self.rules.issuer.rstrip('/')}/.well-known/openid-configuration")
        if document.get("issuer") != self.rules.issuer:
            raise ProviderError(
                f"the provider must call itself {self.rules.issuer}, got {document.get('issuer')!r}"
            )
        found = _fetch(str(document.get("jwks_uri"))).get("keys")
        keys = {}
        for entry in found if isinstance(found, list) else ():
            try:
                if entry.get("use", "sig") == "sig":
                    keys[entry.get("kid")] = jwt.PyJWK(entry)
            except (jwt.PyJWTError, AttributeError):  # a kind that is not known here
                continue
        self._document, self._keys = document, keys


def _fetch(address: str) -> dict[str, Any]:
    parts = urlsplit(address)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise ProviderError("the provider's addresses must be https")
    try:
        with requests.get(address, timeout=_SECONDS, allow_redirects=False, stream=True) as answer:
            answer.raise_for_status()
            body = answer.raw.read(_MOST_BYTES + 1, decode_content=True)
            if answer.status_code != 200 or len(body) > _MOST_BYTES:
                raise ProviderError(
                    f"the provider answers {answer.status_code} with {len(body)} bytes or more"
                )
            document = json.loads(body)
    except (requests.RequestException, OSError, ValueError) as error:
        raise ProviderError(f"the provider cannot be asked: {type(error).__name__}") from error
    if not isinstance(document, dict):
        raise ProviderError("the provider must answer with an object")
    return document
