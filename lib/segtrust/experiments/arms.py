"""Ways to predict the same scans, compared: members, mirrored views, dropout passes, stochastic draws."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from segtrust.calibrators.voxels import CLAMP
from segtrust.errors import SettingError
from segtrust.evaluate.probabilities import KeptSource
from segtrust.inference.members import load_member
from segtrust.inference.scan import PreparedScan
from segtrust.inference.sources import DropoutSource, FlipSource, SampleSource, Slide, StochasticSource
from segtrust.inference.windows import head_probabilities, slide
from segtrust.models import ModelSpec

__all__ = ["Arm"]

SourceKind = Literal["members", "views", "dropout", "draws"]

CODE = 1
"""Raise this when a change of the code changes what an arm answers; older files are not read then."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to predict: where samples come from, and how many of them are averaged.

    Args:
        name: in tables.
        spec: of the members.
        members: group of scans -> weights that never saw it.
        kind: ``members``: one sample each. Of the first member alone: ``views``, mirrored along ``axes``;
            ``dropout``, passes with dropout; ``draws`` of a stochastic head, an even number.
        sizes: numbers of samples whose mean is asked for, ascending.
        axes: that views are mirrored along; n axes make 2^n views.

    Raises:
        SettingError: if a group has fewer members than are to be averaged, or ``sizes`` do not fit the kind.
    """

    name: str
    spec: ModelSpec
    members: Mapping[str, tuple[Path, ...]]
    kind: SourceKind = "members"
    sizes: tuple[int, ...] = (1,)
    axes: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        if not self.sizes or list(self.sizes) != sorted(set(self.sizes)) or self.sizes[0] < 1:
            raise SettingError(f"`sizes` must be numbers of samples, ascending, got {self.sizes}.")
        least = self.sizes[-1] if self.kind == "members" else 1
        if few := [group for group, paths in self.members.items() if len(paths) < least]:
            raise SettingError(
                f"the arm {self.name!r} must have at least {least} members for every group, "
                f"{', '.join(few)} has fewer. Train more or ask for smaller sizes."
            )
        views = int(2 ** len(self.axes))
        if self.kind == "views" and self.sizes[-1] > views:
            raise SettingError(f"{len(self.axes)} axes make {views} views, got sizes {self.sizes}.")

    def means(self, prepared: PreparedScan, group: str, cache: Path) -> dict[int, Tensor]:
        """Mean probabilities of one scan for every size.

        Args:
            prepared: the scan.
            group: which members predict it.
            cache: folder of runs; what was computed once is read from it.

        Returns:
            Size -> ``(C, X, Y, Z)`` float32 on the scan's own grid, padding being background.

        Note:
            Kept as logarithms in float16, as :class:`~segtrust.evaluate.probabilities.KeptSource` does.
        """
        image = prepared.image.cpu().contiguous()
        scan = _digest(str(tuple(image.shape)).encode(), image.numpy().tobytes())
        path = cache / "arms" / "means" / self.key(group) / f"{scan}.npy"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            stacked = torch.stack(list(self._running_means(image, group, cache)))
            part = path.with_suffix(f".{os.getpid()}.part.npy")
            np.save(part, stacked.clamp_min(CLAMP).log().half().numpy())
            part.replace(path)
        stored = torch.from_numpy(np.load(path)).float().exp()
        return {
            size: prepared.to_native(mean / mean.sum(dim=0), background=0)
            for size, mean in zip(self.sizes, stored, strict=True)
        }

    def key(self, group: str) -> str:
        """Name everything that the means of a group follow from, but the scan."""
        settings = {"code": CODE, "kind": self.kind, "sizes": self.sizes, "spec": self.spec.to_json()}
        if self.kind == "views":
            settings["axes"] = self.axes
        weights = [path.read_bytes() for path in self._used(group)]
        return _digest(json.dumps(settings, sort_keys=True).encode(), *weights)

    def source(self, group: str, cache: Path) -> SampleSource:
        """Where samples of a group come from; what members answer is kept as experiments keep it."""
        used, most = self._used(group), self.sizes[-1]
        stored = KeptSource(self.spec, used, cache / "probabilities")
        if self.kind == "members":
            return stored
        if self.kind == "views":
            return _Views(stored, self.axes)
        if self.kind == "dropout":
            return DropoutSource(load_member(self.spec, used[0]), passes=most)
        if self.spec.head.rank is None:
            raise SettingError(f"draws need a stochastic head, the spec of {self.name!r} has none.")
        to_probs = partial(head_probabilities, head=self.spec.head)
        members = [partial(load_member, self.spec, path) for path in used]
        return StochasticSource(members, self.spec.head.rank, to_probs, draws=most)

    def _used(self, group: str) -> tuple[Path, ...]:
        return self.members[group][: self.sizes[-1] if self.kind == "members" else 1]

    def _running_means(self, image: Tensor, group: str, cache: Path) -> Iterator[Tensor]:
        total = torch.zeros(0)
        samples = self.source(group, cache).samples(image, partial(slide, spec=self.spec))
        for number, sample in enumerate(samples, start=1):
            total = sample.clone() if number == 1 else total.add_(sample)
            if number in self.sizes:
                yield total / number


@dataclass(frozen=True)
class _Views:
    """Mirrored views by the one member of a source that keeps what it answered."""

    stored: KeptSource
    axes: tuple[int, ...]

    def __len__(self) -> int:
        return int(2 ** len(self.axes))

    def samples(self, image: Tensor, slide: Slide) -> Iterator[Tensor]:
        """Yield one sample per view."""
        # Identity stands in for the member, which `stored` loads if it must
        mirrored = FlipSource(nn.Identity(), self.axes)
        yield from mirrored.samples(image, lambda _, view: next(self.stored.samples(view, slide)))


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:24]
