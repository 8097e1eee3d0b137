"""The infer task of a stochastic model: plausible masks one at a time, or where they agree."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segtrust.decisions import label_type
from segtrust.errors import SettingError
from segtrust.inference import Prediction
from segtrust.inference.sample_masks import AGREEMENT_EDGES, PERCENTILES, SampleMasks
from segtrust.label.archive import Archive
from segtrust.label.infer import ModelTask
from segtrust.label.names import agreement_colours, is_band
from segtrust.label.requests import InferRequest
from segtrust.label.served import ServedModel

__all__ = ["SHOWS", "SamplesTask"]

SHOWS = ("agreement", *(str(number) for number in range(1, len(PERCENTILES) + 1)))
"""Values of the option ``show``: where samples agree, or one sample from a small one to a large one."""


class SamplesTask(ModelTask):
    """``<model>_samples``: whole masks that the model finds plausible, each drawn at once for the whole scan.

    Args:
        model: a stochastic model.
        labels: names of its structures and of the levels of agreement.
        archive: the PACS, if the studies are one.
    """

    def __init__(self, model: ServedModel, labels: dict[str, int], archive: Archive | None = None) -> None:
        text = (
            f"Plausible masks of {model.name}, 1 (small) to {len(PERCENTILES)} (large), or their agreement."
        )
        super().__init__(model, labels, text, archive)
        self._config["show"] = list(SHOWS)

    def render(self, prediction: Prediction, request: InferRequest) -> tuple[NDArray[Any], dict[str, Any]]:
        if request.show not in SHOWS:
            raise SettingError(f"`show` must be one of {', '.join(SHOWS)}, got {request.show!r}.")
        samples = prediction.samples
        assert samples is not None  # a stochastic model's prediction has them
        about = {"shows": request.show, "samples": _sizes(samples)}
        if request.show == "agreement":
            return _levels(samples, len(self.model.spec.labels)), about
        return samples.masks[SHOWS.index(request.show) - 1], about

    def colours(self) -> dict[str, tuple[int, int, int]]:
        structures = {label.name: label.colour for label in self.model.spec.labels}
        return structures | agreement_colours(name for name in self.labels if is_band(name))


def _levels(samples: SampleMasks, n_structures: int) -> NDArray[np.unsignedinteger[Any]]:
    levels = samples.levels()
    kind = label_type(n_structures + len(AGREEMENT_EDGES) + 2)  # the background and one level more than edges
    return np.where(levels > 0, levels.astype(kind) + kind(n_structures), kind(0))


def _sizes(samples: SampleMasks) -> dict[str, Any]:
    sizes: dict[str, Any] = {
        "drawn": len(samples.voxels),
        "empty": sum(not size for size in samples.voxels),
        "calibrated": False,
    }
    for show, percent, mask in zip(SHOWS[1:], PERCENTILES, samples.masks, strict=True):
        sizes[show] = {"percentile": percent, "voxels": int(np.count_nonzero(mask))}
    return sizes
