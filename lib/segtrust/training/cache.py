"""One cache of trained members for every run: what was trained once is never trained again."""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from segtrust.models import ModelSpec
from segtrust.parallel import parallel_map
from segtrust.training.cases import Case, load_cases
from segtrust.training.loop import Budget, EpochReport, run_settings, train_member

__all__ = ["MemberRun", "spent_seconds", "train_members"]

Say = Callable[[str], None]


@dataclass(frozen=True)
class MemberRun:
    """One member to train: a specification, a budget and a seed, on these scans of a data folder."""

    spec: ModelSpec
    budget: Budget
    seed: int
    data: Path
    scans: tuple[str, ...]
    name: str = "member"
    device: str = "cpu"


def train_members(
    runs: Sequence[MemberRun], cache: Path, *, workers: int = 1, say: Say | None = None
) -> list[Path]:
    """Train what is not in the cache yet; an interrupted member goes on where it was.

    Args:
        runs: what to train.
        cache: holds one folder per member, named by the hash of everything that its weights follow from:
            data, scans, specification, loss, seed, budget and code.
        workers: members trained at the same time, each in a process with one thread.
        say: called with one plain line per member and epoch; for one worker only.

    Returns:
        Weights, in order of ``runs``.

    Raises:
        TrainingError: if a run cannot start; members finished until then are kept.

    Source:
        ours.
    """
    cache.mkdir(parents=True, exist_ok=True)
    train = partial(_train, say=say) if workers == 1 else _train
    return parallel_map(train, [(run, cache) for run in runs], workers=workers)


def spent_seconds(members: Sequence[Path]) -> int:
    """Seconds that the epochs of some members took, added up, from the lines that training wrote beside them.

    Args:
        members: weights, as :func:`train_members` returns them.

    Returns:
        Seconds, rounded per epoch; 0 where there are no lines.

    Source:
        ours.
    """
    logs = [member.with_name("progress.txt") for member in members]
    lines = [log.read_text(encoding="utf-8") for log in logs if log.is_file()]
    return sum(int(seconds) for text in lines for seconds in re.findall(r" (\d+) s, ", text))


def _train(job: tuple[MemberRun, Path], say: Say | None = None) -> Path:
    run, cache = job
    cases = _cases(run.data, run.scans, json.dumps(run.spec.to_json()))
    settings = json.dumps(run_settings(run.spec, cases, run.budget, seed=run.seed), sort_keys=True)
    folder = cache / hashlib.sha256(settings.encode()).hexdigest()[:24]
    folder.mkdir(exist_ok=True)

    def report(r: EpochReport) -> None:
        where = f"{run.name} seed {run.seed} epoch {r.epoch}/{r.epochs}"
        line = f"{where} loss {r.loss:.4f} {r.seconds:.0f} s, {r.left / 60:.0f} min left"
        with (folder / "progress.txt").open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        if say:
            say(line)

    return train_member(
        run.spec, cases, run.budget, seed=run.seed, folder=folder, device=run.device, progress=report
    )


@lru_cache(maxsize=2)
def _cases(data: Path, scans: tuple[str, ...], spec: str) -> tuple[Case, ...]:
    return tuple(load_cases(data, scans, ModelSpec.from_json(json.loads(spec))))
