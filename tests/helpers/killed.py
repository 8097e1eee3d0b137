"""What the test of kills runs in processes that are killed: rounds, and publishing, one after the other."""

from pathlib import Path

from labelled_site import BALLS, KEY
from segtrust.models import open_version, publish_version
from segtrust.release import plan as rounds
from segtrust.release.cohort import LabelledScan
from segtrust.release.plan import RoundSettings
from segtrust.release.round import run_round

__all__ = ["publish_for_ever", "train_for_ever"]


def train_for_ever(folder: str, scans: list[LabelledScan], lines: str) -> None:
    """Run rounds that publish, each from the version before, and write a line for every report."""
    rounds._PATCHES = 4
    site, model = Path(folder) / "site", Path(folder) / "site" / "balls"
    with Path(lines).open("a", encoding="utf-8") as out:
        while True:
            run_round(
                model,
                site,
                scans,
                RoundSettings(epochs=2),
                cache=Path(folder) / "cache",
                key=KEY,
                report=lambda progress: print(progress.line(), file=out, flush=True),
            )


def publish_for_ever(folder: str, lines: str) -> None:
    """Publish one version after the other, and write a line for each."""
    model = Path(folder) / "site" / "balls"
    members = open_version(model).members
    with Path(lines).open("a", encoding="utf-8") as out:
        while True:
            version = publish_version(model, BALLS, members, {"calibrator": {"name": "identity"}}, {})
            print(version.id, file=out, flush=True)
