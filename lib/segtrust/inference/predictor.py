"""The one core: a scan in, a prediction out."""

import gc
import threading
import zlib
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from segtrust.adapters.nnunet_results import NNUNET
from segtrust.calibrators import Calibrator, Identity, calibrate_scan, calibrator_from_json, has_unit
from segtrust.decisions import label_type
from segtrust.ensemble import RunningTotals, SampleStatistics, unit_map
from segtrust.error_flags import sample_scores
from segtrust.errors import DeviceError, SettingError
from segtrust.inference.features import PooledFeatures
from segtrust.inference.flags import calibration_flags, content_flags, input_flags, unlike_flags
from segtrust.inference.members import check_device, load_member
from segtrust.inference.nnunet import NnunetSource
from segtrust.inference.prediction import Prediction
from segtrust.inference.sample_masks import SampleMasks
from segtrust.inference.scan import (
    PreparedImage,
    PreparedScan,
    Scan,
    assumed_spacing,
    prepare,
    read_scan,
)
from segtrust.inference.sources import (
    DrawBound,
    EnsembleSource,
    FlipSource,
    SampleSource,
    StochasticSource,
)
from segtrust.inference.structures import summarise_structures
from segtrust.inference.windows import head_probabilities, slide
from segtrust.models import ModelSpec, ModelVersion
from segtrust.quality import CONFIDENCE, Assessment, ContourRule, Features, FineRule, Quality, scan_features
from segtrust.regions import distance_to, in_band
from segtrust.scores import ScanScores, score_scan
from segtrust.slices import SliceHint, review_axis, slices_to_review
from segtrust.uncertainty import entropy, summarise_channels

__all__ = ["Predictor", "pooled_samples"]

Progress = Callable[[int, int], None]

# what is tried, one after the other, when a GPU runs out of memory: windows per batch, members kept, totals
# on the CPU
_LADDER = (
    ("as set", 2, True, False),
    ("one window at a time", 1, True, False),
    ("one window and one member at a time", 1, False, False),
    ("one window and one member at a time, totals on the CPU", 1, False, True),
)


class Predictor:
    """Runs one version of a model; safe to call from several threads, which take turns.

    Args:
        version: an opened version.
        device: ``auto``, ``cpu``, ``cuda``, ...
        precision: ``fp32`` or ``bf16``.
        keep_members: keep the networks in memory between scans; ``False`` loads one at a time.
        source: another source of samples; the version's members unless given.
        calibrator: another calibrator; the version's own unless given.
        fine: what counts as bad in verdicts, and how often.
        contours: how often contours are right, and for how much of a structure.
        confidence: share of calibration sets for which confident intervals hold.

    Raises:
        DeviceError: if the device does not exist.
        ModelError: if weights or calibration do not fit.
    """

    def __init__(  # noqa: PLR0913  # each a choice of its own
        self,
        version: ModelVersion,
        *,
        device: str = "cpu",
        precision: str = "fp32",
        keep_members: bool = True,
        source: SampleSource | NnunetSource | None = None,
        calibrator: Calibrator | None = None,
        fine: FineRule = FineRule(),  # noqa: B008  # frozen
        contours: ContourRule = ContourRule(),  # noqa: B008  # frozen
        confidence: float = CONFIDENCE,
    ) -> None:
        self.version, self.spec = version, version.spec
        self.device = check_device(device)
        self.precision, self.keep_members = precision, keep_members
        self.calibrator = calibrator or calibrator_from_json(version.calibration.get("calibrator", {}))
        quality = version.calibration.get("quality")
        self.quality = None if quality is None else Quality.from_json(quality)
        self.fine, self.contours, self.confidence = fine, contours, confidence
        self._source = source
        self._networks: dict[int, nn.Module] = {}
        self._lock = threading.Lock()

    @cached_property
    def source(self) -> SampleSource | NnunetSource:
        """Where the samples come from."""
        if self._source is not None:
            return self._source
        if self.spec.network["_target_"] == NNUNET:
            return NnunetSource(
                self.version, self.device, precision=self.precision, keep_members=self.keep_members
            )
        members = [lambda i=i: self._member(i) for i in range(len(self.version.members))]
        head = self.spec.head
        if head.rank is None:
            return EnsembleSource(members)
        by_slice = self.spec.spatial_dims == 2
        bound = None if head.largest is None else DrawBound(head.largest, head.rule, by_slice=by_slice)
        return StochasticSource(
            members, head.rank, lambda logits: head_probabilities(logits, head), bound=bound
        )

    def predict(self, path: Path, *, progress: Progress | None = None) -> Prediction:
        """Segment one scan and say how sure that is.

        Args:
            path: NIfTI, NRRD or MetaImage file, or a folder with one DICOM series.
            progress: called with (samples done, samples in all).

        Returns:
            The prediction on the scan's own grid.

        Raises:
            ScanError: if the scan cannot be used.
            DeviceError: if memory does not suffice even for the smallest steps.
        """
        scan = read_scan(path, channels=len(self.spec.channels))
        return self.predict_scan(scan, progress=progress)

    def predict_scan(self, scan: Scan, *, progress: Progress | None = None) -> Prediction:
        """Like :meth:`predict`, for a scan that is in memory already."""
        prepared, statistics, steps = self.sample(scan, progress=progress)
        return self.conclude(scan, prepared, statistics, steps)

    def sample(
        self, scan: Scan, *, progress: Progress | None = None
    ) -> tuple[PreparedImage, SampleStatistics, tuple[str, ...]]:
        """First half of a prediction: totals over all samples, uncalibrated, on the scan's own grid.

        Args:
            scan: a scan that was read with as many channels as the model needs.
            progress: called with (samples done, samples in all).

        Returns:
            The prepared scan, its totals, and the steps that were taken to save memory.

        Raises:
            DeviceError: if memory does not suffice even for the smallest steps.
        """
        source = self.source
        if isinstance(source, NnunetSource):  # it has its own grid, windows and way back
            with self._lock:
                return *source.sample(scan, progress), ()
        prepared = prepare(scan, self.spec)
        with self._lock:
            statistics, steps = self._run_ladder(prepared, lambda: source, progress)
        return prepared, statistics, steps

    def views(self, path: Path) -> dict[str, NDArray[np.float32]]:
        """What the first member changes its mind about when the scan is mirrored along the grid's first axis.

        Args:
            path: the scan.

        Returns:
            The maps :data:`segtrust.inference.VIEW_MAPS`, ``(X, Y, Z)`` float32 in [0, 1]: the sample scores
            of :mod:`segtrust.error_flags`, the samples being the scan as it is and mirrored.

        Raises:
            ScanError: if the scan cannot be used.
            SettingError: if the members do not give probabilities (stochastic models), or mirror themselves
                (nnU-Net).
            DeviceError: if memory does not suffice even for the smallest steps.
        """
        if self.spec.network["_target_"] == NNUNET:
            raise SettingError(
                f"maps of mirrored views need members that see a scan one way; nnU-Net averages its mirrored "
                f"views itself, and so does {self.spec.name!r}. Ask for `votes` or `variance`."
            )
        if self.spec.head.rank is not None:
            raise SettingError(
                f"maps of mirrored views need members that give probabilities; {self.spec.name!r} draws its "
                "samples itself. Ask for `votes` or `variance`, which compare these."
            )
        prepared = prepare(read_scan(path, channels=len(self.spec.channels)), self.spec)
        with self._lock:
            statistics, _ = self._run_ladder(prepared, lambda: FlipSource(self._member(0)), None)
        return {f"view_{name}": score for name, score in sample_scores(statistics).items()}

    def _member(self, index: int) -> nn.Module:
        if index not in self._networks:
            if not self.keep_members:
                gc.collect()  # some of MONAI's networks refer to themselves: the last member is still there
            network = load_member(self.spec, self.version.members[index]).to(self.device)
            if self.spec.spatial_dims == 3:
                network = network.to(memory_format=torch.channels_last_3d)
            if not self.keep_members:
                return network
            self._networks[index] = network
        return self._networks[index]

    def _run_ladder(
        self, prepared: PreparedScan, source: Callable[[], SampleSource], progress: Progress | None
    ) -> tuple[SampleStatistics, tuple[str, ...]]:
        taken: list[str] = []
        last: Exception | None = None
        keep = self.keep_members
        for name, batch, keep_members, on_cpu in _LADDER:
            try:
                self.keep_members = keep and keep_members
                if not self.keep_members:
                    self._networks.clear()
                statistics = self._run(prepared, source(), batch, on_cpu, progress)
            except torch.cuda.OutOfMemoryError as error:
                last = error.with_traceback(None)  # its frames would keep what filled the memory
            else:
                return statistics, (*taken[1:], name) if taken else ()
            finally:
                self.keep_members = keep
            taken.append(name)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        raise DeviceError(
            f"{self.device} has too little memory for this scan even with {_LADDER[-1][0]}. "
            "Use device=cpu, or a smaller patch in spec.json."
        ) from last

    def _run(
        self,
        prepared: PreparedScan,
        source: SampleSource,
        batch: int,
        on_cpu: bool,
        progress: Progress | None,
    ) -> SampleStatistics:
        features = PooledFeatures()

        def over_windows(network: nn.Module, image: Tensor) -> Tensor:
            first = not features.has_seen
            with features.watching(network) if first else nullcontext():
                return slide(
                    network,
                    image,
                    self.spec,
                    batch=batch,
                    precision=self.precision,
                    totals_device=torch.device("cpu") if on_cpu else None,
                )

        image = prepared.image.to(self.device)
        samples = source.samples(image, over_windows)
        totals = pooled_samples(samples, prepared, self.spec, total=len(source), progress=progress)
        return replace(totals, features=features.values())

    def spacing_of(self, scan: Scan) -> tuple[float, float, float] | None:
        """Voxel size by which calibrators see a scan, see :func:`segtrust.inference.scan.assumed_spacing`."""
        return assumed_spacing(scan, self.spec)

    def conclude(
        self, scan: Scan, prepared: PreparedImage, statistics: SampleStatistics, steps: tuple[str, ...] = ()
    ) -> Prediction:
        """Second half of a prediction: mask, calibration, maps and numbers; runs no network.

        Args:
            scan: as given to :meth:`sample`.
            prepared: from :meth:`sample`.
            statistics: from :meth:`sample`.
            steps: from :meth:`sample`.

        Returns:
            The prediction.
        """
        mask = self._mask(statistics)
        distance = distance_to(mask > 0, scan.spacing)
        spacing, rule = self.spacing_of(scan), self.spec.head.rule
        calibrator = self.calibrator if has_unit(self.calibrator, spacing) else Identity()
        probs = calibrate_scan(calibrator, statistics.mean, mask, spacing, rule=rule).numpy()
        # structures of a sigmoid head may overlap, and the mask shows one of them
        sets = rule.sets(statistics.mean).numpy() if rule.head == "sigmoid" else None
        maps = _member_maps(statistics, self.spec)
        scores = self._scores(scan, prepared, statistics, mask, sets, probs, maps["between_member"])
        if self.quality is not None:
            scores = self.quality.completed(scores)
        seen = scan_features(prepared.image.numpy(), scores) if self.quality is not None else {}
        assessment = self._assess(seen, scores)
        return Prediction(
            spec=self.spec,
            version_id=self.version.id,
            digest=self.version.digest,
            affine=scan.affine,
            spacing=scan.spacing,
            series=scan.series,
            mask=mask,
            probs=probs,
            valid=prepared.valid,
            members=statistics.n_samples,
            calibration=calibrator.name,
            precision=self.precision,
            device=str(self.device),
            scores=scores,
            structures=summarise_structures(
                mask,
                scan,
                self.spec,
                entropies=scores.structures,
                sample_voxels=statistics.sample_voxels.numpy(),
                calibrated=probs if calibrator.name != Identity.name else None,
                assessment=assessment,
                sets=sets,
            ),
            flags=(
                *input_flags(scan, self.spec),
                *calibration_flags(self.calibrator, scan, self.spec),
                *unlike_flags(assessment),
                *content_flags(mask, self.spec, sets=sets),
            ),
            slices=self._slices(scan, mask, sets, probs, in_band(distance) & prepared.valid),
            steps=steps,
            member_maps=maps,
            assessment=assessment,
            usual_error=self.quality.usual if self.quality else None,
            samples=None
            if statistics.masks is None
            else SampleMasks.of(_narrow(statistics.masks.numpy(), self.spec)),
            features=statistics.features,
            seen=seen,
        )

    def _mask(self, statistics: SampleStatistics) -> NDArray[np.uint8]:
        """Labels of the uncalibrated mean, whatever the calibrator does to the probabilities."""
        return _narrow(self.spec.head.rule.labels(statistics.mean).numpy(), self.spec)

    def _scores(
        self,
        scan: Scan,
        prepared: PreparedImage,
        statistics: SampleStatistics,
        mask: NDArray[np.uint8],
        sets: NDArray[np.bool_] | None,
        probs: NDArray[np.float32],
        between: NDArray[np.float32],
    ) -> ScanScores:
        head = self.spec.head.kind
        unsure = summarise_channels(
            entropy(torch.from_numpy(probs)[None], head=head, normalize=True), head=head
        )
        return score_scan(
            entropy=_bounded(unsure[0]),
            between=between,
            probs=probs,
            labels=mask,
            sets=sets,
            spacing=scan.spacing,
            n_structures=len(self.spec.labels),
            sample_voxels=statistics.sample_voxels.numpy(),
            pairwise_dice=statistics.pairwise_dice.numpy(),
            pooled_pairwise_dice=statistics.pooled_pairwise_dice.numpy(),
            valid=prepared.valid,
        )

    def _assess(self, features: Features, scores: ScanScores) -> Assessment | None:
        if self.quality is None:
            return None
        return self.quality.assess(scores, features, self.fine, self.contours, self.confidence)

    def _slices(
        self,
        scan: Scan,
        mask: NDArray[np.uint8],
        sets: NDArray[np.bool_] | None,
        probs: NDArray[np.float32],
        near: NDArray[np.bool_],
    ) -> tuple[SliceHint, ...]:
        return tuple(
            slices_to_review(
                _bounded(self.spec.head.rule.chance_of_error(torch.from_numpy(probs))),
                probs,
                mask,
                near,
                [label.name for label in self.spec.labels],
                sets=sets,
                axis=review_axis(scan.spacing),
                seed=zlib.crc32(scan.data.contiguous().numpy().data),
            )
        )


def pooled_samples(
    samples: Iterable[Tensor],
    prepared: PreparedScan,
    spec: ModelSpec,
    *,
    total: int,
    progress: Progress | None = None,
) -> SampleStatistics:
    """Bring samples onto the scan's own grid, one at a time, and keep their running totals.

    Args:
        samples: iterator over ``(K, *grid)`` probabilities.
        prepared: the scan that they belong to.
        spec: the model's specification.
        total: number of samples, for ``progress``.
        progress: called after each sample.

    Returns:
        Totals on the scan's own voxels, on the CPU.

    Note:
        Interpolation happens to probabilities only, never to an entropy or label map.
    """
    head = spec.head
    totals = RunningTotals(
        head=head.kind,
        priority=head.priority,
        threshold=head.threshold,
        structures=head.structures,
        keep_masks=head.rank is not None,
    )
    background = 0 if head.kind == "softmax" else None
    for index, sample in enumerate(samples, start=1):
        totals.add(prepared.to_native(sample, background=background))
        if progress:
            progress(index, total)
    return totals.finish()


def _narrow(labels: NDArray[np.integer[Any]], spec: ModelSpec) -> NDArray[np.uint8]:
    """In the narrowest type that holds the model's labels: PyTorch has none between 8 and 32 bits."""
    narrow: NDArray[np.uint8] = labels.astype(label_type(len(spec.labels) + 1), copy=False)
    return narrow


def _member_maps(statistics: SampleStatistics, spec: ModelSpec) -> dict[str, NDArray[np.float32]]:
    head = spec.head.kind
    return {
        "between_member": _bounded(unit_map(statistics, "between", head=head)),
        "within_member": _bounded(unit_map(statistics, "within", head=head)),
        "variance": _bounded(statistics.variance),
        "votes": _bounded(statistics.votes),
    }


def _bounded(values: Tensor) -> NDArray[np.float32]:
    bounded: NDArray[np.float32] = values.clamp(0, 1).numpy()
    return bounded
