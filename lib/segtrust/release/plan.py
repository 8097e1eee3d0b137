"""One round of training on a site: what is asked for, which member learns from which scans, how far it is."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any

from segtrust.errors import SettingError
from segtrust.losses import parse_loss
from segtrust.models import ModelSpec, ModelVersion
from segtrust.release.cohort import LabelledScan, RoundCohort
from segtrust.roles import fold_of, patient_hash
from segtrust.training.cache import MemberRun
from segtrust.training.loop import Budget, EpochReport

__all__ = [
    "LabelledScan",
    "Progress",
    "RoundClock",
    "RoundPlan",
    "RoundSettings",
    "make_plan",
    "round_options",
]

FEW_LABELS = 25
"""With fewer labels every member leaves out one fold, so that scans it has not seen can calibrate."""

_PATCHES = 20
_RATES = {"warm": 1e-4, "scratch": 2e-3}


def _option(
    default: object, doc: str, *, words: Iterable[str] = (), limits: tuple[int, int] | None = None
) -> Any:  # noqa: ANN401  # stands in for a value of any type
    return field(default=default, metadata={"doc": doc, "words": tuple(words), "limits": limits})


@dataclass(frozen=True, kw_only=True)
class RoundSettings:
    """What a round may be told; settings, requests and the command line take their words from these fields.

    An epoch draws one patch of every scan, and at least 20. Snapshots share out the epochs of one run
    (rounded up), are less diverse than members of several seeds, and all saw the same scans. Another number
    of members than the specification's is refused when the round begins. Calibration is fitted in the
    precision that is served.

    Raises:
        SettingError: if a value is outside its range.

    Example:
        >>> RoundSettings(epochs=3).loss
        'dice_ce'
    """

    members: int | None = _option(None, "members; as many as the specification says", limits=(1, 20))
    epochs: int = _option(30, "epochs of each member; fewer are faster and worse", limits=(1, 10_000))
    loss: str = _option("dice_ce", "training loss, with weights if a sum (docs/reference/losses.md)")
    start: str = _option(
        "warm", "`warm` goes on from the version in use, `scratch` begins anew", words=_RATES
    )
    ensemble: str = _option(
        "seeds",
        "`seeds`, or `snapshots` of one run, which cost a member's time",
        words=("seeds", "snapshots"),
    )
    small_gate: str = _option(
        "publish",
        "with too few calibration patients to judge a new version: `publish` it or `ask`",
        words=("publish", "ask"),
    )
    workers: int = _option(
        1, "members trained at the same time, each in a process with one thread", limits=(1, 64)
    )
    device: str = _option("cpu", "where to train")
    precision: str = _option("fp32", "arithmetic of the served networks", words=("fp32", "bf16"))
    seed: int = _option(0, "of the first member", limits=(0, 2**31 - 1))

    def __post_init__(self) -> None:
        for name, option in round_options().items():
            value, words, limits = getattr(self, name), option.metadata["words"], option.metadata["limits"]
            if limits and (value, option.default) != (None, None):
                low, high = limits
                if type(value) is not int or not low <= value <= high:
                    raise SettingError(
                        f"`{name}` must be a whole number from {low} to {high}, got {value!r}."
                    )
            if words and value not in words:
                raise SettingError(f"`{name}` must be one of {', '.join(words)}, got {value!r}.")
        parse_loss(self.loss)

    def to_json(self) -> dict[str, Any]:
        """Every field by its name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def budget(self, scans: int, snapshots: int = 1) -> Budget:
        """How a run learns from so many scans; the running average spans a tenth of a cycle at most."""
        patches = _PATCHES if scans < _PATCHES else 0
        cycle = -(-self.epochs // snapshots)
        steps = cycle * -(-(patches or scans) // Budget.batch)
        return Budget(
            epochs=cycle * snapshots,
            snapshots=snapshots,
            loss=self.loss,
            learning_rate=_RATES[self.start],
            average=max(0.0, min(Budget.average, 1 - 10 / steps)),
            patches=patches,
        )


def round_options() -> Mapping[str, Field[Any]]:
    """What can be chosen for a round, by name.

    Returns:
        Fields of :class:`RoundSettings`; their metadata are ``doc``, a sentence, ``words``, which are allowed
        if there are any, and ``limits``, lowest and highest whole number or ``None``.
    """
    return {option.name: option for option in fields(RoundSettings)}


@dataclass(frozen=True)
class RoundPlan:
    """Members to train, and for each the hashes of all patients that it or its ancestors learnt from.

    ``left_out`` is whether every member leaves out one fold.
    """

    runs: tuple[MemberRun, ...]
    learnt: tuple[frozenset[str], ...]
    left_out: bool

    def strangers(self, patient: str) -> tuple[int, ...]:
        """Members that never saw a patient, by the patient's hash."""
        return tuple(i for i, seen in enumerate(self.learnt) if patient not in seen)


def make_plan(
    parent: ModelVersion,
    spec: ModelSpec,
    cohort: RoundCohort,
    settings: RoundSettings,
    device: str,
    key: bytes,
) -> RoundPlan:
    """Decide which member learns from which scans.

    Args:
        parent: where a warm start begins; its card says what its members have learnt.
        spec: of the model, with the values that the labels hold.
        cohort: with at least one scan to train on.
        settings: of the round.
        device: where to train.
        key: the site's secret; a patient's fold follows from it, so it is the same in every round.

    Returns:
        The plan. With fewer than 25 labels member ``i`` leaves out fold ``i``, unless nothing would be left;
        snapshots leave out none.

    Raises:
        SettingError: if the model has another number of members.

    Source:
        Cross-fitting (Stone 1974).
    """
    if settings.members not in (None, spec.members):
        raise SettingError(
            f"`members` must be {spec.members}, the number in the specification of {spec.name!r}, got "
            f"{settings.members}. Leave it out; another number needs a model of another name."
        )
    warm, snapshots = settings.start == "warm", spec.members if settings.ensemble == "snapshots" else 1
    few = cohort.labels < FEW_LABELS and snapshots == 1
    inherited = [frozenset(seen) for seen in parent.card.get("learnt", [])] if warm else []
    runs, learnt = [], []
    for member in range(spec.members // snapshots):
        rest = [scan for scan in cohort.train if fold_of(scan.subject, key, spec.members) != member]
        chosen = rest if few and rest else list(cohort.train)
        runs.append(
            MemberRun(
                spec=spec,
                budget=settings.budget(len(chosen), snapshots),
                seed=settings.seed + member,
                cases=tuple(scan.files for scan in chosen),
                name=spec.name,
                device=device,
                initial=parent.members[member] if warm else None,
            )
        )
        own = frozenset(patient_hash(scan.subject, key) for scan in chosen)
        learnt += [own | (inherited[member] if inherited else frozenset())] * snapshots
    return RoundPlan(tuple(runs), tuple(learnt), few)


@dataclass(frozen=True)
class Progress:
    """How far a round is: one report per member and epoch, and per later step.

    ``step`` is ``training``, ``gate``, ``calibrating`` or ``publishing``; ``member`` and ``epoch`` count from
    1; ``seconds`` since the round began, ``left`` until it ends, as far as that can be known.
    """

    step: str
    member: int
    members: int
    epoch: int
    epochs: int
    loss: float | None
    seconds: float
    left: float

    @property
    def done(self) -> float:
        """Share of the time that is over, in [0, 1]."""
        return self.seconds / max(self.seconds + self.left, 1e-9)

    def line(self) -> str:
        """The one plain line for logs."""
        if self.step != "training":
            return f"{self.step}, {self.seconds:.0f} s so far"
        loss = "done" if self.loss is None else f"loss {self.loss:.4f}"
        return (
            f"member {self.member}/{self.members} epoch {self.epoch}/{self.epochs} {loss}, "
            f"{_minutes(self.left)} left"
        )


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


class RoundClock:
    """Turns reports of members into progress of the whole round.

    Args:
        runs: the members.
        workers: members trained at the same time.
        report: what to call.
    """

    def __init__(self, runs: Sequence[MemberRun], workers: int, report: Callable[[Progress], None]) -> None:
        self._began, self._report = time.monotonic(), report
        self._workers = min(workers, len(runs))
        self._left = [run.budget.epochs for run in runs]
        self._epochs = tuple(self._left)
        self._seconds: list[float] = []

    @property
    def seconds(self) -> float:
        """Seconds since the round began."""
        return time.monotonic() - self._began

    def member(self, index: int, report: EpochReport | None) -> None:
        """Take a report of one member; ``None`` for a member that is there."""
        epochs = self._epochs[index]
        if report is not None:
            self._seconds.append(report.seconds)
        self._left[index] = 0 if report is None else epochs - report.epoch
        each = sum(self._seconds) / len(self._seconds) if self._seconds else 0.0
        longest = max(sum(self._left) / self._workers, *self._left)
        loss = None if report is None else report.loss
        self._tell("training", index, epochs - self._left[index], loss, each * longest)

    def step(self, name: str) -> None:
        """Say that a later step begins."""
        self._tell(name, len(self._left) - 1, self._epochs[-1], None, 0.0)

    def _tell(self, step: str, index: int, epoch: int, loss: float | None, left: float) -> None:
        self._report(
            Progress(step, index + 1, len(self._left), epoch, self._epochs[index], loss, self.seconds, left)
        )
