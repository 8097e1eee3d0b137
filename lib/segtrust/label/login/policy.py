"""Whether a server asks for a log-in; one that strangers could reach does not start without users."""

import logging
from ipaddress import ip_address
from pathlib import Path

from monailabel.config import settings as platform

from segtrust.errors import SettingError
from segtrust.label.login.accounts import UsersFile
from segtrust.label.login.gate import Gate
from segtrust.label.login.limits import Traffic
from segtrust.label.login.openid import OpenidRules, Provider
from segtrust.label.login.sessions import LoginSessions
from segtrust.label.settings import AppSettings

__all__ = ["gate_for", "users_file"]

logger = logging.getLogger(__name__)


def users_file(state_dir: Path, setting: Path | None = None) -> UsersFile:
    """The users' file of a site.

    Args:
        state_dir: state of the site.
        setting: another place that the site chose; it wins.
    """
    return UsersFile(setting or state_dir / "users.json")


def gate_for(settings: AppSettings, state_dir: Path, host: str | None) -> Gate:
    """Decide whether there is a log-in, and refuse to start where there must be one and cannot.

    Args:
        settings: of the app.
        state_dir: state of the site.
        host: address on which the server listens; ``None`` if that is not known.

    Returns:
        The gate. Where the address is not known, it lets in without a log-in what arrives at an address of
        this machine alone.

    Raises:
        SettingError: if somebody must log in and nobody can.
    """
    if platform.MONAI_LABEL_AUTH_ENABLE:
        raise SettingError(
            "MONAI_LABEL_AUTH_ENABLE must not be set: the log-in of MONAI Label 0.8.5 lets nobody in. Use "
            "--conf login on, and `segtrust users add` or --conf openid_issuer ADDRESS"
        )
    users = users_file(state_dir, settings.users_file)
    provider = None
    if settings.openid_issuer:
        provider = Provider(
            OpenidRules(
                issuer=settings.openid_issuer,
                audience=settings.openid_audience,
                name_claim=settings.openid_name_claim,
                role_claim=settings.openid_role_claim,
                roles=settings.openid_roles,
            )
        )
    somebody = bool(users.users()) or provider is not None  # a damaged file stops the start
    is_reachable = host is not None and not _is_loopback(host)
    is_required = settings.login == "on" or (settings.login == "auto" and somebody)
    if is_required and not somebody:
        raise SettingError(f"`login` is on, but there are no users. {_how(users)}")
    if not is_required and is_reachable:
        if settings.login == "auto":
            raise SettingError(
                f"a server on {host} can be reached by others, who would read scans and change labels, and "
                f"there are no users. {_how(users)} Or listen on this machine alone: --host 127.0.0.1. Or, "
                "where something in front asks for a log-in: --conf login off"
            )
        logger.warning(
            "NO LOG-IN: whoever reaches %s reads scans and changes labels (--conf login off)", host
        )
    return Gate(
        users=users,
        is_required=is_required,
        may_be_open=settings.login == "off",
        provider=provider,
        traffic=Traffic(settings.user_requests_per_minute, settings.user_requests_at_once),
        heavy=Traffic(settings.user_requests_per_minute, settings.user_inferences_at_once),
        sessions=LoginSessions(settings.login_hours * 3600),
    )


def _how(users: UsersFile) -> str:
    return f"Add one: segtrust users add NAME --role administrator --file {users.path}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
