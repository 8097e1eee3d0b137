"""Who asks, as routes see it."""

from typing import Any

from fastapi import HTTPException
from monailabel.config import settings as platform
from monailabel.endpoints.user.auth import User
from starlette.types import Scope

from segtrust.label.login.accounts import RANKS, Account, Rank, reaches

__all__ = ["SignedIn", "account_in", "keep_account", "require_rank", "signed_in"]

_ACCOUNT = "segtrust.account"


class SignedIn(User):
    """A user who logged in here; MONAI Label's own stand-in for everybody is none."""

    rank: Rank


def keep_account(scope: Scope, account: Account) -> None:
    """Note who asks."""
    scope[_ACCOUNT] = account


def account_in(scope: Scope) -> Account | None:
    """Who asks; ``None`` where there is no log-in."""
    account: Any = scope.get(_ACCOUNT)
    return account if isinstance(account, Account) else None


def signed_in(scope: Scope) -> SignedIn | None:
    """The user of a request with MONAI Label's words for their roles; ``None`` where there is no log-in."""
    account = account_in(scope)
    if account is None:
        return None
    words = (
        platform.MONAI_LABEL_AUTH_ROLE_USER,
        platform.MONAI_LABEL_AUTH_ROLE_ANNOTATOR,
        platform.MONAI_LABEL_AUTH_ROLE_REVIEWER,
        platform.MONAI_LABEL_AUTH_ROLE_ADMIN,
    )
    roles = list(words[: RANKS.index(account.rank) + 1])
    return SignedIn(username=account.name, rank=account.rank, roles=roles)


def require_rank(user: User, needed: Rank, what: str) -> None:
    """Refuse what a route does only for some, where its other uses need less.

    Args:
        user: who asks; without a log-in everybody may.
        needed: the least role.
        what: is refused, as the beginning of a sentence.

    Raises:
        HTTPException: 403 if the role does not reach.
    """
    if isinstance(user, SignedIn) and not reaches(user.rank, needed):
        raise HTTPException(
            403, f"{what} needs the role {needed!r}, and {user.username!r} has {user.rank!r}."
        )
