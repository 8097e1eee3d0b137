"""One cache of trained members for every run: what was trained once is never trained again."""

import hashlib
import json
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path

from segtrust.inference.scan import fingerprint
from segtrust.models import ModelSpec
from segtrust.parallel import parallel_map
from segtrust.training.cases import Case, LabelledFiles, load_case
from segtrust.training.loop import Budget, EpochReport, member_files, run_settings, train_member

__all__ = ["MemberRun", "spent_seconds", "train_members"]

Say = Callable[[str], None]
Report = Callable[[int, EpochReport | None], None]
_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class MemberRun:
    """One member to train: a specification, a budget and a seed, on these scans.

    ``initial`` are weights to start from (warm start); drawn from ``seed`` unless given.
    """

    spec: ModelSpec
    budget: Budget
    seed: int
    cases: tuple[LabelledFiles, ...]
    name: str = "member"
    device: str = "cpu"
    initial: Path | None = None


def train_members(
    runs: Sequence[MemberRun],
    cache: Path,
    *,
    workers: int = 1,
    ray: str | None = None,
    say: Say | None = None,
    report: Report | None = None,
) -> list[Path]:
    """Train what is not in the cache yet; an interrupted member goes on where it was.

    Args:
        runs: what to train.
        cache: holds one folder per member, named by the hash of everything that its weights follow from:
            data, scans, specification, loss, seed, budget, initial weights and code.
        workers: members trained at the same time, each in a process with one thread.
        ray: address of a Ray cluster that trains them, see :func:`segtrust.parallel.parallel_map`; all its
            machines must see the cache and the cases under the same paths.
        say: called with one plain line per member and epoch; for one worker only.
        report: called with (index in ``runs``, report) after every epoch of every member, and with ``None``
            for a report when the member is there; in this process, from one thread at a time.

    Returns:
        Weights, in order of ``runs``; a run with snapshots gives one file for each.

    Raises:
        TrainingError: if a run cannot start; members finished until then are kept.
    """
    cache.mkdir(parents=True, exist_ok=True)
    jobs = [_Job(index, run, cache) for index, run in enumerate(runs)]
    alone, gpus = workers == 1 and ray is None, int(any(run.device.startswith("cuda") for run in runs))
    if alone or report is None:
        train = partial(_train, say=say, report=report) if alone else _train
        return _all(parallel_map(train, jobs, workers=workers, ray=ray, gpus=gpus))
    with (
        tempfile.TemporaryDirectory(prefix=".reports-", dir=cache) as folder,
        _followed(Path(folder), report),
    ):
        return _all(
            parallel_map(
                partial(_train_and_write, reports=Path(folder)), jobs, workers=workers, ray=ray, gpus=gpus
            )
        )


def _all(members: Sequence[list[Path]]) -> list[Path]:
    return [file for files in members for file in files]


def spent_seconds(members: Sequence[Path]) -> int:
    """Seconds that the epochs of some members took, added up, from the lines that training wrote beside them.

    Args:
        members: weights, as :func:`train_members` returns them.

    Returns:
        Seconds, rounded per epoch; 0 where there are no lines.
    """
    logs = sorted({member.with_name("progress.txt") for member in members})
    lines = [log.read_text(encoding="utf-8") for log in logs if log.is_file()]
    return sum(int(seconds) for text in lines for seconds in re.findall(r" (\d+) s, ", text))


@dataclass(frozen=True)
class _Job:
    index: int
    run: MemberRun
    cache: Path


def _train(job: _Job, say: Say | None = None, report: Report | None = None) -> list[Path]:
    run = job.run
    stamps = tuple(fingerprint(path) for files in run.cases for path in (files.image, files.label))
    cases = _cases(run.cases, stamps, json.dumps(run.spec.to_json()))
    settings = run_settings(run.spec, cases, run.budget, seed=run.seed, initial=run.initial)
    text = json.dumps(settings, sort_keys=True)
    folder = job.cache / hashlib.sha256(text.encode()).hexdigest()[:24]
    folder.mkdir(exist_ok=True)

    def tell(r: EpochReport) -> None:
        where = f"{run.name} seed {run.seed} epoch {r.epoch}/{r.epochs}"
        line = f"{where} loss {r.loss:.4f} {r.seconds:.0f} s, {r.left / 60:.0f} min left"
        with (folder / "progress.txt").open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        if say:
            say(line)
        if report:
            report(job.index, r)

    member = train_member(
        run.spec,
        cases,
        run.budget,
        seed=run.seed,
        folder=folder,
        device=run.device,
        initial=run.initial,
        progress=tell,
    )
    if report:
        report(job.index, None)
    return member_files(member, run.budget)


@lru_cache(maxsize=2)
def _cases(files: tuple[LabelledFiles, ...], _stamps: tuple[str, ...], spec: str) -> tuple[Case, ...]:
    """Read cases once per process; a file that changed meanwhile has another stamp."""
    specification = ModelSpec.from_json(json.loads(spec))
    return tuple(load_case(f, specification) for f in files)


def _train_and_write(job: _Job, reports: Path) -> list[Path]:
    """Train in a process of its own; reports go through a file, which outlives any kill."""

    def write(index: int, report: EpochReport | None) -> None:
        with (reports / str(index)).open("a", encoding="utf-8") as file:
            file.write(json.dumps([index, report and asdict(report)]) + "\n")

    return _train(job, report=write)


@contextmanager
def _followed(folder: Path, report: Report) -> Iterator[None]:
    """Hand on what other processes write into a folder while the block runs."""
    done, read = threading.Event(), dict[Path, int]()

    def hand_on() -> None:
        for path in sorted(folder.iterdir()):
            lines = path.read_text(encoding="utf-8").split("\n")[:-1]  # the last one may be half written
            for line in lines[read.get(path, 0) :]:
                index, fields = json.loads(line)
                report(index, fields and EpochReport(**fields))
            read[path] = len(lines)

    def follow() -> None:
        while not done.wait(_POLL_SECONDS):
            hand_on()

    thread = threading.Thread(target=follow, name="follow-members", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        hand_on()
