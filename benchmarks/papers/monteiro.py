"""Stochastic segmentation networks against four other sources of samples, on lung nodules with four raters.

    python benchmarks/papers/monteiro.py

Trains what is not in the cache yet, draws 100 masks of every test slice, and writes
benchmarks/results/lung-nodules-stochastic.json. Stop it at any time: it goes on where it was. The dropout
rate and the weight of the Probabilistic U-Net's divergence are chosen inside the role train, by patient. The
role test is read by the last step alone.
"""

import argparse
import hashlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lung_nodules import FOLDER, RATERS, Slices, cases_of, digest, spec_of
from numpy.typing import NDArray
from probabilistic_unet import ProbabilisticUNet, foreground, train
from torch import Tensor, nn

from segtrust.inference.members import load_member, save_weights
from segtrust.inference.sources import active_dropout, switched_on
from segtrust.metrics import SampleDistances, cluster_bootstrap, largest_part
from segtrust.stochastic import LogitDistribution, draw_noise, sample_logits
from segtrust.training.augment import Augmentation
from segtrust.training.cases import Case
from segtrust.training.loop import Budget, train_member

HERE = Path(__file__).parent
DRAWS, FEW = 100, 16
COHERENT = 0.95
FLOOD = 0.5  # share of the crop above which a draw floods it
CODE = 2  # raised when a change of the code changes what a network computes
FIRST = "stochastic, rank 10"
BUDGET = Budget(
    epochs=1, batch=16, learning_rate=4e-3, average=0.98, loss="ce", flip_axes=(0, 1), augment="light"
)
PASSES = 2  # over the training slices
CHOICES = {"dropout": (0.1, 0.4), "beta": (1.0, 10.0)}

Draw = Callable[[Tensor, int], Iterator[Tensor]]
"""``(images (B, 1, H, W), seed) -> masks (B, H, W)``, independent draws without end."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One network to train: ``kind`` is ``plain``, ``stochastic`` or ``probabilistic``."""

    kind: str
    raters: int
    rank: int | None = None
    dropout: float = 0.0
    beta: float = 1.0
    seed: int = 0


class Bench:
    """Training slices, a cache, and networks by their settings.

    Args:
        slices: to train on.
        cache: one folder per network, named by the hash of settings and data.
        say: called with one plain line per network.
    """

    def __init__(self, slices: Slices, cache: Path, say: Callable[[str], None]) -> None:
        self.slices, self.cache, self.say = slices, cache, say
        self.data = digest([slices])

    def folder(self, run: Run) -> Path:
        """Where a network lies."""
        text = json.dumps([asdict(run), asdict(BUDGET), PASSES, CODE, self.data], sort_keys=True)
        folder = self.cache / hashlib.sha256(text.encode()).hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def network(self, run: Run) -> nn.Module:
        """Train a network, or read it if it was trained before."""
        path, began = self.folder(run) / "member.safetensors", time.process_time()
        spec = spec_of("lung-nodules", rank=run.rank, dropout=run.dropout)
        if not path.is_file():
            budget = replace(BUDGET, epochs=PASSES if run.raters == 1 else 1)
            cases = cases_of(self.slices, 1 if run.raters == 1 else PASSES)
            if run.kind == "probabilistic":
                self._train_probabilistic(run, cases, budget, path)
            else:
                train_member(spec, cases, budget, seed=run.seed, folder=path.parent)
            seconds = time.process_time() - began
            (path.parent / "seconds.json").write_text(f"{seconds:.1f}", encoding="utf-8")
            self.say(f"trained in {seconds:.0f} s: {run}")
        if run.kind == "probabilistic":
            model = _probabilistic()
            model.load_state_dict(torch.load(path.with_suffix(".pt"), weights_only=True))  # noqa: TID251
            return model.eval()
        return load_member(spec, path)

    def seconds(self, run: Run) -> float:
        """CPU time that the training of a network took."""
        return float((self.folder(run) / "seconds.json").read_text(encoding="utf-8"))

    def _train_probabilistic(self, run: Run, cases: Sequence[Case], budget: Budget, path: Path) -> None:
        torch.manual_seed(run.seed)
        draw = Augmentation(spec_of("lung-nodules"), flip_axes=budget.flip_axes, kind=budget.augment)
        per_epoch = math.ceil(len(cases) / budget.batch)

        def batches() -> Iterator[tuple[Tensor, Tensor]]:
            for epoch in range(budget.epochs):
                order = np.random.default_rng([run.seed, epoch]).permutation(len(cases))
                for begin in range(0, len(cases), budget.batch):
                    rows = order[begin : begin + budget.batch]
                    patches = [draw(cases[i], int(epoch * len(cases) + i)) for i in rows]
                    yield torch.stack([p[0] for p in patches]), torch.stack([p[1] for p in patches])

        model = train(
            _probabilistic(),
            batches(),
            steps=budget.epochs * per_epoch,
            learning_rate=budget.learning_rate,
            average=budget.average,
            beta=run.beta,
        )
        torch.save(model.state_dict(), path.with_suffix(".pt"))
        save_weights(model, path)


def _probabilistic() -> ProbabilisticUNet:
    network = dict(spec_of("lung-nodules").network)
    del network["_target_"]
    return ProbabilisticUNet(network)


def stochastic(network: nn.Module, rank: int, largest: int | None = None) -> Draw:
    """Draws of a low-rank Gaussian; no mirrored pairs, since the metrics ask for independent draws.

    Args:
        network: puts out its channels.
        rank: R.
        largest: pixels that a mask may have; a larger one is drawn again, up to 32 times.

    Returns:
        The draws.
    """

    def draw(images: Tensor, seed: int) -> Iterator[Tensor]:
        distribution = LogitDistribution.from_channels(network(images), rank)
        for index in count():
            masks = foreground(sample_logits(distribution, draw_noise(distribution, seed + index)))
            for attempt in range(1, 32 if largest is not None else 1):
                large = masks.flatten(1).sum(dim=1) > (largest or 0)
                if not large.any():
                    break
                noise = draw_noise(distribution, seed + index + attempt * 1_000_000_007)
                again = foreground(sample_logits(distribution, noise))
                masks = torch.where(large[:, None, None], again, masks)
            yield masks

    return draw


def one_threshold(network: nn.Module) -> Draw:
    """One threshold between 0 and 1 per draw and slice: all pixels of one network that are likelier than it.

    Each pixel is marked with its own probability, and pixels go together: the larger mask holds the smaller.
    """

    def draw(images: Tensor, seed: int) -> Iterator[Tensor]:
        chance = network(images).softmax(dim=1)[:, 1]
        generator = torch.Generator().manual_seed(seed)
        while True:
            yield chance > torch.rand((len(images), 1, 1), generator=generator)

    return draw


def rater_of_train(masks: NDArray[np.uint8]) -> Draw:
    """Any rater's mask of any slice of train: what can be had without a look at the image.

    Args:
        masks: of train, ``(n, raters, H, W)``.

    Returns:
        The draws.
    """
    pool = torch.from_numpy(masks.reshape(-1, *masks.shape[2:])) > 0

    def draw(images: Tensor, seed: int) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        while True:
            yield pool[torch.randint(len(pool), (len(images),), generator=generator)]

    return draw


def per_voxel(network: nn.Module) -> Draw:
    """Every voxel drawn alone from the probabilities of one network."""

    def draw(images: Tensor, seed: int) -> Iterator[Tensor]:
        chance = network(images).softmax(dim=1)[:, 1]
        generator = torch.Generator().manual_seed(seed)
        while True:
            yield torch.rand(chance.shape, generator=generator) < chance

    return draw


def ensemble(networks: Sequence[nn.Module]) -> Draw:
    """The mask of a member drawn at random, with replacement."""

    def draw(images: Tensor, seed: int) -> Iterator[Tensor]:
        masks = torch.stack([foreground(network(images)) for network in networks])
        generator = torch.Generator().manual_seed(seed)
        while True:
            picks = torch.randint(len(networks), (len(images),), generator=generator)
            yield masks[picks, torch.arange(len(images))]

    return draw


def dropout(network: nn.Module) -> Draw:
    """The masks of passes with dropout."""

    def draw(images: Tensor, seed: int) -> Iterator[Tensor]:
        with torch.random.fork_rng([]), switched_on(active_dropout(network)):
            torch.manual_seed(seed)
            while True:
                yield foreground(network(images))

    return draw


def probabilistic(model: ProbabilisticUNet) -> Draw:
    """One code per draw."""

    def draw(images: Tensor, seed: int) -> Iterator[Tensor]:
        yield from model.draws(images, torch.Generator().manual_seed(seed))

    return draw


def judge(draw: Draw, slices: Slices, n: int = DRAWS) -> list[dict[str, float | None]]:
    """Figures of every slice, from n masks each."""
    rows = []
    with torch.inference_mode():
        for begin in range(0, len(slices.images), 16):
            images = torch.from_numpy(slices.images[begin : begin + 16])[:, None]
            masks = islice(draw(images, 1_000_003 * (begin + 1)), n)
            drawn = torch.stack([mask.to(torch.uint8) for mask in masks], dim=1)
            raters = slices.masks[begin : begin + 16]
            rows += [_row(samples, own) for samples, own in zip(drawn.numpy(), raters, strict=True)]
    return rows


def _row(samples: NDArray[np.uint8], raters: NDArray[np.uint8]) -> dict[str, float | None]:
    distances = SampleDistances.of(samples, raters)
    few = distances.first(FEW)
    parts = np.array([largest_part(mask) for mask in samples])
    full = parts[~np.isnan(parts)]
    return {
        f"ged{FEW}": few.ged,
        f"ged{FEW}_unbiased": few.ged_unbiased,
        f"ged{len(samples)}": distances.ged,
        f"ged{len(samples)}_unbiased": distances.ged_unbiased,
        "diversity": distances.diversity,
        "rater_diversity": float(distances.raters.sum() / (RATERS * (RATERS - 1))),
        "coherent": float((full >= COHERENT).mean()) if len(full) else None,
        "empty": float(np.isnan(parts).mean()),
        "flooding": float((samples.reshape(len(samples), -1).mean(axis=1) > FLOOD).mean()),
    }


def summary(rows: Sequence[dict[str, float | None]], slices: Slices) -> dict[str, Any]:
    """Means with 95 % intervals over patients: of all slices, and by how many raters marked something."""
    empty = slices.empty_raters()
    groups = {"all": empty >= 0, "no rater empty": empty == 0, "some rater empty": empty > 0}
    groups |= {f"{RATERS - n} marked": empty == n for n in range(1, RATERS)}
    found: dict[str, Any] = {}
    for group, chosen in groups.items():
        own = [row for row, inside in zip(rows, chosen, strict=True) if inside]
        patients = slices.patients[chosen].tolist()
        found[group] = {"slices": len(own)}
        for name in rows[0]:
            values = np.array([math.nan if row[name] is None else row[name] for row in own], dtype=np.float64)

            def mean(picks: Sequence[int], values: NDArray[np.float64] = values) -> float:
                return float(values[list(picks)].mean()) if picks else math.nan

            found[group][name] = cluster_bootstrap(patients, mean, where=~np.isnan(values)).to_json()
    return found


def paired(
    rows: Sequence[dict[str, float | None]],
    first: Sequence[dict[str, float | None]],
    slices: Slices,
    chosen: NDArray[np.bool_] | None = None,
    draws: int = DRAWS,
) -> dict[str, float | int | None]:
    """Unbiased distance less that of the first source with the same raters, slice by slice."""
    name = f"ged{draws}_unbiased"
    own, other = (np.array([row[name] for row in each], dtype=np.float64) for each in (rows, first))
    inside = np.ones(len(own), dtype=bool) if chosen is None else chosen
    gain = (own - other)[inside]
    return cluster_bootstrap(
        slices.patients[inside].tolist(), lambda picks: float(gain[list(picks)].mean())
    ).to_json()


def choose(bench: Bench, judged: Slices) -> tuple[dict[str, float], dict[str, Any]]:
    """Dropout rate and weight of the divergence, by the unbiased distance at 16 masks."""

    def score(run: Run, draw: Callable[[nn.Module], Draw]) -> float:
        rows = judge(draw(bench.network(run)), judged, FEW)
        return float(np.mean([row[f"ged{FEW}_unbiased"] for row in rows]))

    plain = Run(kind="plain", raters=RATERS)
    probabilistic_run = replace(plain, kind="probabilistic")
    tried = {
        "dropout": {x: score(replace(plain, dropout=x), dropout) for x in CHOICES["dropout"]},
        "beta": {x: score(replace(probabilistic_run, beta=x), probabilistic) for x in CHOICES["beta"]},
    }
    best = {name: min(scores, key=lambda x: scores[x]) for name, scores in tried.items()}
    return best, {"tried": {k: {str(x): y for x, y in v.items()} for k, v in tried.items()}, "chosen": best}


def methods(
    best: dict[str, float], raters: int
) -> dict[str, tuple[list[Run], Callable[[list[nn.Module]], Draw]]]:
    """Every source of samples: the networks it needs, and how it draws."""
    plain = Run(kind="plain", raters=raters)
    table: dict[str, tuple[list[Run], Callable[[list[nn.Module]], Draw]]] = {}

    def low_rank(rank: int) -> None:
        run = replace(plain, kind="stochastic", rank=rank)
        table[f"stochastic, rank {rank}"] = ([run], lambda nets: stochastic(nets[0], rank))

    low_rank(10)
    table["per voxel"] = ([plain], lambda nets: per_voxel(nets[0]))
    table["one threshold"] = ([plain], lambda nets: one_threshold(nets[0]))
    table["Probabilistic U-Net"] = (
        [replace(plain, kind="probabilistic", beta=best["beta"])],
        lambda nets: probabilistic(nets[0]),
    )
    table["ensemble of 5"] = ([replace(plain, seed=seed) for seed in range(5)], ensemble)
    for rank in (5, 2, 0) if raters == RATERS else ():
        low_rank(rank)
    table["MC dropout"] = ([replace(plain, dropout=best["dropout"])], lambda nets: dropout(nets[0]))
    return table


def main() -> int:
    """Choose, train, judge, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=FOLDER)
    parser.add_argument("--cache", type=Path, default=Path("runs") / "lung-nodules", help="default: runs/...")
    parser.add_argument(
        "--out", type=Path, default=HERE.parent / "results", help="default: benchmarks/results"
    )
    args = parser.parse_args()

    def say(line: str) -> None:
        print(time.strftime("%H:%M:%S"), line, flush=True)

    train_slices = Slices.read("train", args.data)
    rest, judged = train_slices.divided(0.2)
    _, inner = rest.divided(0.5)  # a hash again: the patients between .2 and .5
    best, choices = choose(Bench(inner, args.cache, say), judged)
    say(f"chosen inside train: {best}")
    bench, test = Bench(train_slices, args.cache, say), Slices.read("test", args.data)
    result: dict[str, Any] = {
        "command": "python benchmarks/papers/monteiro.py",
        "data": {"train": bench.data, "test": digest([test]), "slices": len(test.images)},
        "patients": {"train": len(set(train_slices.patients)), "test": len(set(test.patients))},
        "budget": {**asdict(BUDGET), "passes": PASSES},
        "choices": choices,
        "methods": {},
    }
    first: list[dict[str, float | None]] = []
    for raters in (RATERS, 1):
        for name, (runs, drawing) in methods(best, raters).items():
            networks = [bench.network(run) for run in runs]
            key = hashlib.sha256("".join(str(bench.folder(run)) for run in runs).encode()).hexdigest()[:8]
            kept = bench.folder(runs[0]) / f"test-{key}-{name.split(',')[0].replace(' ', '-')}.json"
            if not kept.is_file():
                kept.write_text(json.dumps(judge(drawing(networks), test)), encoding="utf-8")
            rows = json.loads(kept.read_text(encoding="utf-8"))
            first = rows if name == FIRST else first
            found = {**summary(rows, test), "against the first": paired(rows, first, test)}
            seconds = sum(bench.seconds(run) for run in runs)
            result["methods"][f"{name}; {raters} rater{'s' * (raters > 1)}"] = {"seconds": seconds, **found}
            say(f"{name}; {raters}: GED(16) {found['all']['ged16']['value']:.4f}")
            write(result, args.out / "lung-nodules-stochastic.json")
    return 0


def write(result: dict[str, Any], path: Path) -> None:
    """Write what is known so far."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
