"""Trains the network that finds both hippocampi in whole heads, on images made from label maps; resumes.

    python benchmarks/train_heads.py --runs runs

Label maps: `../shared/data/head_label_maps` (20 maps of BBillot/SynthSeg, Apache-2.0). Those in `HELD_OUT`
are never trained on: the limits of the search are fitted to images made from them. Step n draws from its own
generator, seeded with (seed, n), so that a run that was stopped goes on as if it had not been.
`docs/decisions/0022-whole-heads.md` says what for.
"""

import argparse
import copy
import math
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from segtrust.evaluate.records import software_versions
from segtrust.experiments.head_synthesis import GRID_MM, HeadMap, HeadSample, read_head_map, synthesise
from segtrust.inference.finder import (
    Finder,
    FinderRule,
    Sighting,
    both_views,
    normalise_head,
    side_shares,
    sightings,
)
from segtrust.inference.members import build_network, load_member, save_weights
from segtrust.models import Label, ModelSpec, publish_version

__all__ = [
    "HELD_OUT",
    "LEAST_MARGIN_MM",
    "MAPS",
    "SEED",
    "SPEC",
    "STEPS",
    "Judged",
    "fit_rule",
    "held_out_maps",
    "held_out_sightings",
    "load_network",
    "trained_network",
]

MAPS = Path("../shared/data/head_label_maps/labels")
HELD_OUT = (
    "training_seg_03.nii.gz",
    "training_seg_08.nii.gz",
    "training_seg_13.nii.gz",
    "training_seg_18.nii.gz",
)
SEED, STEPS = 20261130, 1800
_RATE, _WARM, _AVERAGE = 2e-3, 100, 0.998
_EVERY = 100
_PERIOD = 2500
_HELD_OUT_SEED = 7
_RIGHT_MM = 8.0
_TAIL = 0.0025
LEAST_MARGIN_MM = 3.0

SPEC = ModelSpec(
    name="hippocampus-heads",
    labels=(
        Label("left hippocampus", 1, 17, (230, 159, 0)),
        Label("right hippocampus", 2, 53, (86, 180, 233)),
    ),
    network={
        "_target_": "segtrust.inference.finder_network.FinderNetwork",
        "channels": [8, 16, 40, 64],
        "classes": 3,
    },
    patch=(48, 56, 56),
    channels=("T1",),
    spacing=(4.0, 4.0, 4.0),
    members=1,
    modality="MR T1",
    description="anterior and posterior hippocampus, left and right, in whole heads: T1-weighted MRI",
)
"""The network that looks for the hippocampi."""


def loss_of(shares: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy with the shares of each voxel, and one minus Dice of the two sides together and alone."""
    cross = -(target * shares.clamp_min(1e-6).log()).sum(0)
    weighted = cross * (1 + 8 * target[1:].sum(0))
    over = (1, 2, 3)
    both, drawn = shares[1:], target[1:]
    dice = (2 * (both * drawn).sum(over) + 4) / (both.sum(over) + drawn.sum(over) + 4)
    return weighted.mean() * 5 + (1 - dice).mean()


def rate_of(step: int, steps: int) -> float:
    """Learning rate of a step: it rises, stays about the same, and falls in the last 4/9 of the steps."""
    warm = min(1.0, (step + 1) / _WARM)
    falling = steps - steps * 4 // 9
    flat = 0.5 * (1 + math.cos(math.pi * min(step, falling) / _PERIOD))
    return _RATE * warm * flat * min(1.0, (steps - step) / (steps - falling))


def _sample(maps: list[HeadMap], seed: int, step: int) -> HeadSample:
    return synthesise(maps, torch.Generator().manual_seed(seed * 1_000_003 + step))


def held_out_maps(folder: Path = MAPS) -> list[HeadMap]:
    """The label maps that were not trained on."""
    return [read_head_map(folder / name) for name in HELD_OUT]


def trained_network(folder: Path, runs: Path, *, steps: int = STEPS, seed: int = SEED) -> nn.Module:
    """Train, or go on with a training that was stopped.

    Args:
        folder: of the label maps.
        runs: gets ``heads/checkpoint-SEED-STEPS.pt`` while it trains.
        steps: images to see.
        seed: of weights and images.

    Returns:
        The running average of the weights, in evaluation mode.
    """
    torch.manual_seed(seed)
    network = build_network(SPEC)
    average = copy.deepcopy(network)
    optimiser = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=1e-4)
    checkpoint = runs / "heads" / f"checkpoint-{seed}-{steps}.pt"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    first = 0
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)  # noqa: TID251  # written here
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        first = state["step"]
    if first < steps:
        names = (path for path in sorted(folder.glob("*.nii.gz")) if path.name not in HELD_OUT)
        maps = [read_head_map(path) for path in names]
    started, losses = time.perf_counter(), []
    for step in range(first, steps):
        for group in optimiser.param_groups:
            group["lr"] = rate_of(step, steps)
        sample = _sample(maps, seed, step)
        loss = loss_of(side_shares(network, normalise_head(sample.image)), sample.target)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        keep = min(_AVERAGE, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, now in zip(average.parameters(), network.parameters(), strict=True):
                mean.lerp_(now, 1 - keep)
        losses.append(float(loss.detach()))
        if (step + 1) % _EVERY == 0 or step + 1 == steps:
            state = {"network": network.state_dict(), "average": average.state_dict()}
            part = checkpoint.with_suffix(".part")
            torch.save({**state, "optimiser": optimiser.state_dict(), "step": step + 1}, part)
            part.replace(checkpoint)
            pace = (time.perf_counter() - started) / (step + 1 - first)
            print(
                f"{step + 1}/{steps}: loss {sum(losses) / len(losses):.3f}, {pace:.2f} s a step", flush=True
            )
            losses = []
    return average.eval().requires_grad_(False)


@dataclass(frozen=True)
class Judged:
    """What the search saw of one side of one held-out image.

    ``error_mm``: how far from the truth; ``None`` if there is none, or nothing was seen. ``whole``: the
    hippocampus is in the image and at least 3 mm from its border.
    """

    kind: str
    sighting: Sighting
    error_mm: float | None
    whole: bool


def held_out_sightings(network: nn.Module, maps: list[HeadMap], images: int, first: int = 0) -> list[Judged]:
    """Run the search on images from label maps that were not trained on.

    Args:
        network: of :func:`trained_network`.
        maps: of :func:`held_out_maps`.
        images: how many.
        first: number of the first; those of another range are other images.

    Returns:
        Two entries for each image.
    """
    judged = []
    for number in range(first, first + images):
        sample = _sample(maps, _HELD_OUT_SEED, number)
        with torch.inference_mode():
            views = both_views(network, normalise_head(sample.image))
        for sighting, truth in zip(sightings(*views, mm=GRID_MM), sample.target[1:].numpy(), strict=True):
            inside = truth > 0.5
            if not inside.any():
                judged.append(Judged(sample.kind, sighting, None, whole=False))
                continue
            places = np.argwhere(inside)
            margin = min(places.min(), (np.array(truth.shape) - 1 - places).min()) * GRID_MM
            centre = np.average(np.argwhere(truth > 0), axis=0, weights=truth[truth > 0])
            error = (
                None if sighting.centre is None else GRID_MM * float(np.linalg.norm(sighting.centre - centre))
            )
            judged.append(Judged(sample.kind, sighting, error, whole=bool(margin >= LEAST_MARGIN_MM)))
    return judged


def load_network(finder: Finder) -> nn.Module:
    """The network of a published search."""
    return load_member(finder.spec, finder.version.members[0])


def fit_rule(judged: list[Judged]) -> FinderRule:
    """The limits of the decision, from held-out images.

    Args:
        judged: of :func:`held_out_sightings`.

    Returns:
        The rule: each of four limits lets 99.75 % of the whole hippocampi pass that were seen within 8 mm.
    """
    seen = [j.sighting for j in judged if j.whole and j.error_mm is not None and j.error_mm <= _RIGHT_MM]
    views = [s.views_mm for s in seen if s.views_mm is not None]
    low, high = _TAIL, 1 - _TAIL
    masses = [s.mass for s in seen]
    return FinderRule(
        crops="hippocampus",
        box_mm=(35.0, 50.0, 36.0),  # medians of the crops of *train*
        from_mass_mm=(2.9, -0.9, 2.8),
        low_margins_mm=(6.0, 5.0, 5.0),  # medians of *train*
        high_margins_mm=(7.0, 6.0, 5.0),
        mass=(round(float(np.quantile(masses, low)), 1), round(float(np.quantile(masses, high)), 1)),
        least_peak=round(float(np.quantile([s.peak for s in seen], low)), 3),
        most_second=round(float(np.quantile([s.second for s in seen], high)), 3),
        most_views_mm=round(float(np.quantile(views, high)), 1),
        least_margin_mm=LEAST_MARGIN_MM,
        apart_mm=(33.0, 69.0),  # 41 to 55 in the 20 maps
        leftwards_mm=(32.6, 67.0),
        volume_ml=(1.2, 8.8),  # 2.4 to 4.4 in *train*
        most_moved_mm=12.0,
    )


def main() -> int:
    """Train, fit the limits, and publish."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--maps", type=Path, default=MAPS)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="default: runs")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--images", type=int, default=300, help="held-out images, for the limits")
    parser.add_argument(
        "--publish", type=Path, help="folder of finders, such as lib/segtrust/shipped/finders"
    )
    args = parser.parse_args()
    network = trained_network(args.maps, args.runs, steps=args.steps, seed=args.seed)
    out = args.runs / "heads" / f"finder-{args.seed}-{args.steps}.safetensors"
    save_weights(network, out)
    print(f"{out}: {out.stat().st_size} bytes")
    if args.publish is None:
        return 0
    judged = held_out_sightings(network, held_out_maps(args.maps), args.images)
    rule = fit_rule(judged)
    card = {
        "name": SPEC.name,
        "parent": None,
        "recipe": {"steps": args.steps, "seeds": [args.seed], "held_out": list(HELD_OUT)},
        "data": "20 label maps of BBillot/SynthSeg (Apache-2.0), 4 of them held out for the limits",
        "command": f"python benchmarks/train_heads.py --seed {args.seed} --steps {args.steps}",
        "software": software_versions(),
        "limits": {"images": args.images, "share_let_through_by_each": 1 - _TAIL},
    }
    version = publish_version(
        args.publish / SPEC.name, SPEC, [out], {}, card, documents={"finder.json": asdict(rule)}
    )
    print(f"{SPEC.name} {version.id}: {rule}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
