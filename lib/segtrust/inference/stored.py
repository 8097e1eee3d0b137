"""A model that is a folder of probability volumes: what another program said of each scan, with our maps."""

from pathlib import Path
from typing import Any, NoReturn

from segtrust.adapters import CaseFiles, named, read_probabilities, volume_files
from segtrust.ensemble import RunningTotals
from segtrust.errors import ModelError, ScanError, SettingError
from segtrust.files import ENDINGS, Grid
from segtrust.inference.prediction import Prediction
from segtrust.inference.predictor import Predictor, Progress
from segtrust.inference.scan import prepare, read_scan
from segtrust.models import ModelVersion

__all__ = ["STORED", "StoredPredictor", "open_predictor"]

STORED = "segtrust.inference.stored.StoredPredictor"
"""``network._target_`` of such a model; its volumes lie in ``volumes`` of the model folder."""


class StoredPredictor:
    """Answers for the scans whose probabilities are there; calibration, maps and scores are those of a model.

    Args:
        version: of a softmax model without members.
        options: of :class:`segtrust.inference.Predictor`.

    Raises:
        ModelError: if the model is no softmax model.
    """

    def __init__(self, version: ModelVersion, **options: Any) -> None:  # noqa: ANN401  # passed on as they are
        if version.spec.head.kind != "softmax" or version.spec.head.rank is not None:
            raise ModelError(
                f"stored probabilities must be those of a softmax, {version.spec.name!r} says otherwise."
            )
        self._core = Predictor(version, **options)
        self._folder = version.folder.parent.parent / "volumes"

    def predict(self, path: Path, *, progress: Progress | None = None) -> Prediction:
        """What was stored about one scan.

        Args:
            path: the scan; its name without ending is looked for.
            progress: called once.

        Returns:
            The prediction on the scan's own grid.

        Raises:
            ScanError: if there are no probabilities, they lie on another grid than the scan, or have another
                number of classes.
            ProbabilityError: if they are none.
        """
        spec = self._core.spec
        scan = read_scan(path, channels=len(spec.channels))
        files = self._files(path)
        grid = Grid(scan.shape, scan.affine, scan.spacing)
        probs = read_probabilities(files).onto(grid, f"the scan {path.name}")
        if probs.shape[0] != spec.n_classes:
            raise ScanError(
                f"the probabilities of {files.id!r} must be of {spec.n_classes} classes as {spec.name!r} "
                f"has, got {probs.shape[0]}. Are they of another model?",
                "scan_dimensions",
            )
        statistics = RunningTotals().add(probs).finish()
        if progress:
            progress(1, 1)
        return self._core.conclude(scan, prepare(scan, spec), statistics)

    def _files(self, path: Path) -> CaseFiles:
        """Files of the volume that bears the scan's name, with or without nnU-Net's ``_0000``."""
        ending = next((e for e in (*ENDINGS, ".dcm") if path.name.lower().endswith(e)), "")
        name = path.name[: len(path.name) - len(ending)]
        files = named(name, {files.id: files for files in volume_files(self._folder)})
        if files is not None:
            return files
        raise ScanError(
            f"there must be probabilities of {name!r} in `volumes` of {self._core.spec.name!r}, got none.",
            "scan_missing",
        )

    def views(self, _path: Path) -> NoReturn:
        """There is no network that could see a mirrored scan.

        Raises:
            SettingError: always.
        """
        raise SettingError(
            f"maps of mirrored views need a network to run; {self._core.spec.name!r} is a folder of stored "
            "probabilities. Ask for another map, such as `entropy`."
        )


def open_predictor(version: ModelVersion, **options: Any) -> Predictor | StoredPredictor:  # noqa: ANN401
    """The predictor that fits a version: of its members, or of stored volumes.

    Args:
        version: an opened version.
        options: of :class:`segtrust.inference.Predictor`.

    Returns:
        Something that predicts scans.

    Raises:
        DeviceError: if the device does not exist.
        ModelError: if weights or calibration do not fit.
    """
    kind = StoredPredictor if version.spec.network["_target_"] == STORED else Predictor
    return kind(version, **options)
