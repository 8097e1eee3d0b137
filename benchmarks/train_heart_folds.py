"""Folds inside the hearts of *train*: three small members per fold that never saw its patients; resumes.

    python benchmarks/train_heart_folds.py --runs runs

Trains what is not in <runs>/members yet. Other programs take `heart_folds` and `heart_members` from here, so
that every one of them judges the same members on the same patients. A voxel is one unit (`papers/heart.py`).
"""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "papers"))  # what the hearts are is written there

import heart  # noqa: E402

from segtrust.evaluate.protocol import subject_folds  # noqa: E402
from segtrust.experiments.folds import Cell, Folds  # noqa: E402
from segtrust.training.cache import train_members  # noqa: E402
from segtrust.training.cases import read_splits, read_subjects  # noqa: E402

__all__ = ["CELL", "FOLDS", "MEMBERS", "heart_folds", "heart_members"]

FOLDS, MEMBERS, KEY = 3, 3, "segtrust-heart-folds-1"
CELL = Cell("heart", heart.spec_of(), heart.BUDGET)
"""Dice and cross-entropy; member i of fold f has the seed 1000 f + i."""


def heart_folds(runs: Path, data: Path = heart.FOLDER) -> Folds:
    """Deal the patients of *train* to three folds; writes the small scans to ``runs`` if they are not there.

    Args:
        runs: gets the folder ``heart-128-80``.
        data: ACDC, see `papers/heart.py`.

    Returns:
        The folds; both frames of a patient are in one.
    """
    folder = heart.prepare(data, runs)
    subjects = read_subjects(folder)
    scans = read_splits(folder)["train"]
    fold_of = subject_folds((subjects[scan] for scan in scans), count=FOLDS, key=KEY)
    return Folds(folder, {scan: fold_of[subjects[scan]] for scan in scans})


def heart_members(folds: Folds, runs: Path) -> dict[int, list[Path]]:
    """Weights of the members of each fold, trained where they are not in ``runs/members``.

    Args:
        folds: of :func:`heart_folds`.
        runs: holds the cache of members.

    Returns:
        Fold -> weights that never saw it.
    """
    say = lambda line: print(line, flush=True)  # noqa: E731
    return {
        fold: train_members(CELL.runs(folds, fold, MEMBERS), runs / "members", say=say)
        for fold in range(FOLDS)
    }


def main() -> int:
    """Train."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=heart.FOLDER)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="default: runs")
    args = parser.parse_args()
    for fold, members in heart_members(heart_folds(args.runs, args.data), args.runs).items():
        print(f"fold {fold}: {', '.join(str(member) for member in members)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
