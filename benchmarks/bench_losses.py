"""Times every training loss, forward and backward, on one thread, and prints a Markdown table.

    python benchmarks/bench_losses.py

The batch is that of the hippocampus recipe. Losses take turns, so that a busy machine slows all alike; "kept"
is what autograd keeps for the backward pass, in units of the logits. For comparison, the last line times the
network of that recipe.
"""

import argparse
import platform
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from segtrust.inference.members import build_network
from segtrust.losses import LOSSES, parse_loss
from segtrust.training.run import Recipe

Timed = Callable[[Tensor, Tensor], Tensor]
SHAPE = [2, 3, 40, 56, 40]
SUM = "dice_ce + 0.3*hard_l1_ace"


def main() -> None:
    """Measure, then print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=31, help="timings per loss (default: 31)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    logits, labels = batch(SHAPE)
    losses: dict[str, Timed] = {**LOSSES, SUM: parse_loss(SUM)}
    times = measure(losses, logits, labels, args.rounds)
    step = network_time(SHAPE, rounds=5)
    print(f"{'x'.join(map(str, SHAPE))}, torch {torch.__version__}, {platform.machine()}, one thread\n")
    print("| loss | median ms | times `ce` | of the network | kept |\n|---|---|---|---|---|")
    for name, loss in losses.items():
        ratio = times[name] / times["ce"]
        share = f"{1e3 * times[name]:.1f} | {ratio:.1f} | {100 * times[name] / step:.1f} %"
        print(f"| `{name}` | {share} | {kept(loss, logits, labels):.1f} |")
    print(f"| the network | {1e3 * step:.0f} | {step / times['ce']:.0f} | 100 % | |")


def batch(shape: list[int]) -> tuple[Tensor, Tensor]:
    """Balls of every class and the logits of a network that nearly knows them."""
    generator = torch.Generator().manual_seed(0)
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in shape[2:]), indexing="ij")
    distance = torch.stack(axes).square().sum(dim=0).sqrt()
    ball = ((1 - distance).clamp(0, 1) * shape[1]).long().clamp(max=shape[1] - 1)
    labels = ball.repeat(shape[0], 1, 1, 1)
    truth = torch.nn.functional.one_hot(labels, shape[1]).movedim(-1, 1)
    return 4 * truth + 2 * torch.randn(shape, generator=generator), labels


def measure(losses: dict[str, Timed], logits: Tensor, labels: Tensor, rounds: int) -> dict[str, float]:
    """Median seconds of forward and backward."""
    times: dict[str, list[float]] = {name: [] for name in losses}
    for _ in range(rounds):
        for name, loss in losses.items():
            leaf = logits.clone().requires_grad_()
            start = time.process_time()
            loss(leaf, labels).backward()
            times[name].append(time.process_time() - start)
    return {name: median(values) for name, values in times.items()}


def network_time(shape: list[int], *, rounds: int) -> float:
    """Median seconds of forward and backward of the hippocampus network."""
    network = build_network(Recipe.read("hippocampus").spec)
    times = []
    for _ in range(rounds):
        image = torch.randn(shape[0], 1, *shape[2:])
        start = time.process_time()
        network(image).square().mean().backward()
        times.append(time.process_time() - start)
    return median(times)


def kept(loss: Timed, logits: Tensor, labels: Tensor) -> float:
    """Bytes that autograd keeps, divided by those of the logits; shared storage counts once."""
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    leaf = logits.clone().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss(leaf, labels)
    own = {leaf.untyped_storage().data_ptr(), labels.untyped_storage().data_ptr()}
    return sum(size for place, size in storages.items() if place not in own) / leaf.nbytes


if __name__ == "__main__":
    main()
