"""Whole heads: both hippocampi are looked for, the crop model runs on a crop of each, and all comes back."""

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from segtrust.errors import ModelError, ScanError, SettingError
from segtrust.inference.finder import Finder, Sighting, pair_problem
from segtrust.inference.flags import input_flags
from segtrust.inference.head_answer import Side, heads_version, joined
from segtrust.inference.head_geometry import HeadGeometry, Millimetres, as_seen
from segtrust.inference.prediction import Prediction
from segtrust.inference.predictor import Predictor, Progress
from segtrust.inference.scan import Scan, read_scan

__all__ = ["HeadPredictor"]

_RUNS = 3  # of the crop model on one side: once where the search puts the crop, then where its mask does
_STILL_MM = 1.0
_EDGE = "it lies at the edge of the scan, whose field of view may cut it"


class HeadPredictor:
    """Runs a crop model on both sides of whole heads; safe to call from several threads.

    Args:
        finder: says where they are.
        crops: of the crop model, a softmax model of three dimensions with one channel.

    Raises:
        ModelError: if ``crops`` is another kind of model.
    """

    def __init__(self, finder: Finder, crops: Predictor) -> None:
        spec = crops.spec
        if spec.head.kind != "softmax" or spec.head.rank is not None or len(spec.patch) != 3:
            raise ModelError(
                f"whole heads need a crop model with a softmax head in three dimensions; {spec.name!r} is "
                "another kind."
            )
        self.finder, self.crops = finder, crops
        self.version = heads_version(finder.version, crops.version)
        self.spec = self.version.spec

    def predict(self, path: Path, *, progress: Progress | None = None) -> Prediction:
        """Segment both hippocampi of a whole head and say how sure that is.

        Args:
            path: NIfTI, NRRD or MetaImage file, or a folder with one DICOM series.
            progress: called with (sides done, sides in all).

        Returns:
            The prediction on the scan's own grid; a side that was not found has a flag that says why.

        Raises:
            ScanError: if the scan cannot be used, does not say how large its voxels are, or is a crop.
        """
        return self.predict_scan(read_scan(path, channels=len(self.spec.channels)), progress=progress)

    def predict_scan(self, scan: Scan, *, progress: Progress | None = None) -> Prediction:
        """Like :meth:`predict`, for a scan that is in memory already."""
        self._refuse(scan)
        head = HeadGeometry(scan)
        seen, affine = self.finder.search(scan)
        problems = self._problems(head, seen, affine)
        sides: list[Side] = []
        for number, (label, sighting) in enumerate(zip(self.finder.spec.labels, seen, strict=True), start=1):
            if label.name not in problems:
                side = self._side(head, label.name, sighting, affine)
                if isinstance(side, Side):
                    sides.append(side)
                else:
                    problems[label.name] = side
            if progress:
                progress(number, len(seen))
        return joined(self.version, self.crops, head, sides, problems)

    def views(self, _path: Path) -> NoReturn:
        """Maps of mirrored views are for crops.

        Raises:
            SettingError: always.
        """
        raise SettingError(
            f"maps of mirrored views are given for crops, not for whole heads; ask {self.spec.name!r} for "
            "another map, such as `votes`."
        )

    def _refuse(self, scan: Scan) -> None:
        if scan.spacing is None:
            raise ScanError(
                "a whole head must say how large its voxels are, but this file does not. "
                "Store it with the voxel size of the scanner.",
                "scan_geometry",
            )
        crop = self.crops.spec
        is_crop = crop.extent_mm is not None and not any(
            flag.code == "field_of_view" for flag in input_flags(scan, crop)
        )
        if is_crop:
            raise ScanError(
                f"{self.spec.name!r} takes whole heads, but this scan is as small as the crops of "
                f"{crop.name!r}. Ask the task {crop.name!r} for it.",
                "scan_geometry",
            )

    def _problems(
        self, head: HeadGeometry, seen: Sequence[Sighting], affine: NDArray[np.float64]
    ) -> dict[str, str]:
        """Name of a side -> why the search does not count as having found it."""
        names = [label.name for label in self.finder.spec.labels]
        found = {n: self.finder.rule.problem(sighting) for n, sighting in zip(names, seen, strict=True)}
        problems = {name: problem for name, problem in found.items() if problem is not None}
        if problems:
            return problems
        left, right = (head.place(sighting.centre or (), affine) for sighting in seen)
        pair = pair_problem(left.tolist(), right.tolist(), self.finder.rule)
        return {} if pair is None else dict.fromkeys(names, pair)

    def _side(self, head: HeadGeometry, name: str, seen: Sighting, affine: NDArray[np.float64]) -> Side | str:
        """The crop model's word on one side, or why it is not taken."""
        rule, mirrored = self.finder.rule, seen.side == "right"
        assert seen.centre is not None
        first = head.place(seen.centre, affine) + as_seen(rule.from_mass_mm, mirrored=mirrored)
        crop, runs = head.crop(first, rule.box_mm), 0
        while True:
            runs += 1
            prediction = self.crops.predict_scan(head.cut(crop, mirrored=mirrored))
            mask = (prediction.mask[::-1] if mirrored else prediction.mask) > 0
            if not mask.any():
                return f"{self.crops.spec.name!r} finds nothing in the crop around it"
            low, high = head.bounds(mask, crop)
            moved = head.around(low, high, rule.low_margins_mm, rule.high_margins_mm, mirrored=mirrored)
            if runs == _RUNS or head.edges_apart(crop, moved) <= _STILL_MM:
                break
            crop = moved
        problem = self._mask_problem(head, low, high, head.centres_apart(first, moved), mask)
        return problem or Side(name, crop, prediction, mirrored, seen)

    def _mask_problem(
        self, head: HeadGeometry, low: Millimetres, high: Millimetres, moved: float, mask: NDArray[np.bool_]
    ) -> str | None:
        rule = self.finder.rule
        if moved > rule.most_moved_mm:
            return "its mask lies elsewhere than the search saw it"
        if min((low - head.low).min(), (head.high - high).min()) < rule.least_margin_mm:
            return _EDGE
        ml = float(np.count_nonzero(mask) * np.prod(head.mm)) / 1000
        if rule.volume_ml[0] <= ml <= rule.volume_ml[1]:
            return None
        return (
            f"its mask of {ml:.1f} ml is of no size that hippocampi have "
            f"({rule.volume_ml[0]:g} to {rule.volume_ml[1]:g} ml)"
        )
