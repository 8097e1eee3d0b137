"""An adopted nnU-Net as a source of samples: each fold is a member, and the mask is that of nnU-Net."""

import gc
import math
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from segtrust.adapters.nnunet_run import NativeLogits, NnunetCase, NnunetRun
from segtrust.ensemble import RunningTotals, SampleStatistics, pooled_dice
from segtrust.errors import DeviceError
from segtrust.files import Reordering, StoppedError, check_stopped, current_limits, ras_reordering
from segtrust.files.geometry import STILL
from segtrust.inference.features import PooledFeatures
from segtrust.inference.scan import PreparedImage, Scan, content_box
from segtrust.models import ModelVersion
from segtrust.pairwise import SampleBits

__all__ = ["NnunetSource"]

_BYTE = 255  # structures whose labels fit into one
_SLAB = 1 << 25  # values of all classes in one slab
_MAPS = ("total", "within", "between", "variance", "votes")


class NnunetSource:
    """The folds of an nnU-Net, run by nnU-Net's own code.

    nnU-Net averages the logits of its folds on its own grid and takes the softmax after resampling. So does
    this source for ``mean``, whose argmax is therefore nnU-Net's mask; the maps between and within members
    compare the folds' own probabilities, each resampled likewise. Folds run one after the other; logits of
    all classes at the scan's own size lie in half precision, in a temporary file if they are many, and
    probabilities are made a slab at a time.

    Args:
        version: an opened version of an adopted nnU-Net.
        device: where networks run.
        precision: ``fp32`` as nnU-Net (which takes half precision on a GPU by itself), or ``bf16``.
        keep_members: keep the networks in memory between scans.

    Raises:
        ModelError: if nnU-Net is not installed, or the version is not of this kind.
    """

    def __init__(
        self,
        version: ModelVersion,
        device: torch.device,
        *,
        precision: str = "fp32",
        keep_members: bool = True,
    ) -> None:
        network = version.spec.network
        self._spec, self._members = version.spec, version.members
        self._run = NnunetRun(version.documents, network["configuration"], network["mirroring"], device)
        self._precision, self._keep = precision, keep_members
        self._networks: dict[int, nn.Module] = {}

    def __len__(self) -> int:
        return len(self._members)

    def sample(
        self, scan: Scan, progress: Callable[[int, int], None] | None = None
    ) -> tuple[PreparedImage, SampleStatistics]:
        """Run every fold on a scan.

        Args:
            scan: as read.
            progress: called with (folds done, folds in all).

        Returns:
            The scan as nnU-Net prepared it, its axes in the file's order, and the statistics on its own
            voxels.

        Raises:
            StoppedError: after the window at which nobody waited for the answer any more.
            DeviceError: if the device has too little memory.
        """
        self._check_size(scan)
        turn = ras_reordering(scan.affine) if self._run.turns else STILL
        grid = turn.grid(scan.grid)
        with tempfile.TemporaryDirectory(prefix="nnunet-") as folder:
            case = self._run.prepare(_reordered(scan.data, turn), grid.affine, grid.spacing)
            logits, features = self._folds(case, Path(folder), progress)
            statistics = self._pooled(logits, case)
        prepared = PreparedImage(
            image=self._run.as_file(case.data), box=content_box(scan.data), native_shape=scan.shape
        )
        return prepared, replace(_turned_back(statistics, turn), features=features)

    def _check_size(self, scan: Scan) -> None:
        mm = self._spec.spacing or ()
        if scan.spacing is not None and len(mm) == 3:  # the axes may be turned round: the product is the same
            voxels = math.prod(scan.shape) * math.prod(scan.spacing) / math.prod(mm)
            current_limits().check("max_grid_voxels", math.ceil(voxels), "the scan")

    def _folds(
        self, case: NnunetCase, folder: Path, progress: Callable[[int, int], None] | None
    ) -> tuple[list[NativeLogits], tuple[float, ...]]:
        """Logits of each fold at the scan's own size, and last of their mean."""
        features, native, total = PooledFeatures(), list[NativeLogits](), torch.empty(0)
        for index in range(len(self)):
            network = self._network(index)
            watched = _Stoppable(network, self._run.heads, self._precision)
            try:
                if index:
                    logits = self._run.logits(watched, case)
                else:
                    with features.watching(network):
                        logits = self._run.logits(watched, case)
            except torch.cuda.OutOfMemoryError as error:
                raise DeviceError(
                    f"the device has too little memory for a window of {self._run.patch}. Use device=cpu."
                ) from error
            if watched.stopped is not None:
                raise watched.stopped
            native.append(self._run.native(logits, case, folder))
            total = logits if index == 0 else total + logits  # in half precision, as nnU-Net sums them
            if progress:
                progress(index + 1, len(self))
        if len(self) > 1:
            native.append(self._run.native(total / len(self), case, folder))
        return native, features.values()

    def _pooled(self, logits: list[NativeLogits], case: NnunetCase) -> SampleStatistics:
        head, members = self._spec.head, logits[: len(self)]
        mean = torch.empty((self._run.heads, *case.shape))
        per_channel = (self._run.heads,) if head.kind == "sigmoid" else ()
        maps = {name: torch.empty((*per_channel, *case.shape)) for name in _MAPS[:3]}
        maps |= {name: torch.empty(case.shape) for name in _MAPS[3:]}
        views = {name: self._run.as_nnunet(whole) for name, whole in {"mean": mean, **maps}.items()}
        voxels, agreement = [], []
        structures = len(self._spec.labels)
        overlap = head.kind == "sigmoid"  # regions are compared as sets: the mask shows one of them
        if overlap:
            masks = torch.empty((len(self), structures, *case.shape), dtype=torch.bool)
        else:
            narrow = torch.int32 if structures > _BYTE else torch.uint8
            masks = torch.empty((len(self), *case.shape), dtype=narrow)
        mask_views = self._run.as_nnunet(masks)
        shape = logits[0].shape
        step = max(1, _SLAB // (self._run.heads * math.prod(shape[1:])))
        for start in range(0, shape[0], step):
            check_stopped()
            where = slice(start, min(start + step, shape[0]))
            totals = RunningTotals(
                head=head.kind, priority=head.priority, threshold=head.threshold, structures=head.structures
            )
            for mask, member in zip(mask_views, members, strict=True):
                probs = member.probabilities(where.start, where.stop)
                totals.add(probs)
                mask[..., where, :, :] = head.rule.sets(probs) if overlap else head.rule.labels(probs)
            slab = totals.finish()
            views["mean"][:, where] = logits[-1].probabilities(where.start, where.stop)
            for name in _MAPS:
                views[name][..., where, :, :] = getattr(slab, name)
            voxels.append(slab.sample_voxels)
            agreement.append(slab.agreement)
        bits = SampleBits(structures)
        for mask in masks:
            if overlap:
                bits.add_sets(mask.numpy())
            else:
                bits.add(mask.numpy())
        agreed = torch.stack([counts for counts in agreement if counts is not None]).sum(dim=0)
        return SampleStatistics(
            mean=mean,
            total=maps["total"],
            within=maps["within"],
            between=maps["between"],
            variance=maps["variance"],
            votes=maps["votes"],
            sample_voxels=torch.stack(voxels).sum(dim=0),
            pairwise_dice=torch.from_numpy(bits.dice()),
            pooled_pairwise_dice=pooled_dice(agreed),
            n_samples=len(self),
            agreement=agreed,
        )

    def _network(self, index: int) -> nn.Module:
        if not self._keep:
            gc.collect()
            return self._run.load(self._members[index])
        if index not in self._networks:
            self._networks[index] = self._run.load(self._members[index])
        return self._networks[index]


class _Stoppable(nn.Module):
    """Stands for a network in nnU-Net's loop over windows; leaves the rest of them out once work is ended.

    An exception in that loop would leave its second thread waiting for ever, so it is raised after the loop.
    """

    def __init__(self, network: nn.Module, channels: int, precision: str) -> None:
        super().__init__()
        self._network, self._channels, self._precision = network, channels, precision
        self.stopped: StoppedError | None = None

    def forward(self, window: Tensor) -> Tensor:
        if self.stopped is None:
            try:
                check_stopped()
            except StoppedError as error:
                self.stopped = error
        if self.stopped is not None:
            return window.new_zeros((len(window), self._channels, *window.shape[2:]))
        if self._precision != "bf16":
            out: Tensor = self._network(window)
            return out
        with torch.autocast(window.device.type, dtype=torch.bfloat16):
            out = self._network(window)
        return out.float()


def _turned_back(statistics: SampleStatistics, turn: Reordering) -> SampleStatistics:
    """Maps in the order of the file's voxels, if nnU-Net's reader turned them."""
    if turn.is_identity:
        return statistics
    back = turn.inverse
    return replace(
        statistics,
        mean=_reordered(statistics.mean, back),
        total=_reordered(statistics.total, back),
        within=_reordered(statistics.within, back),
        between=_reordered(statistics.between, back),
        variance=_reordered(statistics.variance, back),
        votes=_reordered(statistics.votes, back),
    )


def _reordered(whole: Tensor, turn: Reordering) -> Tensor:
    """``(X, Y, Z)`` or ``(C, X, Y, Z)`` with its spatial axes turned."""
    first = whole.ndim - 3
    flipped = whole.permute(*range(first), *(first + axis for axis in turn.axes))
    return flipped.flip([first + axis for axis, flip in enumerate(turn.flips) if flip]).contiguous()
