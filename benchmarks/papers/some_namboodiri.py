"""Which voxels to doubt: Some & Namboodiri's question put to three networks on three data sets, also shifted.

    python benchmarks/papers/some_namboodiri.py

Trains what is not there yet and measures what some_namboodiri.json fixes; that file was written before the
first run. Writes benchmarks/results/some-namboodiri.json after every network; stop it at any time, it goes on
where it was. Weights of the heart are not to be shipped (CC BY-NC-SA 4.0).
"""

import argparse
import hashlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from some_namboodiri_data import DataSet, open_data, shifted

from segtrust._files import replace_text
from segtrust.ensemble import RunningTotals, SampleStatistics
from segtrust.error_flags import FlagRule, probability_scores, sample_scores
from segtrust.errors import SegtrustError
from segtrust.evaluate.error_detection import ScanErrors, count_errors, detection_figures, flag_figures
from segtrust.evaluate.records import software_versions
from segtrust.inference.members import build_network, load_member
from segtrust.inference.scan import PreparedScan, prepare
from segtrust.inference.sources import FlipSource
from segtrust.inference.windows import slide
from segtrust.metrics.bootstrap import STUDENTISED, cluster_bootstrap
from segtrust.metrics.overlap import dice_per_structure
from segtrust.models import ModelSpec
from segtrust.training.cache import MemberRun, spent_seconds, train_members
from segtrust.training.cases import cases_in, read_labelled
from segtrust.training.loop import Budget

HERE = Path(__file__).parent
SETTINGS = HERE / "some_namboodiri.json"
CLEAN = "clean"
CODE = 2  # raised when a change of the code changes a figure
_DIGITS = 5


@dataclass(frozen=True)
class Measured:
    """One scan: its errors by every score, and its Dice, averaged over the structures where it is defined."""

    errors: ScanErrors
    dice: float
    empty: bool


@dataclass(frozen=True)
class Network:
    """One architecture on one data set.

    Args:
        data: the data set.
        name: of the architecture.
        settings: what the JSON file holds.
        runs: folder of members.
    """

    data: DataSet
    name: str
    settings: Mapping[str, Any]
    runs: Path

    @cached_property
    def spec(self) -> ModelSpec:
        """The model with this network."""
        architecture = self.settings["architectures"][self.name]
        own = architecture[self.data.name]
        return self.data.spec_with({**architecture["network"], **own.get("network", {})}, tuple(own["patch"]))

    @cached_property
    def members(self) -> list[Path]:
        """Weights, trained if they are not there."""
        rules = self.settings["data"][self.data.name]
        own = self.settings["architectures"][self.name][self.data.name]
        given = {**rules["budget"], **own["budget"]}
        budget = Budget(**{**given, "flip_axes": tuple(given["flip_axes"])})
        cases = cases_in(self.data.folder, self.data.role("train"))
        seeds, label = rules["seeds"][: self.settings["members"][self.name]], f"{self.data.name}, {self.name}"
        runs = [MemberRun(self.spec, budget, seed, cases, label) for seed in seeds]
        return train_members(runs, self.runs / "members", say=say)

    def measured(self, role: str, condition: str) -> Iterator[Measured]:
        """Every scan of a role under a condition."""
        networks = [load_member(self.spec, path) for path in self.members]
        over_scan = partial(slide, spec=self.spec)
        mirrored = FlipSource(networks[0], tuple(self.settings["view_axes"]))
        for scan_id in self.data.role(role):
            scan, labels = read_labelled(self.data.folder, scan_id, self.spec)
            if condition != CLEAN:
                strength, seed = self.settings["strength"], self.settings["shift_seed"]
                scan = shifted(scan, scan_id, condition, strength, seed)
            prepared = prepare(scan, self.spec)
            views = list(mirrored.samples(prepared.image, over_scan))  # the first is the plain one
            samples = [views[0], *(over_scan(network, prepared.image) for network in networks[1:])]
            ensemble, by_view = (_totals(prepared, found) for found in (samples, views))
            scores = probability_scores(ensemble.mean)
            if len(samples) > 1:
                scores |= sample_scores(ensemble)
            scores |= {f"view_{name}": score for name, score in sample_scores(by_view).items()}
            mask, truth = ensemble.mean.argmax(dim=0).numpy().astype(np.uint8), labels.numpy()
            subject, valid = self.data.subject(scan_id), prepared.valid
            errors = count_errors(
                scan_id, subject, scores, mask, truth, scan.spacing, valid=valid, whole=True
            )
            dice = dice_per_structure(mask, truth, len(self.spec.labels))
            yield Measured(errors, _mean(dice), not mask.any())


def _totals(prepared: PreparedScan, samples: Sequence[Any]) -> SampleStatistics:
    totals = RunningTotals()
    for sample in samples:
        totals.add(prepared.to_native(sample, background=0))
    return totals.finish()


def learn(network: Network) -> dict[str, Any]:
    """Wrong voxels of the band of *val* per cell of every score: what ``calibrated`` learns from."""
    wrong: dict[str, NDArray[np.int64]] = {}
    for scan in network.measured("val", CLEAN):
        for score, found in scan.errors.histograms.items():
            wrong[score] = wrong.get(score, 0) + found["band"].wrong
    return {score: counts.tolist() for score, counts in wrong.items()}


def judge(network: Network, condition: str, learnt: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Every score and rule on the scans of *test* under one condition."""
    scans = list(network.measured("test", condition))
    errors, regions = [scan.errors for scan in scans], network.settings["regions"]
    rules = [FlagRule.parse(rule) for rule in network.settings["rules"]]
    dice, subjects = np.array([scan.dice for scan in scans]), [e.subject for e in errors]
    missed, wrong = (sum(e.missed[i] for e in errors) for i in (0, 1))
    return _compact({
        "dice": cluster_bootstrap(
            subjects, lambda rows: _mean(dice[list(rows)]), where=~np.isnan(dice), kind="share"
        ).to_json(),
        "empty": sum(scan.empty for scan in scans),
        "wrong": {"voxels": wrong, "outside_band": missed},
        "detection": detection_figures(errors, regions),
        "flags": {
            score: {
                str(rule): {
                    region: flag_figures(errors, score, rule, learnt=np.array(counts), region=region)
                    for region in regions
                }
                for rule in rules
            }
            for score, counts in learnt.items()
        },
    })  # fmt: skip


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _compact(found: Any) -> Any:  # noqa: ANN401  # of JSON types
    """Figures as ``[value, low, high]``, to five digits; recall per kind of error is left out."""
    if isinstance(found, dict):
        if found.keys() >= {"value", "low", "high"}:
            return [_compact(found[name]) for name in ("value", "low", "high")]
        return {name: _compact(part) for name, part in found.items() if name != "kinds"}
    return round(found, _DIGITS) if isinstance(found, float) else found


def kept(network: Network, name: str, cache: Path, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A part of the result, computed once: it is named by members, model, settings and code."""
    weights = [hashlib.sha256(path.read_bytes()).hexdigest() for path in network.members]
    fixed = ("rules", "regions", "view_axes", "shifts", "strength", "shift_seed")
    rules = {name: network.settings[name] for name in fixed}
    text = json.dumps([CODE, name, weights, network.spec.to_json(), rules], sort_keys=True)
    path = cache / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        replace_text(path, json.dumps(compute(), allow_nan=False))
        say(f"measured {network.data.name}, {network.name}: {name}")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def measure(network: Network, cache: Path) -> dict[str, Any]:
    """All figures of one network."""
    learnt = kept(network, "learnt on val", cache, lambda: learn(network))
    weights = sum(parameter.numel() for parameter in build_network(network.spec).parameters())
    found = {
        condition: kept(network, f"test, {condition}", cache, lambda c=condition: judge(network, c, learnt))
        for condition in (CLEAN, *network.settings["shifts"])
    }
    return {"parameters": weights, "seconds": spent_seconds(network.members), "conditions": found}


def main() -> int:
    """Train, learn, measure, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=HERE / ".." / ".." / ".." / "shared" / "data")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="default: runs")
    parser.add_argument(
        "--out", type=Path, default=HERE.parent / "results", help="default: benchmarks/results"
    )
    args = parser.parse_args()
    settings = json.loads(SETTINGS.read_text(encoding="utf-8"))
    work = args.runs / "some-namboodiri"
    result: dict[str, Any] = {
        "command": "python benchmarks/papers/some_namboodiri.py",
        "settings": {name: settings[name] for name in ("name", "members", "view_axes", "strength", "shifts")},
        "software": software_versions(),
        "intervals": f"{STUDENTISED} bootstrap",
        "data": {},
        "networks": {},
    }
    try:
        for name in settings["data"]:
            data = open_data(name, args.data, args.runs)
            result["data"][name] = {role: counts(data, role) for role in ("train", "val", "test")}
            for architecture, own in settings["architectures"].items():
                if name not in own:
                    continue
                network = Network(data, architecture, settings, args.runs)
                result["networks"][f"{name}; {architecture}"] = measure(network, work)
                write(result, args.out / "some-namboodiri.json")
    except SegtrustError as error:
        print(f"some_namboodiri: {error}", file=sys.stderr)
        return 1
    return 0


def counts(data: DataSet, role: str) -> dict[str, int]:
    """Scans and subjects of a role."""
    scans = data.role(role)
    return {"scans": len(scans), "subjects": len({data.subject(scan) for scan in scans})}


def write(result: Mapping[str, Any], path: Path) -> None:
    """Write what is known so far; a figure with its interval takes one line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1, allow_nan=False)
    replace_text(path, re.sub(r"\[[^\[\]{}]*\]", lambda found: " ".join(found[0].split()), text) + "\n")
    say(f"wrote {path}")


def say(line: str) -> None:
    """One plain line."""
    print(time.strftime("%H:%M:%S"), line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
