"""Runs of several members: an ensemble is one recipe under several seeds."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from segtrust.errors import TrainingError
from segtrust.losses import LossSum
from segtrust.models import ModelSpec
from segtrust.training.cache import MemberRun, train_members
from segtrust.training.cape import CapeSettings, tune_member
from segtrust.training.cases import cases_in, load_cases, read_splits
from segtrust.training.loop import Budget, EpochReport, data_digest

__all__ = ["Recipe", "train_ensemble", "tune_ensemble"]

_WATCHED = 5
Splits = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Recipe:
    """What to train: a specification, a budget, and one seed per member."""

    spec: ModelSpec
    budget: Budget
    seeds: tuple[int, ...]

    @classmethod
    def read(cls, name_or_path: str) -> Self:
        """Read a recipe.

        Args:
            name_or_path: a JSON file, or the name of a recipe that comes with the package.

        Returns:
            The recipe.

        Raises:
            TrainingError: if there is no such recipe or a field is wrong; known names are listed.
            SettingError: if the loss is given as a list and a term of it is wrong.
        """
        shipped = Path(__file__).parent / "recipes"
        path = Path(name_or_path)
        if path.suffix != ".json":
            path = shipped / f"{name_or_path}.json"
        if not path.is_file():
            recipes = ", ".join(sorted(p.stem for p in shipped.glob("*.json")))
            raise TrainingError(f"no recipe {name_or_path!r}. Known: {recipes}; or give a JSON file.")
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        try:
            budget = {**document["budget"], "flip_axes": tuple(document["budget"].get("flip_axes", ()))}
            if isinstance(budget.get("loss"), list):
                budget["loss"] = str(LossSum.from_json(budget["loss"]))
            return cls(ModelSpec.from_json(document["spec"]), Budget(**budget), tuple(document["seeds"]))
        except (KeyError, TypeError) as error:
            raise TrainingError(
                f"the recipe {path.name} must hold spec, budget and seeds, but {error}."
            ) from error


def train_ensemble(
    recipe: Recipe,
    data: Path,
    cache: Path,
    *,
    splits: Splits | None = None,
    workers: int = 1,
    ray: str | None = None,
    device: str = "cpu",
    say: Callable[[str], None] | None = None,
) -> list[Path]:
    """Train every member of a recipe on the split ``train``; finished members are never trained again.

    Args:
        recipe: what to train.
        data: folder with ``images``, ``labels`` and ``splits.json``.
        cache: of members, see :func:`segtrust.training.cache.train_members`.
        splits: role -> scans; those of ``splits.json`` unless given.
        workers: members trained at the same time, each in a process with one thread.
        ray: address of a Ray cluster that trains them.
        device: where to train.
        say: called with one plain line per member and epoch; for one worker only.

    Returns:
        Weights of all members, in order of the seeds; a budget with snapshots gives several for each.

    Raises:
        TrainingError: if a run cannot start; members finished until then are kept.
    """
    cases = cases_in(data, (splits or read_splits(data))["train"])
    runs = [
        MemberRun(recipe.spec, recipe.budget, seed, cases, recipe.spec.name, device) for seed in recipe.seeds
    ]
    return train_members(runs, cache, workers=workers, ray=ray, say=say)


def tune_ensemble(
    recipe: Recipe,
    members: Sequence[Path],
    data: Path,
    cache: Path,
    settings: CapeSettings,
    *,
    splits: Splits | None = None,
    device: str = "cpu",
    say: Callable[[str], None] = lambda _line: None,
) -> list[Path]:
    """Fine-tune every member on the split ``train`` by CaPE; every fifth patient chooses the epoch.

    Args:
        recipe: what was trained.
        members: weights, as :func:`train_ensemble` returns them.
        data: folder with ``images``, ``labels`` and ``splits.json``.
        cache: holds one folder per tuned member, named by member, settings and scans.
        settings: of the stage.
        splits: role -> scans; those of ``splits.json`` unless given.
        device: where to train.
        say: called with one plain line per member and epoch.

    Returns:
        Weights of the tuned members, in the order of ``members``.

    Raises:
        TrainingError: if the bins hold too little or a run cannot start.

    Source:
        Liu, Kaku, Zhu et al. 2022; see :func:`segtrust.training.cape.tune_member`.
    """
    cases = load_cases(data, (splits or read_splits(data))["train"], recipe.spec)
    watched = set(sorted({case.subject for case in cases})[::_WATCHED])
    learned = [case for case in cases if case.subject not in watched]
    tuned = []
    for seed, member in enumerate(members):
        named = [asdict(settings), hashlib.sha256(member.read_bytes()).hexdigest(), data_digest(cases), seed]
        name = hashlib.sha256(json.dumps(named).encode()).hexdigest()[:24]

        def tell(r: EpochReport, seed: int = seed) -> None:
            say(
                f"{recipe.spec.name} CaPE member {seed + 1}/{len(members)} epoch {r.epoch}/{r.epochs} "
                f"loss {r.loss:.4f} {r.seconds:.0f} s, {r.left / 60:.0f} min left"
            )

        tuned.append(
            tune_member(
                recipe.spec,
                member,
                learned,
                settings,
                seed=seed,
                folder=cache / name,
                watch=[case for case in cases if case.subject in watched],
                device=device,
                progress=tell,
            )
        )
    return tuned
