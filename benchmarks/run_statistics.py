"""How often intervals hold the true figure and the gate errs, by simulation; nothing is trained or read.

    python benchmarks/run_statistics.py

Every law below says how figures of subjects are distributed, failures included. Of each number of subjects
many samples are drawn, one or two scans a subject, and it is counted how often each interval holds the
figure of all subjects there could be. Goes on where it was stopped: remove the result to begin anew. Writes
<out>/statistics.json and the page docs/reference/statistics.md.
"""

import argparse
import json
import shlex
import sys
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statistics_page import PAGE, page

from segtrust.evaluate.records import software_versions
from segtrust.experiments.pages import write_or_check
from segtrust.metrics.bootstrap import Interval, Kind, Resamples
from segtrust.release.gate import DICE_MARGIN, decide, dice_changes

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]

SUBJECTS = (5, 8, 10, 15, 20, 30, 50, 100)
SAMPLES = 400
LEVEL = 0.95
_MANY = 400_000
_GAPS = np.linspace(1, 0.1, 15)
_SIZES = np.array([1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 6, 30.0]) / 59


@dataclass(frozen=True)
class Law:
    """How subjects are distributed: ``draw`` gives sums per subject, ``figure`` is one of added sums.

    A figure that is no function of sums (``rank``) gets the subjects' values and how often each counts.
    """

    words: str
    draw: Draw
    figure: Callable[[Floats], Floats]
    kind: Kind = "number"


def scans(rng: np.random.Generator, values: Floats, within: float = 0.01) -> Floats:
    """Sum and number of the scans of each subject, one or two."""
    number = rng.integers(1, 3, len(values))
    return np.stack([values * number + rng.normal(0, within, len(values)) * np.sqrt(number), number], axis=1)


def mean(sums: Floats) -> Floats:
    """Mean over scans, or a ratio of sums."""
    ratio: Floats = sums[..., 0] / sums[..., 1]
    return ratio


def ece(sums: Floats) -> Floats:
    """Expected calibration error of pooled voxels: gaps of 15 bins, and all voxels."""
    error: Floats = np.abs(sums[..., :15]).sum(axis=-1) / sums[..., 15]
    return error


def pearson(sums: Floats) -> Floats:
    """Correlation from sums of 1, x, y, xx, yy and xy."""
    one, x, y, xx, yy, xy = np.moveaxis(sums / sums[..., :1], -1, 0)
    spread = np.sqrt(np.maximum(xx - x**2, 0) * np.maximum(yy - y**2, 0))
    return np.divide(xy - x * y, spread, out=np.full(one.shape, np.nan), where=spread > 1e-12)


def failing(share: float) -> Draw:
    """Dice near .88, and anything up to .6 in a share of the subjects."""

    def draw(rng: np.random.Generator, n: int) -> Floats:
        fails = rng.random(n) < share
        return scans(rng, np.where(fails, rng.uniform(0, 0.6, n), rng.normal(0.88, 0.03, n)))

    return draw


def pooled_nll(rng: np.random.Generator, n: int) -> Floats:
    """NLL and voxels; subjects differ in both."""
    voxels = np.exp(rng.normal(0, 0.4, n))
    return np.stack([voxels * 0.12 * np.exp(rng.normal(0, 0.4, n)), voxels], axis=1)


def gaps(bias: float) -> Draw:
    """Confidence less accuracy per bin: a common bias, one of the subject, and one of the subject's bin."""

    def draw(rng: np.random.Generator, n: int) -> Floats:
        voxels = np.exp(rng.normal(0, 0.4, (n, 1)) + rng.normal(0, 0.2, (n, 15))) * _SIZES
        gap = (bias + rng.normal(0, 0.02, (n, 1)) + rng.normal(0, 0.01, (n, 15))) * _GAPS
        return np.concatenate([voxels * gap, voxels.sum(axis=1, keepdims=True)], axis=1)

    return draw


def pairs(r: float, *, skewed: bool = False, failing: float = 0.0) -> Draw:
    """Two figures of correlation r; where a subject fails both are far off."""

    def draw(rng: np.random.Generator, n: int) -> Floats:
        x = rng.normal(size=n)
        y = r * x + np.sqrt(1 - r * r) * rng.normal(size=n)
        fails = rng.random(n) < failing
        x, y = x + 3 * fails * rng.random(n), y + 4 * fails
        if skewed:
            x, y = np.exp(x), np.exp(y)
        return np.stack([np.ones(n), x, y, x * x, y * y, x * y], axis=1)

    return draw


LAWS: Mapping[str, Law] = {
    "normal": Law("mean Dice, normal", lambda rng, n: scans(rng, rng.normal(0.88, 0.03, n)), mean, "share"),
    "skewed": Law(
        "mean Dice, skewed (1 - Dice log-normal, sigma .75)",
        lambda rng, n: scans(rng, 1 - 0.1 * rng.lognormal(0, 0.75, n)),
        mean,
    ),
    "very skewed": Law(
        "mean Dice, very skewed (sigma 1)",
        lambda rng, n: scans(rng, 1 - 0.05 * rng.lognormal(0, 1, n)),
        mean,
    ),
    "heavy tails": Law(
        "paired difference, heavy tails (t, 3 degrees)",
        lambda rng, n: scans(rng, 0.01 + 0.02 * rng.standard_t(3, n)),
        mean,
    ),
    "1 in 10 fails": Law("mean Dice, 1 subject in 10 fails", failing(0.1), mean, "share"),
    "1 in 20 fails": Law("mean Dice, 1 subject in 20 fails", failing(0.05), mean, "share"),
    "1 in 10 loses .5": Law(
        "paired difference, 0 but for 1 subject in 10 that loses .5",
        lambda rng, n: scans(rng, -0.5 * (rng.random(n) < 0.1), within=0),
        mean,
    ),
    "nll": Law("NLL of pooled voxels", pooled_nll, mean, "amount"),
    "ece": Law("ECE of pooled voxels, .02", gaps(0.03), ece, "amount"),
    "small ece": Law("ECE of pooled voxels, .006", gaps(0.01), ece, "amount"),
    "pearson .8": Law("Pearson correlation .8, normal", pairs(0.8), pearson, "correlation"),
    "pearson .3": Law("Pearson correlation .3, normal", pairs(0.3), pearson, "correlation"),
    "pearson skewed": Law(
        "Pearson correlation, log-normal (sigma 1)", pairs(0.8, skewed=True), pearson, "correlation"
    ),
    "pearson fails": Law(
        "Pearson correlation, 1 subject in 10 fails", pairs(0.6, failing=0.1), pearson, "correlation"
    ),
    "spearman .8": Law("Spearman correlation, normal", pairs(0.8), pearson, "correlation"),
}


def losing(share: float, loss: float, sd: float = 0.01) -> Draw:
    """Changes of Dice: none on average but for a share of the patients, who lose a lot."""
    return lambda rng, n: (
        rng.normal(0, sd, n) - loss * (rng.random(n) < share) if sd else (-loss * (rng.random(n) < share))
    )


PATIENTS = (8, 12, 20, 30, 50, 59, 100)
CHANGES: Mapping[str, tuple[str, Draw]] = {
    "worse, mean -.01 (normal, sd .02)": ("worse", lambda rng, n: rng.normal(-0.01, 0.02, n)),
    "worse, mean -.01 (skewed to losses)": (
        "worse",
        lambda rng, n: 0.01 - 0.02 * rng.lognormal(-0.5, 1, n),
    ),
    "worse, mean -.01 (heavy tails)": ("worse", lambda rng, n: -0.01 + 0.01 * rng.standard_t(3, n)),
    "worse, 1 patient in 10 loses .1": ("worse", losing(0.1, 0.1)),
    "worse, 1 in 10 loses .1, all others unchanged": ("worse", losing(0.1, 0.1, 0)),
    "worse, 1 in 20 loses .5": ("worse", losing(0.05, 0.5)),
    "worse, 1 in 20 loses .5, all others unchanged": ("worse", losing(0.05, 0.5, 0)),
    "worse, 1 in 50 loses .6": ("worse", losing(0.02, 0.6)),
    "worse, false positives in 1 healthy scan of 20": ("worse", losing(0.05, 1.0)),
    "better, mean +.01 (normal, sd .02)": ("better", lambda rng, n: rng.normal(0.01, 0.02, n)),
    "better, mean +.03 (normal, sd .03)": ("better", lambda rng, n: rng.normal(0.03, 0.03, n)),
    "the same (normal, sd .01)": ("better", lambda rng, n: rng.normal(0, 0.01, n)),
}
METHODS = ("percentile", "BCa", "Student's t", "studentised")


def main() -> int:
    """Simulate, write result and page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--samples", type=int, default=SAMPLES, help=f"per law and number (default: {SAMPLES})"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    path = args.out / "statistics.json"
    before = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    done = before["intervals"] if before.get("samples") == args.samples else {}
    result: dict[str, Any] = {
        "command": shlex.join(["python", *sys.argv]),
        "samples": args.samples,
        "level": LEVEL,
        "intervals": {},
        "gate": before.get("gate") if done else None,
        "software": software_versions(),
    }
    result["gate"] = result["gate"] or {
        words: verdicts(words, law, args.samples) for words, (_, law) in CHANGES.items()
    }
    for name, law in LAWS.items():
        result["intervals"][law.words] = done.get(law.words) or coverage(name, law, args.samples)
        path.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", "utf-8")
    return write_or_check((PAGE, page(result)))


def coverage(name: str, law: Law, samples: int) -> dict[str, dict[str, float]]:
    """Method -> number of subjects -> share of the intervals that hold the true figure."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    true = float(law.figure(ranked(law.draw(rng, _MANY), name)[None].sum(axis=1))[0])
    held: dict[str, dict[str, float]] = {method: {} for method in METHODS}
    for n in SUBJECTS:
        resamples = Resamples.of([f"{i:03d}" for i in range(n)], least=2)
        times = resamples.times.astype(np.float64)
        count = dict.fromkeys(METHODS, 0)
        for _ in range(samples):
            sums = law.draw(rng, n)
            figures = (
                spearman(sums, resamples.times) if name.startswith("spearman") else law.figure(times @ sums)
            )
            for method, (low, high) in intervals(resamples, figures, n, law.kind).items():
                count[method] += low <= true <= high
        for method in METHODS:
            held[method][str(n)] = count[method] / samples
        print(f"{law.words}, {n}: {count['studentised'] / samples:.3f}", flush=True)
    return held


def verdicts(words: str, law: Draw, samples: int = SAMPLES) -> dict[str, dict[str, float]]:
    """Share of samples in which a version passes, is unproven, or passed the percentile rule of before."""
    rng = np.random.default_rng(zlib.crc32(words.encode()))
    found: dict[str, dict[str, float]] = {"before": {}, "passes": {}, "unproven": {}}
    for n in PATIENTS:
        times = Resamples.of([f"{i:03d}" for i in range(n)], least=2).times[1 + n :].astype(np.float64)
        count = dict.fromkeys(found, 0)
        same = Interval(0.0, 0.0, 0.0, n)
        for _ in range(samples):
            changes = law(rng, n)
            passed = decide(dice_changes(changes.tolist()), same)
            count["passes"] += passed is True
            count["unproven"] += passed is None
            count["before"] += n >= 8 and np.quantile(times @ changes / n, 0.05) > -DICE_MARGIN
        for name, number in count.items():
            found[name][str(n)] = int(number) / samples
    print(f"{words}: {found['passes']}", flush=True)
    return found


def ranked(sums: Floats, name: str) -> Floats:
    """For a rank correlation, the sums of the ranks."""
    if not name.startswith("spearman"):
        return sums
    x, y = (stats.rankdata(sums[:, column]) / len(sums) for column in (1, 2))
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)


def spearman(sums: Floats, times: NDArray[np.int64]) -> Floats:
    """Rank correlation of every resample; of repeated subjects, mean ranks."""
    figures = [sums[:, column] for column in (1, 2)]
    order = [np.argsort(values) for values in figures]
    ranks = []
    for values, by in zip(figures, order, strict=True):
        drawn = times[:, by]
        rank = np.empty(times.shape)
        rank[:, by] = np.cumsum(drawn, axis=1) - (drawn - 1) / 2
        ranks.append(rank)
        assert len(np.unique(values)) == len(values)
    x, y = ranks
    weighted = [(times * part).sum(axis=1) for part in (np.ones_like(x), x, y, x * x, y * y, x * y)]
    return pearson(np.stack(weighted, axis=1))


def intervals(resamples: Resamples, figures: Floats, n: int, kind: Kind) -> dict[str, tuple[float, float]]:
    """The four intervals of one sample."""
    tail = (1 - LEVEL) / 2
    value, left_out, drawn = float(figures[0]), figures[1 : 1 + n], figures[1 + n :]
    drawn = drawn[np.isfinite(drawn)]
    spread = left_out.mean() - left_out
    error = float(np.sqrt((n - 1) / n * (spread @ spread)))
    reach = float(stats.t.ppf(1 - tail, n - 1)) * error
    below = np.clip((np.mean(drawn < value) + np.mean(drawn <= value)) / 2, 1e-3, 1 - 1e-3)
    skew = float((spread**3).sum() / (6 * max(float(spread @ spread) ** 1.5, 1e-300)))
    z = stats.norm.ppf(below) + stats.norm.ppf([tail, 1 - tail])
    shares = stats.norm.cdf(stats.norm.ppf(below) + z / (1 - skew * z))
    ours = resamples.interval(figures, kind=kind, level=LEVEL)
    rounding = np.array([-1e-12, 1e-12])  # where all subjects are alike
    return {
        "percentile": tuple(np.quantile(drawn, [tail, 1 - tail]) + rounding),
        "BCa": tuple(np.quantile(drawn, shares) + rounding),
        "Student's t": tuple(np.array([value - reach, value + reach]) + rounding),
        "studentised": tuple(np.array([ours.low, ours.high]) + rounding),
    }


if __name__ == "__main__":
    sys.exit(main())
