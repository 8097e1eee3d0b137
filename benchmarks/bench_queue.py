"""Times next sample over HTTP on a folder of many scans, and writes `benchmarks/results/queue.json`.

    python benchmarks/bench_queue.py --work FOLDER [--scans 20000] [--calls 100]

The scans are tiny files; their scores, with all details that strategies read, are put into the state file,
so that nothing is predicted. Timed are: the first call of a strategy, which ranks all scans; calls after it,
each of another annotator; calls for half a minute while one scan after the other is scored anew, so that the
ranking is renewed beside them; the first call after a restart. On a busy machine go by `cpu_ms`, what a call
costs the server.
"""

import argparse
import json
import platform
import shutil
import time
from pathlib import Path
from statistics import median, quantiles

import nibabel as nib
import numpy as np
import psutil
import requests

from segtrust.cli.demo.label_server import LabelServer
from segtrust.evaluate.records import software_versions
from segtrust.inference import fingerprint
from segtrust.label.served import ServedModel, serve_models
from segtrust.label.settings import AppSettings
from segtrust.store import StateStore, StoredScore

MODEL = "hippocampus"
STRATEGIES = ("entropy", "uniform", "clasp", "diverse")
FEATURES = 64
RENEWING_S = 30
RESULT = Path(__file__).parent / "results" / "queue.json"


def main() -> None:
    """Make the site unless it is there, measure, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder of the site, written anew")
    parser.add_argument("--scans", type=int, default=20_000, help="how many (default: 20000)")
    parser.add_argument("--calls", type=int, default=100, help="timed calls per strategy (default: 100)")
    args = parser.parse_args()
    studies = args.work.resolve() / "studies"
    shutil.rmtree(studies, ignore_errors=True)
    make_site(studies, args.scans)
    found = {}
    with server_on(studies) as server:
        for strategy in STRATEGIES:
            found[strategy] = {"first_ms": call(server.url, strategy, "first")}
            found[strategy] |= measure(server.url, strategy, args.calls)
            found[strategy]["while_scoring"] = measure_while_scoring(server.url, strategy, studies)
    with server_on(studies) as server:
        for strategy in STRATEGIES:
            found[strategy]["first_after_a_restart_ms"] = call(server.url, strategy, "restarted")
    document = {
        "scans": args.scans,
        "calls": args.calls,
        "machine": f"{platform.machine()}, {platform.system()}",
        "versions": software_versions(),
        "strategies": found,
    }
    RESULT.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


def make_site(studies: Path, scans: int) -> None:
    """Write scans of 8 x 8 x 8 voxels and put a score of each into the state file."""
    studies.mkdir(parents=True)
    content = nib.Nifti1Image(np.zeros((8, 8, 8), np.uint8), np.eye(4)).to_bytes()
    names = [f"scan{number:06d}" for number in range(scans)]
    for name in names:
        (studies / f"{name}.nii").write_bytes(content)
    put_scores(studies, names)


def put_scores(studies: Path, names: list[str]) -> None:
    """Put a drawn score of each scan into the state file."""
    state = studies / ".segtrust"
    store, model, rng = StateStore(state / "state.sqlite"), served(state), np.random.default_rng(len(names))
    for name in names:
        score, front, back = rng.random(3).tolist()
        hint = {"axis": 2, "index": 3, "share": 0.5, "structure": "anterior", "reason": "unsure"}
        details = {
            "class_scores": {"1": front, "2": back},
            "foreground": {"1": 40, "2": 30},
            "features": rng.normal(size=FEATURES).round(4).tolist(),
            "slices": [hint] * 3,
        }
        store.put_score(
            StoredScore(
                key=model.score_key(name, fingerprint(studies / f"{name}.nii")), score=score, details=details
            )
        )


def served(state: Path) -> ServedModel:
    """The model as the server serves it."""
    return serve_models(AppSettings(models=(MODEL,)), state)[MODEL]


def server_on(studies: Path) -> LabelServer:
    """A server that has not started."""
    work = studies.parent / "server"
    work.mkdir(exist_ok=True)
    conf = [("models", MODEL), ("warm_up", "false")]
    return LabelServer(MODEL, studies, work, log=work / "server.log", conf=conf)


def call(url: str, strategy: str, client: str) -> float:
    """Milliseconds of one next sample by a client who keeps no connection."""
    start = time.perf_counter()
    answer = requests.post(f"{url}/activelearning/{strategy}", json={"client_id": client}, timeout=300)
    took = time.perf_counter() - start
    answer.raise_for_status()
    if "reason" not in answer.json():
        raise SystemExit(f"{strategy} served no scan")
    return round(1e3 * took, 1)


def measure(url: str, strategy: str, calls: int) -> dict[str, float]:
    """Calls after the first one, each of another annotator: times, and what one costs the server in CPU."""
    before = cpu_ms()
    times = [call(url, strategy, f"{strategy} {number}") for number in range(calls)]
    return {
        "median_ms": median(times),
        "p95_ms": round(quantiles(times, n=20)[-1], 1),
        "max_ms": max(times),
        "cpu_ms": round((cpu_ms() - before) / calls, 1),
    }


def measure_while_scoring(url: str, strategy: str, studies: Path) -> dict[str, float]:
    """Calls twice a second, each after a new score."""
    times, begun = [], time.monotonic()
    while time.monotonic() < begun + RENEWING_S:
        put_scores(studies, [f"scan{len(times):06d}"])
        times.append(call(url, strategy, f"{strategy} while scoring {len(times)}"))
        time.sleep(0.5)
    return {
        "calls": len(times),
        "median_ms": median(times),
        "p95_ms": round(quantiles(times, n=20)[-1], 1),
        "max_ms": max(times),
    }


def cpu_ms() -> float:
    """CPU that the server below this process has used."""
    server = next(child for child in psutil.Process().children() if "start_server" in child.cmdline())
    times = server.cpu_times()
    return 1e3 * (times.user + times.system)


if __name__ == "__main__":
    main()
