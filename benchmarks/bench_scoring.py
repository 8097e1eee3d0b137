"""What it costs to find out which of many scans must be scored, and to say how far scoring is."""

import argparse
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from segtrust.inference import fingerprint
from segtrust.label.results import last_results
from segtrust.label.scoring.scan_scores import Fingerprints, missing_scores
from segtrust.label.scoring.worker import ScoringWorker
from segtrust.label.served import ServedModel
from segtrust.label.settings import AppSettings
from segtrust.models import find_models, shipped_models_dir
from segtrust.store import StateStore, StoredScore


def main() -> None:
    """Measure on made-up files of 9 kB."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scans", type=int, default=20_000)
    scans = parser.parse_args().scans
    model = ServedModel(
        find_models(shipped_models_dir())["hippocampus"], AppSettings(device="cpu"), last_results()
    )
    print(f"{scans} scans, {platform.machine()}, Python {sys.version.split()[0]}")
    with tempfile.TemporaryDirectory() as name:
        paths = {f"scan{number:06d}": Path(name) / f"scan{number:06d}.nii.gz" for number in range(scans)}
        for path in paths.values():
            path.write_bytes(path.name.encode() * 400)
        store = StateStore(Path(name) / "state.sqlite")
        datastore = SimpleNamespace(
            get_unlabeled_images=lambda: list(paths),
            image_path=lambda scan_id: Path(os.path.realpath(paths[scan_id])),  # as MONAI Label finds it
        )
        known = Fingerprints()

        def missing() -> int:
            return len(missing_scores(model, datastore, store, known))

        clocked("nothing has a score yet", missing)
        clocked("keep a score of every scan", lambda: fill(store, model, paths))
        clocked("all have a score, files not seen before", missing)
        clocked("all have a score, files seen before", missing)
        worker = ScoringWorker({model.name: model}, store, datastore, lambda: False)
        clocked("status", lambda: worker.status()[model.name]["done"])
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def fill(store: StateStore, model: ServedModel, paths: dict[str, Path]) -> int:
    """Keep a score of every scan, with details of the size that a prediction has."""
    details = {"scores": dict.fromkeys("abcdefgh", 0.123456789), "slices": [{"axis": 2, "index": 9}] * 10}
    for scan_id, path in paths.items():
        store.put_score(
            StoredScore(key=model.score_key(scan_id, fingerprint(path)), score=0.5, details=details)
        )
    return len(paths)


def clocked(title: str, function: Callable[[], int]) -> None:
    """Print what a call returned and how long it took."""
    began, used = time.perf_counter(), time.process_time()
    found = function()
    print(f"{title}: {found}, {time.perf_counter() - began:.2f} s, CPU {time.process_time() - used:.2f} s")


if __name__ == "__main__":
    main()
