"""Experiments inside the split ``train``: members trained without a fold are judged on it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from segtrust.errors import SettingError
from segtrust.evaluate.protocol import Protocol, subject_folds
from segtrust.models import ModelSpec
from segtrust.training.cache import MemberRun
from segtrust.training.cases import cases_in, read_splits, read_subjects
from segtrust.training.loop import Budget
from segtrust.training.run import Recipe

__all__ = ["Cell", "Experiment", "Folds", "read_experiments"]

_SEEDS_PER_FOLD = 1000


@dataclass(frozen=True)
class Folds:
    """The scans of ``train`` by fold; all scans of a subject are in one fold."""

    data: Path
    fold_of: Mapping[str, int]

    @classmethod
    def read(cls, data: Path, protocol: Protocol) -> Self:
        """Deal the scans of ``train`` to the folds of a protocol.

        Args:
            data: folder with ``splits.json`` and ``subjects.csv``.
            protocol: names the number of folds and the key.

        Returns:
            The folds.

        Raises:
            TrainingError: if the splits are missing or a subject is in two of them.
        """
        subjects, rule = read_subjects(data), protocol.content["folds"]
        scans = read_splits(data)[rule["inside"]]
        folds = subject_folds((subjects.get(s, s) for s in scans), count=rule["count"], key=rule["key"])
        return cls(data, {scan: folds[subjects.get(scan, scan)] for scan in scans})

    def inside(self, fold: int) -> tuple[str, ...]:
        """Scans that members of a fold are trained on."""
        return tuple(sorted(scan for scan, f in self.fold_of.items() if f != fold))

    def held_out(self, fold: int) -> tuple[str, ...]:
        """Scans that members of a fold are judged on."""
        return tuple(sorted(scan for scan, f in self.fold_of.items() if f == fold))


@dataclass(frozen=True)
class Cell:
    """One arm of an experiment: what its members are."""

    name: str
    spec: ModelSpec
    budget: Budget

    def runs(self, folds: Folds, fold: int, members: int) -> list[MemberRun]:
        """Members that are trained without a fold; no two folds share a seed."""
        name, cases = f"{self.name}, fold {fold}", cases_in(folds.data, folds.inside(fold))
        return [
            MemberRun(self.spec, self.budget, _SEEDS_PER_FOLD * fold + i, cases, name) for i in range(members)
        ]


@dataclass(frozen=True)
class Experiment:
    """Arms that are compared on the same folds.

    ``sizes`` are numbers of members that are averaged; ``scored`` is the cell and size whose scores are
    compared, entropies also within ``distances_mm`` of the structures.
    """

    name: str
    cells: tuple[Cell, ...]
    folds: tuple[int, ...]
    members: int
    sizes: tuple[int, ...]
    scored: tuple[str, int] | None = None
    distances_mm: tuple[float, ...] = ()

    def is_scored(self, cell: str, size: int) -> bool:
        """Whether the scores of this cell and size are compared."""
        return self.scored == (cell, size)

    def runs(self, folds: Folds) -> list[MemberRun]:
        """Every member, so ordered that an interrupted run has whole folds and then whole sizes."""
        return [
            run
            for fold in self.folds
            for i in range(self.members)
            for cell in self.cells
            for run in cell.runs(folds, fold, self.members)[i : i + 1]
        ]


def read_experiments(path: Path) -> dict[str, Experiment]:
    """Read a file of experiments.

    Args:
        path: JSON with a recipe's name and experiments; a cell names what it changes of the recipe.

    Returns:
        Name -> experiment.

    Raises:
        SettingError: if the file lacks a part or a cell changes something unknown.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        recipe = Recipe.read(content["recipe"])
        return {
            name: _experiment(name, part, recipe) for name, part in content.items() if isinstance(part, dict)
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingError(f"{path} must hold experiments, but {type(error).__name__}: {error}.") from error


def _experiment(name: str, part: Mapping[str, Any], recipe: Recipe) -> Experiment:
    base, scores = part["base"], part.get("scores", {})
    return Experiment(
        name,
        tuple(_cell(cell, _merged(base, change), recipe) for cell, change in part["cells"].items()),
        tuple(part["folds"]),
        part["members"],
        tuple(part["sizes"]),
        (scores["cell"], scores["size"]) if scores else None,
        tuple(scores.get("distances_mm", ())),
    )


def _merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **base,
        **change,
        **{key: {**base.get(key, {}), **change.get(key, {})} for key in ("network", "budget")},
    }


def _cell(name: str, change: Mapping[str, Any], recipe: Recipe) -> Cell:
    unknown = set(change) - {"network", "budget", "patch", "head"}
    if unknown:
        raise SettingError(
            f"a cell may change network, budget, patch and head, {name!r} has {sorted(unknown)}."
        )
    spec = replace(
        recipe.spec,
        network={**recipe.spec.network, **change["network"]},
        patch=tuple(change.get("patch", recipe.spec.patch)),
        head=replace(recipe.spec.head, **change.get("head", {})),
    )
    return Cell(name, spec, replace(recipe.budget, **change["budget"]))
