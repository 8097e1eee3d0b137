"""Probabilities of members, kept on disk: no network runs twice on the same scan."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from segtrust.calibrators.voxels import CLAMP
from segtrust.inference.members import load_member
from segtrust.inference.sources import Slide
from segtrust.models import ModelSpec

__all__ = ["KeptSource"]

CODE = 1
"""Raise this when a change of the code changes what a network answers; older files are not read then."""


@dataclass(frozen=True)
class KeptSource:
    """One sample per member, like an ensemble; what a member answered once is read from ``cache``.

    Kept are logarithms in float16: they hold a chance of error of 1 in 10,000 to three digits, which the
    probability next to it would round to 0 or 1 in 2,000.

    Args:
        spec: the members' specification.
        members: their weights.
        cache: folder; files are named by weights, specification, prepared image and code.
    """

    spec: ModelSpec
    members: Sequence[Path]
    cache: Path

    def __len__(self) -> int:
        return len(self.members)

    def samples(self, image: Tensor, slide: Slide) -> Iterator[Tensor]:
        """Yield ``(K, *grid)`` probabilities, one member at a time; the same now and when read again."""
        scan = _digest(str(tuple(image.shape)).encode(), image.cpu().contiguous().numpy().tobytes())
        for member, key in zip(self.members, self._keys, strict=True):
            path = self.cache / key / f"{scan}.npy"
            if not path.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                probs = slide(load_member(self.spec, member).to(image.device), image).cpu()
                part = path.with_suffix(f".{os.getpid()}.part.npy")
                np.save(part, probs.clamp_min(CLAMP).log().half().numpy())
                part.replace(path)
            stored = torch.from_numpy(np.load(path)).to(image.device).float().exp()
            yield stored / stored.sum(dim=0) if self.spec.head.kind == "softmax" else stored

    @cached_property
    def _keys(self) -> tuple[str, ...]:
        spec = json.dumps({"code": CODE, **self.spec.to_json()}, sort_keys=True).encode()
        return tuple(_digest(spec, path.read_bytes()) for path in self.members)


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()[:24]
