"""Calibrators for somebody else's probabilities: no retraining, judged on subjects that they never saw."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from segtrust.adapters import CaseFiles, ProbabilityCase
from segtrust.calibrators import (
    CANDIDATES,
    MIN_SUBJECTS,
    Calibrator,
    Choice,
    Fit,
    Identity,
    choose_calibrator,
)
from segtrust.calibrators.voxels import leave_one_subject_out, thinned
from segtrust.errors import SettingError
from segtrust.evaluate.protocol import subject_folds
from segtrust.evaluate.volumes import draw_case

__all__ = ["FolderCalibration", "calibrate_folder"]

_FOLDS = 5
_KEY = "segtrust-calibration-1"


@dataclass(frozen=True)
class FolderCalibration:
    """What was chosen; ``of[scan]`` was fitted without the scan's subject, ``choice.calibrator`` to all."""

    choice: Choice
    scans: int
    of: Mapping[str, Calibrator]

    @property
    def fits(self) -> bool:
        """Whether a calibrator passed the rule of the choice; else probabilities stay as they are."""
        return self.choice.name != Identity.name

    def to_json(self) -> dict[str, Any]:
        """The content of ``calibration.json``, in the form that a version of a model has."""
        return {
            "calibrator": self.choice.calibrator.to_json(),
            "fitted_on": {
                "scans": self.scans,
                "subjects": self.choice.subjects,
                "role": "given by the folder",
            },
            "choice": self.choice.to_json(),
        }


def calibrate_folder(
    cases: Sequence[CaseFiles],
    read: Callable[[CaseFiles], ProbabilityCase],
    *,
    kinds: Sequence[str] = tuple(CANDIDATES),
    say: Callable[[str], None] = lambda _line: None,
    survive: Callable[[str], AbstractContextManager[None]] = lambda _id: nullcontext(),
) -> FolderCalibration:
    """Compare kinds of calibrators over five folds of subjects, choose one, and fit it to all.

    Args:
        cases: scans with labels.
        read: reads one of them; one is in memory at a time.
        kinds: names in :data:`segtrust.calibrators.CANDIDATES`.
        say: called with one plain line per scan.
        survive: called with a scan's id for a context in which the scan is read; the context may swallow an
            error, and the scan is left out then. Unless given, the first error ends the work.

    Returns:
        The calibration: the kind that :func:`segtrust.calibrators.name_of_best` names, if there is one.

    Raises:
        SettingError: for an unknown kind, or with fewer than five subjects.
    """
    if unknown := [kind for kind in kinds if kind not in CANDIDATES]:
        raise SettingError(f"a kind must be one of {', '.join(CANDIDATES)}, got {', '.join(unknown)}.")
    _check_enough({files.subject for files in cases})
    drawn, readable = [], []
    for index, files in enumerate(cases):
        with survive(files.id):
            drawn.append(draw_case(read(files), seed=index))
            readable.append(files)
            say(f"{index + 1}/{len(cases)} {files.id}: {len(drawn[-1].weight)} voxels drawn")
    _check_enough({files.subject for files in readable})
    folds = subject_folds((files.subject for files in readable), count=_FOLDS, key=_KEY)
    few = thinned(drawn)
    fits: dict[str, Fit] = {kind: CANDIDATES[kind] for kind in kinds}
    choice = choose_calibrator(few, fits, folds=folds)
    say(f"chosen: {choice.name}")
    if choice.name == Identity.name:
        return FolderCalibration(choice, len(readable), {files.id: Identity() for files in readable})
    without = {
        scan.subject: calibrator
        for inside, held_out in leave_one_subject_out(few, folds)
        for calibrator in [fits[choice.name](inside, least=MIN_SUBJECTS - 1)]
        for scan in held_out
    }
    of = {files.id: without[files.subject] for files in readable}
    return FolderCalibration(choice, len(readable), of)


def _check_enough(subjects: Collection[str]) -> None:
    if len(subjects) < MIN_SUBJECTS:
        raise SettingError(
            f"a calibrator must be fitted to at least {MIN_SUBJECTS} subjects, got {len(subjects)}. Fewer "
            "would make probabilities worse as often as better: leave them as they are."
        )
