"""Replaying one strategy under one seed: select, label, train, measure, round after round, resumable."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from segtrust._files import replace_text
from segtrust.calibrators import Identity
from segtrust.models import ModelVersion
from segtrust.parallel import parallel_map
from segtrust.release.publish import spec_as_trained
from segtrust.selection import Candidate, check_queue, order, rank_scans
from segtrust.simulate.folder import ReplayFolder
from segtrust.simulate.observe import Observer
from segtrust.simulate.oracle import Oracle, total_cost
from segtrust.simulate.plan import BASELINE, MONAI_LABEL, WHOLE_POOL, SimulationPlan
from segtrust.store import StateStore
from segtrust.training.cache import MemberRun, train_members
from segtrust.training.cases import LabelledFiles
from segtrust.training.loop import keep_settings

__all__ = ["Replay", "replay", "run_simulation"]

Say = Callable[[str], None]
_ANNOTATOR = "oracle"
_ALL_SCORED = "all"  # a batch is ranked once every scan has its score: no score comes after
_SEEDS_PER_REPLAY = 1000
_LOOK_AT_LABELLED = ("diverse", "cold_start")  # strategies that compare with scans labelled before


@dataclass(frozen=True)
class Replay:
    """One strategy under one seed; ``work`` keeps members, predictions and rounds of all replays."""

    plan: SimulationPlan
    folder: ReplayFolder
    work: Path
    strategy: str
    seed: int

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.strategy}-{self.seed}"


def run_simulation(
    plan: SimulationPlan,
    folder: ReplayFolder,
    work: Path,
    *,
    workers: int = 1,
    ray: str | None = None,
    say: Say | None = None,
) -> list[list[dict[str, Any]]]:
    """Replay every strategy under every seed, and the whole pool; what was done before is not done again.

    Args:
        plan: what is replayed.
        folder: the scans.
        work: keeps everything; a run that was stopped goes on there.
        workers: replays that run at the same time, each in a process with one thread.
        ray: address of a Ray cluster, see :func:`segtrust.parallel.parallel_map`.
        say: called with one plain line per round; for one worker only.

    Returns:
        The records of all rounds, one list per replay; those of a seed stand together.

    Raises:
        TrainingError: if ``work`` holds a simulation of something else, or a training cannot start.
    """
    work.mkdir(parents=True, exist_ok=True)
    roles = {"pool": dict(folder.pool), "evaluation": dict(folder.evaluation), "junk": dict(folder.junk)}
    settings = {name: part for name, part in plan.to_json().items() if name not in ("strategies", "seeds")}
    keep_settings(work / "simulation.json", {**settings, **roles})
    jobs = [
        Replay(plan, folder, work, strategy, seed)
        for seed in plan.seeds
        for strategy in (*plan.strategies, WHOLE_POOL)
    ]
    if workers == 1 and ray is None:
        return [replay(job, say=say) for job in jobs]
    # the strategies of a seed share their first round: it is there before several processes begin
    first = [job for job in jobs if job.strategy == BASELINE]
    parallel_map(partial(replay, rounds=1), first, workers=workers, ray=ray)
    return parallel_map(replay, jobs, workers=workers, ray=ray)


def replay(job: Replay, *, rounds: int | None = None, say: Say | None = None) -> list[dict[str, Any]]:
    """Run the rounds of one replay, or go on where it stopped.

    Args:
        job: which.
        rounds: how many; all unless given.
        say: called with one plain line per round.

    Returns:
        One record per round: scans opened with the reason for each, members, cost, junk, every judged scan.

    Raises:
        TrainingError: if no scan that was opened could be labelled.

    Note:
        Scans are chosen, kept as a batch, leased and submitted through the same functions as on a site.
    """
    folder, counts = job.work / "rounds", job.plan.counts
    folder.mkdir(parents=True, exist_ok=True)
    records: list[dict[str, Any]] = []
    for number in range(rounds or len(counts)):
        path = folder / f"{job.name}-{number}.json"
        if not path.is_file():
            record = _run_round(job, number, records[-1] if records else None)
            replace_text(path, json.dumps(record, allow_nan=False))
            if say:
                say(f"{job.name} round {number + 1}/{len(counts)}: {len(record['opened'])} scans opened")
        records.append(json.loads(path.read_text(encoding="utf-8")))
    return records


def _run_round(job: Replay, number: int, before: dict[str, Any] | None) -> dict[str, Any]:
    opened = before["opened"] if before else []
    opened = [*opened, *_next_batch(job, number, opened, _observer(job, before) if before else None)]
    oracle = Oracle(job.folder, job.plan.effort)
    scans = [pick["scan_id"] for pick in opened]
    cases = [files for scan in scans if (files := oracle.label(scan)) is not None]
    record = {
        "round": number,
        "opened": opened,
        "labelled": [files.id for files in cases],
        "members": _train(job, number, cases, before),
    }
    junk = [job.folder.junk[scan] for scan in scans if scan in job.folder.junk]
    return {
        **record,
        "cost": total_cost(map(oracle.cost, scans)).to_json(),
        "junk": {kind: junk.count(kind) for kind in sorted(set(job.folder.junk.values()))},
        "judged": _observer(job, record).judged(map(job.folder.files, sorted(job.folder.evaluation))),
    }


def _next_batch(
    job: Replay, number: int, opened: Sequence[dict[str, Any]], observer: Observer | None
) -> list[dict[str, Any]]:
    """Rank what is not opened yet, keep the batch, and hand it out scan by scan."""
    labelled = [pick["scan_id"] for pick in opened]
    left = sorted(set(job.folder.pool) - set(labelled))
    if job.strategy == WHOLE_POOL and number:
        return [_plain(scan, "The whole pool.") for scan in left]
    store = StateStore(job.work / "sites" / job.name / "state.sqlite")
    digest = observer.version.digest if observer else "untrained"
    key = (job.plan.recipe.spec.name, digest, job.strategy, job.seed)
    picks = store.batch(*key, stamp=_ALL_SCORED)
    if picks is None:
        size = min(job.plan.counts[number] - len(labelled), len(left))
        picks = (
            _ranked(job, number, labelled, left, observer, size) if observer else _initial(job, left, size)
        )
        store.put_batch(*key, picks, stamp=_ALL_SCORED)
    ids = [pick["scan_id"] for pick in picks]
    while (scan := store.lease(ids, _ANNOTATOR, strategy=job.strategy)) is not None:
        store.submitted(scan, _ANNOTATOR)
    return picks


def _initial(job: Replay, left: Sequence[str], size: int) -> list[dict[str, Any]]:
    """The first batch: the same for every strategy, since there is no model yet."""
    unknown = [Candidate(scan_id=s, subject=job.folder.pool[s], score=None, scored=False) for s in left]
    return [asdict(pick) for pick in order(BASELINE, unknown, seed=job.seed, batch=size)]


def _ranked(
    job: Replay, number: int, opened: Sequence[str], left: Sequence[str], observer: Observer, size: int
) -> list[dict[str, Any]]:
    images = {scan: job.folder.image(scan) for scan in left}
    if job.strategy == MONAI_LABEL:
        ranked = rank_scans(observer.monai_label(images))[:size]
        return [_plain(r.scan_id, "Largest mean entropy of the whole volume.") for r in ranked]
    pool = job.folder.pool
    visible = opened if job.strategy in _LOOK_AT_LABELLED else ()
    labelled = observer.candidates({scan: job.folder.image(scan) for scan in visible}, pool)
    candidates = (observer.inputs if job.strategy == BASELINE else observer.candidates)(images, pool)
    picks = order(
        job.strategy,
        candidates,
        seed=job.seed,
        round=number - 1,
        rounds=len(job.plan.counts) - 1,
        batch=size,
        labelled_features=[c.features for c in labelled if c.features],
    )
    return [asdict(pick) for pick in [*picks, *check_queue(candidates)][:size]]


def _plain(scan_id: str, reason: str) -> dict[str, Any]:
    return {"scan_id": scan_id, "reason": reason}


def _train(
    job: Replay, number: int, cases: Sequence[LabelledFiles], before: dict[str, Any] | None
) -> list[str]:
    """Members of a round, named relative to the work folder."""
    recipe, warm = job.plan.recipe, job.plan.warm is not None and before is not None
    runs = [
        MemberRun(
            recipe.spec,
            job.plan.budget(number),
            _SEEDS_PER_REPLAY * job.seed + member,
            tuple(cases),
            f"{job.name} round {number + 1}",
            initial=job.work / before["members"][i] if warm and before else None,
        )
        for i, member in enumerate(recipe.seeds)
    ]
    cache = job.work / "members" / (job.strategy if number else "first")
    return [path.relative_to(job.work).as_posix() for path in train_members(runs, cache)]


def _observer(job: Replay, record: dict[str, Any]) -> Observer:
    """The ensemble of a round, ready to be asked."""
    members = tuple(job.work / name for name in record["members"])
    digest = hashlib.sha256("|".join(path.parent.name for path in members).encode()).hexdigest()
    spec = spec_as_trained(job.plan.recipe.spec, job.folder.data, record["labelled"])
    calibration = {"calibrator": Identity().to_json()}
    version = ModelVersion(job.work, digest[:12], spec, members, calibration, {}, digest)
    return Observer(version, StateStore(job.work / "answers.sqlite"))
