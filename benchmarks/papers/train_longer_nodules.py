"""A longer training of the stochastic network on lung nodules, and of a plain one to hold it against.

    python benchmarks/papers/train_longer_nodules.py

Goes on with two networks of monteiro.py on all of train, at the same budget: the stochastic one with the
energy score of all four raters, the plain one with the cross-entropy of their mean. Stop it at any time: it
goes on where it was. Nothing else than train is read, and nothing is chosen.
"""

import argparse
import hashlib
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lung_nodules import FOLDER, RATERS, SIZE, Slices, digest, spec_of
from monteiro import Bench, Run
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # its usual name

from segtrust.inference.members import load_member, save_weights
from segtrust.models import ModelSpec
from segtrust.stochastic import LogitDistribution

__all__ = ["PLAIN", "RANK", "STOCHASTIC", "Plan", "energy_score", "folder_of", "network_of", "seconds_of"]

CODE = 1  # raised when a change of the code changes what a network computes
RANK = 10
SHIFT = 4  # pixels by which a crop is moved at most
DRAWS = 6
EVERY = 200  # steps between two checkpoints


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One training, from the weights of the network ``run`` on.

    ``loss``: ``energy`` (:func:`energy_score` of all raters), or ``ce`` (cross-entropy of their mean).
    """

    loss: str
    run: Run
    steps: int = 1000
    batch: int = 16
    learning_rate: float = 2e-3
    average: float = 0.995
    weight_decay: float = 1e-4
    seed: int = 0


STOCHASTIC = Plan(loss="energy", run=Run(kind="stochastic", raters=RATERS, rank=RANK))
PLAIN = Plan(loss="ce", run=Run(kind="plain", raters=RATERS))


def energy_score(channels: Tensor, raters: Tensor, *, rank: int, draws: int = DRAWS) -> Tensor:
    r"""Energy score of a low-rank Gaussian over logits for the masks of several raters; low is good.

    .. math:: 2 E\,d(S, Y) - E\,d(S, S'), \quad
              d(p, q) = 1 - \frac{1 + \sum \min(p, q)}{1 + \sum \max(p, q)}

    The distance of two soft masks is that of Ruzicka, with one pixel that all masks share, so that two empty
    masks agree and slopes are finite. It is of negative type: in expectation the raters' own distribution has
    the lowest score. It is the generalised energy distance of the benchmark up to a constant, for draws whose
    pixels are nearly 0 or 1.

    Args:
        channels: ``(B, 2 (2 + R), H, W)``.
        raters: masks ``(B, M, H, W)``, 0 or 1.
        rank: R.
        draws: independent draws per slice; pairs of different draws alone are compared.

    Returns:
        Scalar, mean over slices. Noise comes from torch's global generator.
    """
    distribution = LogitDistribution.from_channels(channels, rank)
    mean = (distribution.mean[:, 1] - distribution.mean[:, 0]).flatten(1)
    factors = (distribution.factors[:, :, 1] - distribution.factors[:, :, 0]).flatten(2)
    spread = distribution.log_variance.exp().sum(dim=1).sqrt().flatten(1)
    shared = torch.randn(len(mean), draws, rank)
    alone = torch.randn(len(mean), draws, mean.shape[1])
    drawn = torch.sigmoid(mean[:, None] + torch.bmm(shared, factors) + alone * spread[:, None])
    truth = raters.flatten(2).to(drawn.dtype)
    sizes, true_sizes = drawn.sum(dim=2), truth.sum(dim=2)
    both = torch.bmm(drawn, truth.transpose(1, 2))
    cross = _distance(both, sizes[:, :, None] + true_sizes[:, None])
    first, second = torch.triu_indices(draws, draws, offset=1)
    shared_by_two = torch.minimum(drawn[:, first], drawn[:, second]).sum(dim=2)
    among = _distance(shared_by_two, sizes[:, first] + sizes[:, second])
    return 2 * cross.mean() - among.mean()


def _distance(both: Tensor, total: Tensor) -> Tensor:
    return 1 - (1 + both) / (1 + total - both)


class Crops:
    """Batches of slices with all raters, moved, mirrored, turned and a little brighter or darker."""

    def __init__(self, folder: Path) -> None:
        with np.load(folder / "train.npz") as file:
            self.images, self.bits = file["images"], file["masks_bits"]

    def batch(self, rows: NDArray[np.int64], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Images ``(B, 1, 64, 64)`` and masks ``(B, 4, 64, 64)``."""
        edge = (self.images.shape[1] - SIZE) // 2
        pairs = []
        for row in rows:
            top, left = edge + rng.integers(-SHIFT, SHIFT + 1, 2)
            cut = (slice(top, top + SIZE), slice(left, left + SIZE))
            pair = np.stack([self.images[row][cut], self.bits[row][cut]])
            pair = np.rot90(pair, rng.integers(4), axes=(1, 2))
            pairs.append(pair[:, :, ::-1] if rng.integers(2) else pair)
        stack = torch.from_numpy(np.stack(pairs))
        gain, offset = (torch.from_numpy(rng.normal(0, s, len(rows))).float() for s in (0.1, 0.03))
        images = stack[:, 0].float() / 255
        images = (images * (1 + gain)[:, None, None] + offset[:, None, None]).clamp(0, 1)
        masks = torch.stack([(stack[:, 1] >> rater) & 1 for rater in range(RATERS)], dim=1)
        return images[:, None], masks

    def rows(self, plan: Plan, begin: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Steps from ``begin`` on, and the slices of each: all slices in turn, in another order each time."""
        per_pass = len(self.images) // plan.batch
        for step in range(begin, plan.steps):
            turn, place = divmod(step, per_pass)
            order = np.random.default_rng([plan.seed, turn]).permutation(len(self.images))
            yield step, order[place * plan.batch : (place + 1) * plan.batch]


def loss_of(plan: Plan, channels: Tensor, raters: Tensor) -> Tensor:
    """What a step minimises."""
    if plan.loss == "energy":
        return energy_score(channels, raters, rank=RANK)
    share = raters.float().mean(dim=1)
    return F.binary_cross_entropy_with_logits(channels[:, 1] - channels[:, 0], share)


def train_plan(plan: Plan, spec: ModelSpec, crops: Crops, initial: Path, folder: Path) -> Path:
    """Train one network, or go on with it.

    Args:
        plan: how.
        spec: of the network.
        crops: to learn from.
        initial: weights to start from.
        folder: gets checkpoint and result.

    Returns:
        Path of ``member.safetensors``; beside it ``seconds.json`` and ``log.txt``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    result, checkpoint = folder / "member.safetensors", folder / "checkpoint.pt"
    if result.is_file():
        return result
    torch.manual_seed(plan.seed)
    network = load_member(spec, initial).requires_grad_(True)
    network = network.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    warm = max(1, int(0.03 * plan.steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda s: min((s + 1) / warm, 0.5 * (1 + math.cos(math.pi * min(1.0, s / plan.steps))))
    )
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(plan.average), use_buffers=True
    )
    parts: dict[str, Any] = {
        "network": network,
        "optimiser": optimiser,
        "schedule": schedule,
        "average": average,
    }
    begin, spent = 0, 0.0
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)  # noqa: TID251  # own checkpoint
        for name, part in parts.items():
            part.load_state_dict(state[name])
        begin, spent = state["step"], state["spent"]
    network.train()
    clock, losses = time.process_time(), []
    for step, rows in crops.rows(plan, begin):
        torch.manual_seed(plan.seed * 1_000_003 + step)
        images, raters = crops.batch(rows, np.random.default_rng([plan.seed, step, 1]))
        optimiser.zero_grad(set_to_none=True)
        loss = loss_of(plan, network(images.contiguous(memory_format=torch.channels_last)), raters)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 12.0)
        optimiser.step()
        schedule.step()
        average.update_parameters(network)
        losses.append(loss.item())
        if (step + 1) % EVERY == 0 or step + 1 == plan.steps:
            seconds = spent + time.process_time() - clock
            state = {name: part.state_dict() for name, part in parts.items()}
            torch.save({**state, "step": step + 1, "spent": seconds}, checkpoint.with_suffix(".part"))
            checkpoint.with_suffix(".part").replace(checkpoint)
            with (folder / "log.txt").open("a", encoding="utf-8") as log:
                log.write(f"{step + 1}/{plan.steps} {np.mean(losses):.4f} {seconds:.0f} s\n")
            losses = []
    (folder / "seconds.json").write_text(f"{spent + time.process_time() - clock:.1f}", encoding="utf-8")
    save_weights(average.module, result)
    checkpoint.unlink(missing_ok=True)
    return result


def folder_of(plan: Plan, train: Slices, cache: Path) -> Path:
    """Where a network lies."""
    text = json.dumps([asdict(plan), SHIFT, DRAWS, CODE, digest([train])], sort_keys=True)
    return cache / f"longer-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def network_of(plan: Plan, cache: Path, data: Path = FOLDER) -> tuple[nn.Module, Path]:
    """A network in evaluation mode, and its folder; trained if it is not there.

    Args:
        plan: its training.
        cache: of trained networks, that of monteiro.py too.
        data: folder of the slices.

    Returns:
        Network and folder.
    """
    train = Slices.read("train", data)
    folder, spec = folder_of(plan, train, cache), spec_of("lung-nodules", rank=plan.run.rank)
    if not (folder / "member.safetensors").is_file():
        bench = Bench(train, cache, print)
        bench.network(plan.run)
        train_plan(plan, spec, Crops(data), bench.folder(plan.run) / "member.safetensors", folder)
    return load_member(spec, folder / "member.safetensors"), folder


def seconds_of(plan: Plan, cache: Path, data: Path = FOLDER) -> float:
    """CPU time of a training and of the one before it."""
    train = Slices.read("train", data)
    own = (folder_of(plan, train, cache) / "seconds.json").read_text(encoding="utf-8")
    return float(own) + Bench(train, cache, print).seconds(plan.run)


def main() -> int:
    """Train both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=FOLDER)
    parser.add_argument("--cache", type=Path, default=Path("runs") / "lung-nodules", help="default: runs/...")
    args = parser.parse_args()
    for plan in (STOCHASTIC, PLAIN):
        print(network_of(plan, args.cache, args.data)[1], flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
