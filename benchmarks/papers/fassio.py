"""CaPE per voxel and per slice, against early stopping and continued cross-entropy; resumes where it stopped.

    python benchmarks/papers/fassio.py --data ../shared/data/lung_nodules

Parts: `synthetic` (known chances), `pixels` (lung nodules, the share of four raters is the chance), `slices`
(the same slices, marked or not), and both by size of the training set. Bins, widths and rates are chosen on
patients of *train* who are left out of the training; *test* is read when every network of a part is trained.
Writes <out>/lung-nodules-cape.json, which fassio_page.py makes a page of. After Fassio et al. 2024 and Liu et
al. 2022.
"""

import argparse
import dataclasses
import hashlib
import json
import platform
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch
from fassio_figures import Slices, figures, union_band
from fassio_problems import Part, Problem, batches_of, made_up, nodules, share_of

from segtrust.errors import SegtrustError
from segtrust.training.cape import CODE
from segtrust.training.cape_stage import CapeSettings, Tuned, fine_tune

HERE = Path(__file__).parent
RATES = (3e-4, 3e-3)
BINS = (5, 10, 15, 25, 50)
MASSES = ("doubt", "voxels")
SIGMAS = (0.02, 0.05)
SEEDS = (0, 1, 2)
SHARES = {1.0: 1, 0.25: 2, 0.0625: 4}
"""Share of the patients to train on, and how many times longer each run then is."""
PARTS = ("synthetic", "slices", "pixels", "slice sizes", "pixel sizes")
TARGETS = ("labels", "bin", "kernel")


@dataclasses.dataclass
class Trainer:
    """Every run of the benchmark, by what it follows from; a finished one is read from its folder."""

    cache: Path
    began: float = dataclasses.field(default_factory=time.monotonic)

    def run(self, problem: Problem, seed: int, share: float = 1.0, **changes: Any) -> Tuned:  # noqa: ANN401
        """The early-stopped network, or, with ``changes``, the stage that goes on from it."""
        longer = SHARES[share]
        settings = CapeSettings(**{**(problem.stage if changes else problem.base), **changes})
        settings = dataclasses.replace(settings, epochs=settings.epochs * longer)
        fit, watch = problem.draw(seed)
        fit = share_of(fit, share)
        name = {
            "problem": problem.name,
            "base": problem.base,
            "settings": dataclasses.asdict(settings),
            "seed": seed,
            "share": share,
            "code": CODE,
            "data": hashlib.sha256(b"".join(p.labels.numpy().tobytes() for p in (fit, watch))).hexdigest(),
        }
        path = self.cache / f"{hashlib.sha256(json.dumps(name, sort_keys=True).encode()).hexdigest()[:24]}.pt"
        fresh = not path.is_file()
        if changes:
            start = self.run(problem, seed, share).network
        else:
            torch.manual_seed(seed)
            start = problem.network()
        tuned = fine_tune(
            start,
            batches_of(fit, seed),
            settings,
            seed=seed,
            checkpoint=path,
            watch=lambda: batches_of(watch, seed, flip=False)(0),
        )
        if fresh:
            words = " ".join(f"{k}={v}" for k, v in (changes or {"base": ""}).items())
            print(
                f"{time.monotonic() - self.began:5.0f} s {problem.name} seed {seed} share {share:g} {words}: "
                f"watched {tuned.watched[0]:.5f} best {min(tuned.watched):.5f} last {tuned.watched[-1]:.5f}",
                flush=True,
            )
        return tuned

    def choose(self, problem: Problem, target: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Rate, then bins or width, by the lowest watched loss of seed 0; and all that was tried."""
        tried = []

        def best(options: list[dict[str, Any]]) -> dict[str, Any]:
            losses = [min(self.run(problem, 0, **o).watched) for o in options]
            tried.extend({**o, "watched": loss} for o, loss in zip(options, losses, strict=True))
            return options[int(np.argmin(losses))]

        chosen = best([{"target": target, "learning_rate": rate} for rate in RATES])
        if target == "bin":
            chosen = best([{**chosen, "mass": mass, "bins": bins} for mass in MASSES for bins in BINS])
        if target == "kernel":
            chosen = best([{**chosen, "sigma": sigma} for sigma in SIGMAS])
        return chosen, tried


def logits_of(network: torch.nn.Module, part: Part) -> np.ndarray:
    """Logit of the label in every voxel, ``(n, *spatial)``."""
    with torch.no_grad():
        both = torch.cat([network(images) for images in part.images.split(64)]).double()
    return (both[:, 1] - both[:, 0]).numpy()


def pooled(logits: list[np.ndarray]) -> np.ndarray:
    """Logit of the mean probability of an ensemble."""
    mean = np.mean([1 / (1 + np.exp(-z)) for z in logits], axis=0).clip(1e-12, 1 - 1e-12)
    return np.log(mean) - np.log1p(-mean)


def synthetic(train: Trainer) -> dict[str, Any]:
    """Known chances: three sets of images, a gentle and a hard rate, the best and the last epoch."""
    problems = [made_up(seed) for seed in SEEDS]
    tests = [problem.test() for problem in problems]
    found: dict[str, Any] = {}
    for rate in (5e-4, 5e-3):
        runs = {"early stopping": [train.run(p, seed) for seed, p in enumerate(problems)]}
        for target in TARGETS:
            runs[target] = [
                train.run(p, seed, target=target, learning_rate=rate) for seed, p in enumerate(problems)
            ]
        logits = {
            f"{arm}, {which}": np.concatenate(
                [logits_of(getattr(t, key), part) for t, part in zip(tuned, tests, strict=True)]
            )[None]
            for arm, tuned in runs.items()
            for which, key in (("best epoch", "network"), ("last epoch", "last"))
        }
        everything = Part(
            torch.empty(0),
            np.concatenate([t.chance for t in tests]),
            torch.empty(0),
            np.concatenate([t.patients for t in tests]),
        )
        slices = Slices.of(everything, logits, None)
        found[f"{rate:g}"] = {
            "systems": figures(slices, base="labels, best epoch"),
            "watched": {
                arm: [{"best": min(t.watched), "last": t.watched[-1]} for t in tuned]
                for arm, tuned in runs.items()
            },
        }
    return found


def lung(train: Trainer, problem: Problem) -> dict[str, Any]:
    """Choose inside train, train all seeds, then read test."""
    choices = {target: train.choose(problem, target) for target in TARGETS}
    chosen = {target: choice for target, (choice, _) in choices.items()}
    runs = {"early stopping": [train.run(problem, seed) for seed in SEEDS]}
    runs |= {target: [train.run(problem, seed, **chosen[target]) for seed in SEEDS] for target in TARGETS}
    watched = {
        arm: [{"best": min(t.watched), "last": t.watched[-1]} for t in tuned] for arm, tuned in runs.items()
    }
    test = problem.test()
    best = {arm: [logits_of(t.network, test) for t in tuned] for arm, tuned in runs.items()}
    logits = {arm: np.stack(found) for arm, found in best.items()}
    band = union_band(list(logits.values())) if test.chance.ndim == 3 else None
    logits |= {f"{arm}, ensemble": pooled(found)[None] for arm, found in best.items()}
    logits |= {
        f"{arm}, last epoch": np.stack([logits_of(t.last, test) for t in tuned])
        for arm, tuned in runs.items()
    }
    fit, watch = problem.draw(0)
    return {
        "chosen": chosen,
        "tried": [options for _, tried in choices.values() for options in tried],
        "watched": watched,
        "slices": {"fit": len(fit.images), "watch": len(watch.images), "test": len(test.images)},
        "patients": {"fit": len(set(fit.patients)), "test": len(set(test.patients))},
        "systems": figures(Slices.of(test, logits, band), base="labels"),
    }


def sizes(train: Trainer, problem: Problem) -> dict[str, Any]:
    """Size of the training set times number of bins, at the rates chosen with all of it."""
    labels, bins = (train.choose(problem, target)[0] for target in ("labels", "bin"))
    runs: dict[float, dict[str, Tuned]] = {}
    for share in SHARES:
        runs[share] = {"early stopping": train.run(problem, 0, share)}
        runs[share]["labels"] = train.run(problem, 0, share, **labels)
        for number in BINS:
            runs[share][f"{number} bins"] = train.run(problem, 0, share, **{**bins, "bins": number})
    test, fit = problem.test(), problem.draw(0)[0]
    found = {}
    for share, arms in runs.items():
        logits = {arm: logits_of(tuned.network, test)[None] for arm, tuned in arms.items()}
        found[f"{share:g}"] = {
            "slices": len(share_of(fit, share).images),
            "systems": figures(Slices.of(test, logits, None), base="labels"),
        }
    return found


def main() -> int:
    """Run the parts, then write one file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, default=HERE / ".." / ".." / ".." / "shared" / "data" / "lung_nodules"
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--cache", type=Path, default=Path("runs") / "fassio", help="default: runs/fassio")
    parser.add_argument(
        "--out", type=Path, default=HERE / ".." / "results", help="default: benchmarks/results"
    )
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    train = Trainer(args.cache)
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "synthetic": lambda: synthetic(train),
        "pixels": lambda: lung(train, nodules(args.data, per_slice=False)),
        "slices": lambda: lung(train, nodules(args.data, per_slice=True)),
        "pixel sizes": lambda: sizes(train, nodules(args.data, per_slice=False)),
        "slice sizes": lambda: sizes(train, nodules(args.data, per_slice=True)),
    }
    path = args.out / "lung-nodules-cape.json"
    result = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    try:
        for part in args.parts:
            result[part] = parts[part]()
            result["command"] = shlex.join(["python", "benchmarks/papers/fassio.py"])
            result["software"] = {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "monai": monai.__version__,
                "numpy": np.__version__,
            }
            path.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
            print(f"wrote {part} to {path}", flush=True)
    except SegtrustError as error:
        print(f"fassio: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
