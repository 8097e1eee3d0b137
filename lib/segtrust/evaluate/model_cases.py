"""Scans that a model of ours predicts, in the form of probability volumes from elsewhere."""

from pathlib import Path

from segtrust.adapters import CaseFiles, ProbabilityCase
from segtrust.errors import ModelError
from segtrust.inference.predictor import Predictor
from segtrust.training.cases import LabelledFiles, read_pair

__all__ = ["predict_case"]


def predict_case(predictor: Predictor, files: CaseFiles, *, views: bool = False) -> ProbabilityCase:
    """Predict one labelled scan; padding is no part of what is measured.

    Args:
        predictor: of a softmax model; its calibrator plays no part.
        files: image and label of the scan.
        views: with the maps of mirrored views, see :meth:`segtrust.inference.Predictor.views`.

    Returns:
        The uncalibrated mean with the label.

    Raises:
        ModelError: for a sigmoid model, or a scan without image.
        ScanError: if the image cannot be used.
        TrainingError: if the label does not fit the image or the model.
        SettingError: if the model cannot give maps of views.
    """
    if predictor.spec.head.kind != "softmax":
        raise ModelError(f"only softmax models can be evaluated here, {predictor.spec.name!r} is none.")
    if files.image is None or files.label is None:
        raise ModelError(f"the scan {files.id!r} must have an image and a label. Give --images and --labels.")
    pair = LabelledFiles(files.id, files.subject, Path(files.image), Path(files.label))
    scan, labels = read_pair(pair, predictor.spec)
    prepared, statistics, _ = predictor.sample(scan)
    return ProbabilityCase(
        files.id,
        files.subject,
        statistics.mean,
        labels,
        scan.affine,
        scan.spacing,
        prepared.valid,
        predictor.views(files.image) if views else {},
    )
