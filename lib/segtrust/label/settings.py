"""Settings of the app: strings become types here and nowhere else."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, get_type_hints

from segtrust.errors import SettingError
from segtrust.files import FileLimits
from segtrust.quality import ContourRule, FineRule
from segtrust.release.plan import round_options

__all__ = [
    "AppSettings",
    "parse_bool",
    "read_names",
    "read_number",
]

_COUNTS = (
    "cache_scans", "label_history", "user_requests_per_minute", "user_requests_at_once",
    "user_inferences_at_once",
)  # fmt: skip
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


def parse_bool(text: object, name: str) -> bool:
    """Read a boolean by word, since ``bool("false")`` is true.

    Args:
        text: a boolean, or one of ``true/false/1/0/yes/no/on/off`` in any case.
        name: setting that is read, for the message.

    Returns:
        The value.

    Raises:
        SettingError: for any other word.

    Note:
        The words are those of ``configparser``.

    Example:
        >>> parse_bool("False", "warm_up")
        False
    """
    word = str(text).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise SettingError(f"`{name}` must be true or false, got {text!r}. Use true, false, 1 or 0.")


def _setting(default: object, doc: str, *, empty: str = "") -> Any:  # noqa: ANN401  # of any type
    """A setting; ``empty`` is the word that stands for a list without entries."""
    return field(default=default, metadata={"doc": doc, "empty": empty})


def _training(option: str) -> Any:  # noqa: ANN401  # stands in for a value of any type
    """A setting that is an option of a round, with its default and its sentence."""
    meant = round_options()[option]
    return field(default=meant.default, metadata={"doc": meant.metadata["doc"], "option": option})


def _limit(bound: str) -> int:
    """A setting that is a bound on what is read."""
    meant = next(f for f in dataclasses.fields(FileLimits) if f.name == bound)
    limit: int = _setting(meant.default, meant.metadata["doc"])
    return limit


@dataclass(frozen=True, kw_only=True)
class AppSettings:
    """What ``monailabel start_server --conf KEY VALUE`` can set.

    Raises:
        SettingError: if a value is outside its range.

    Example:
        >>> AppSettings.from_conf({"device": "cpu", "cache_scans": "2"}).cache_scans
        2
    """

    models: tuple[str, ...] = _setting(
        (), "models to serve, separated by commas; `all` = every model found", empty="all"
    )
    models_dir: Path | None = _setting(  # noqa: RUF009  # makes a field
        None, "folder with more models, one folder each"
    )
    state_dir: Path | None = _setting(  # noqa: RUF009  # makes a field
        None, "where scores and site versions live; `<studies>/.segtrust` unless set"
    )
    temp_dir: Path | None = _setting(  # noqa: RUF009  # makes a field
        None, "disk for the server's private folder of temporary files; the system's own unless set"
    )
    allowed_hosts: tuple[str, ...] = _setting(
        (), "names of the server besides this machine's own, separated by commas; `*` = any"
    )
    allowed_origins: tuple[str, ...] = _setting(
        (), "web pages of other servers that may use this one, such as `https://viewer.example.org`"
    )
    login: Literal["auto", "on", "off"] = _setting(
        "auto",
        "`on`, `off`, or `auto`: everybody must log in once there are users; without users the server starts "
        "on this machine's own address alone",
    )
    users_file: Path | None = _setting(  # noqa: RUF009  # makes a field
        None, "users, as `segtrust users` writes them; `<state_dir>/users.json` unless set"
    )
    login_hours: float = _setting(
        12.0, "how long a token lasts that a client gets for a password (3D Slicer)"
    )
    user_requests_per_minute: int = _setting(3000, "requests of one user in a minute; more are refused (429)")
    user_requests_at_once: int = _setting(32, "requests of one user that are answered at the same time")
    user_inferences_at_once: int = _setting(4, "of these, requests that run a network")
    openid_issuer: str = _setting("", "address of an OpenID Connect provider whose tokens are taken")
    openid_audience: str = _setting("", "name of this server at the provider (`aud` of its tokens)")
    openid_name_claim: str = _setting(
        "preferred_username", "claim that is the user's name; one that users cannot change themselves"
    )
    openid_role_claim: str = _setting(
        "realm_access.roles", "claim that holds a user's roles; dots lead into objects"
    )
    openid_roles: tuple[str, ...] = _setting(
        tuple(f"segtrust-{rank}={rank}" for rank in ("reader", "annotator", "reviewer", "administrator")),
        "which role of theirs is which of ours, as pairs THEIRS=OURS",
    )
    audit_days: float = _setting(0.0, "days that records of the audit trail are kept; 0 = for ever")
    device: str = _setting("auto", "`auto`, `cpu`, `cuda`, `cuda:1`, ...; a request may name another")
    precision: Literal["fp32", "bf16"] = _setting(
        "fp32", "arithmetic of the networks; calibration is fitted in fp32"
    )
    whole_heads: bool = _setting(
        True, "serve a task for whole scans beside a crop model that comes with a search for its structures"
    )
    keep_members: bool = _setting(True, "keep all members in memory; false loads them one at a time")
    cache_scans: int = _setting(1, "predictions kept in memory, so that mask and bands cost one run")
    band_edges: tuple[float, ...] = _setting(
        (0.05, 0.2, 1 / 3), "lower edges of the three bands: calibrated chance of a wrong label"
    )
    fine_dice: float = _setting(0.8, "a structure with a Dice below this is bad and must not be called fine")
    fine_risk: float = _setting(
        0.05, "largest share of scans with a structure that is called probably fine and is bad"
    )
    interval_confidence: float = _setting(
        0.95, "share of calibration sets for which confident intervals hold, shown beside the usual ones"
    )
    contour_coverage: float = _setting(0.9, "share of scans in which an inner or outer contour is right")
    contour_share: float = _setting(
        0.99, "share of the voxels that a contour must be right for: 0.95, 0.99 or 1"
    )
    ohif_strategy: str = _setting(
        "doubt", "strategy behind the key `random`, the only one OHIF's button can call"
    )
    lease_minutes: float = _setting(
        60.0, "how long a scan stays with somebody who gives no name; with a name it is a day"
    )
    held_out_every: int = _setting(
        4, "every so many turns the queue hands out a scan that calibrates or tests, drawn by lot"
    )
    rounds_planned: int = _setting(
        10, "rounds of training planned; `clasp` draws with less noise in later ones"
    )
    auto_score: bool = _setting(
        False,
        "score unlabelled scans in the background unasked: at start, after a training, after a next sample",
    )
    store_in_pacs: tuple[str, ...] = _setting(
        (),
        "what each inference stores in the PACS: `none`, `mask`, `entropy`, ... (docs/how-to/pacs.md)",
        empty="none",
    )
    label_history: int = _setting(
        20, "replaced and deleted labels kept for each scan and tag, the newest (`segtrust labels`)"
    )
    warm_up: bool = _setting(True, "run one small prediction at start, so that the first user does not wait")
    train_epochs: int = _training("epochs")
    train_loss: str = _training("loss")
    train_start: str = _training("start")
    train_ensemble: str = _training("ensemble")
    train_workers: int = _training("workers")
    small_gate: str = _training("small_gate")
    subjects: str = _setting(
        "", "which patient a scan belongs to: CSV file (columns case, subject) or expression with a group"
    )
    unload_while_training: bool = _setting(
        True, "while a training uses the GPU that serves, keep no members there between two requests"
    )
    max_voxels: int = _limit("max_voxels")
    max_grid_voxels: int = _limit("max_grid_voxels")
    max_file_mb: int = _limit("max_file_mb")
    max_data_mb: int = _limit("max_data_mb")
    max_classes: int = _limit("max_classes")
    max_channels: int = _limit("max_channels")
    max_archive_files: int = _limit("max_archive_files")
    read_seconds: int = _limit("read_seconds")

    def __post_init__(self) -> None:
        if self.precision not in ("fp32", "bf16"):
            raise SettingError(f"`precision` must be fp32 or bf16, got {self.precision!r}.")
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise SettingError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        if not self.lease_minutes > 0 or self.held_out_every < 2 or self.rounds_planned < 1:
            raise SettingError(
                "`lease_minutes` must be above 0, `held_out_every` at least 2 and `rounds_planned` at least "
                f"1, got {self.lease_minutes}, {self.held_out_every} and {self.rounds_planned}."
            )
        if not self.audit_days >= 0:
            raise SettingError(f"`audit_days` must be 0 or more, got {self.audit_days}.")
        if self.login not in ("auto", "on", "off") or not self.login_hours > 0:
            raise SettingError(
                f"`login` must be auto, on or off, and `login_hours` above 0, got {self.login!r} and "
                f"{self.login_hours}."
            )
        edges = self.band_edges
        if len(edges) != 3 or not 0 < edges[0] < edges[1] < edges[2] < 1:
            raise SettingError(
                f"`band_edges` must be three rising chances between 0 and 1, got {edges}. "
                "Example: --conf band_edges 0.05,0.2,0.333"
            )
        FineRule(self.fine_dice, self.fine_risk)
        if not 0 < self.interval_confidence < 1:
            raise SettingError(
                f"`interval_confidence` must lie between 0 and 1, got {self.interval_confidence}. "
                "Example: --conf interval_confidence 0.95"
            )
        ContourRule(self.contour_coverage, self.contour_share)

    def file_limits(self) -> FileLimits:
        """Bounds on what is read."""
        return FileLimits(**{f.name: getattr(self, f.name) for f in dataclasses.fields(FileLimits)})

    def training(self) -> dict[str, Any]:
        """Options of a round that a request may change, as these settings have them."""
        options = {f.metadata["option"]: f.name for f in dataclasses.fields(self) if "option" in f.metadata}
        return {**{option: getattr(self, name) for option, name in options.items()}, "device": self.device}

    @classmethod
    def from_conf(cls, conf: Mapping[str, str]) -> Self:
        """Read the words that follow ``--conf``.

        Args:
            conf: setting -> text, as MONAI Label hands it over.

        Returns:
            Typed settings.

        Raises:
            SettingError: for an unknown setting (the message lists the known ones) or a bad value.
        """
        settings, kinds = {f.name: f for f in dataclasses.fields(cls)}, get_type_hints(cls)
        if unknown := sorted(set(conf) - set(settings)):
            raise SettingError(
                f"unknown setting {', '.join(map(repr, unknown))}. Known: {', '.join(sorted(settings))}."
            )
        return cls(**{name: _read(text, kinds[name], settings[name]) for name, text in conf.items()})


def _read(text: str, kind: object, setting: dataclasses.Field[Any]) -> Any:  # noqa: ANN401  # of type `kind`
    if kind is bool:
        return parse_bool(text, setting.name)
    if kind is int or kind is float:
        return read_number(text, setting.name, kind)
    if kind == Path | None:
        return Path(text).expanduser()
    if kind == tuple[str, ...]:
        return read_names(text, setting.metadata["empty"])
    if kind == tuple[float, ...]:
        return tuple(read_number(part, setting.name, float) for part in str(text).split(","))
    return str(text)


def read_names(text: object, empty: str) -> tuple[str, ...]:
    """Read a list of names.

    Args:
        text: names separated by commas, or a list of them.
        empty: the word that stands for no names.

    Returns:
        The names.
    """
    parts = text if isinstance(text, list | tuple) else str(text or "").split(",")
    names = tuple(name for name in (str(part).strip() for part in parts) if name)
    return () if names == (empty,) else names


def read_number(text: object, name: str, kind: type) -> Any:  # noqa: ANN401  # of type `kind`
    """Read a number.

    Args:
        text: the number or its text.
        name: setting that is read, for the message.
        kind: ``int`` or ``float``.

    Returns:
        The number.

    Raises:
        SettingError: if it is none.
    """
    try:
        return kind(str(text))
    except ValueError as error:
        noun = "a whole number" if kind is int else "a number"
        raise SettingError(f"`{name}` must be {noun}, got {text!r}.") from error
