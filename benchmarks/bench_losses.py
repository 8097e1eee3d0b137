"""Times every training loss, forward and backward, on one thread, and prints a Markdown table.

    python benchmarks/bench_losses.py

The batch is that of the hippocampus recipe. Losses take turns, so that a busy machine slows all alike; "kept"
is what autograd keeps for the backward pass, in units of the logits.
"""

import argparse
import platform
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from segtrust.losses import LOSSES, parse_loss

Timed = Callable[[Tensor, Tensor], Tensor]
SUM = "dice_ce + 0.3*hard_l1_ace"


def main() -> None:
    """Measure, then print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=31, help="timings per loss (default: 31)")
    parser.add_argument("--shape", type=int, nargs="+", default=[2, 3, 40, 56, 40], help="B C *spatial")
    args = parser.parse_args()
    torch.set_num_threads(1)
    logits, labels = batch(args.shape)
    losses: dict[str, Timed] = {**LOSSES, SUM: parse_loss(SUM)}
    times = measure(losses, logits, labels, args.rounds)
    print(f"{'x'.join(map(str, args.shape))}, torch {torch.__version__}, {platform.machine()}, one thread\n")
    print("| loss | median ms | times ce | kept |\n|---|---|---|---|")
    for name, loss in losses.items():
        ratio = times[name] / times["ce"]
        print(f"| `{name}` | {1e3 * times[name]:.1f} | {ratio:.1f} | {kept(loss, logits, labels):.1f} |")


def batch(shape: list[int]) -> tuple[Tensor, Tensor]:
    """Balls of every class and the logits of a network that nearly knows them."""
    generator = torch.Generator().manual_seed(0)
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in shape[2:]), indexing="ij")
    distance = torch.stack(axes).square().sum(dim=0).sqrt()
    labels = ((1 - distance).clamp(0, 1) * shape[1]).long().clamp(max=shape[1] - 1).repeat(shape[0], 1, 1, 1)
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
