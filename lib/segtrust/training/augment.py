"""Random changes of a training patch: geometry, contrast, noise, blur, bias field."""

import numpy as np
import torch
from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandAffined,
    RandBiasFieldd,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandScaleIntensityd,
    RandSimulateLowResolutiond,
    RandSpatialCropd,
    SpatialPadd,
)
from torch import Tensor

from segtrust.errors import TrainingError
from segtrust.models import ModelSpec
from segtrust.training.cases import Case

__all__ = ["Augmentation"]

_KINDS = ("full", "light")


class Augmentation:
    """Draws one training patch from a case; the same seed draws the same patch.

    Args:
        spec: patch size and dimensions.
        flip_axes: axes along which a mirrored scan is as likely as the scan itself.
        kind: ``full``, or ``light`` for flips and crops alone.

    Raises:
        TrainingError: for another kind.

    Source:
        the set of nnU-Net's augmentations that MONAI has, weaker rotation and scaling, plus a bias field.
    """

    def __init__(self, spec: ModelSpec, *, flip_axes: tuple[int, ...] = (), kind: str = "full") -> None:
        if kind not in _KINDS:
            raise TrainingError(f"`augment` must be one of {', '.join(_KINDS)}, got {kind!r}.")
        both, image = ["image", "labels"], ["image"]
        turn, blur = np.deg2rad(12), (0.4, 1.0)
        flips = [RandFlipd(keys=both, prob=0.5, spatial_axis=axis) for axis in flip_axes]
        start = [SpatialPadd(keys=both, spatial_size=spec.patch), *flips]
        crop = RandSpatialCropd(keys=both, roi_size=spec.patch, random_size=False)
        self._steps = Compose([*start, crop]) if kind == "light" else Compose([
            *start,
            RandAffined(
                keys=both,
                prob=0.6,
                rotate_range=(turn,) * spec.spatial_dims if spec.spatial_dims == 3 else turn,
                scale_range=0.12,
                translate_range=2,
                shear_range=0.05,
                mode=("bilinear", "nearest"),
                padding_mode=("border", "zeros"),
            ),
            crop,
            RandBiasFieldd(keys=image, prob=0.2, coeff_range=(-0.3, 0.3)),
            RandAdjustContrastd(keys=image, prob=0.3, gamma=(0.7, 1.5), retain_stats=True),
            RandScaleIntensityd(keys=image, factors=0.25, prob=0.3),
            RandGaussianSmoothd(keys=image, prob=0.15, sigma_x=blur, sigma_y=blur, sigma_z=blur),
            RandSimulateLowResolutiond(keys=image, prob=0.1, zoom_range=(0.6, 1.0)),
            RandGaussianNoised(keys=image, prob=0.2, std=0.15),
        ])  # fmt: skip

    def __call__(self, case: Case, seed: int) -> tuple[Tensor, Tensor]:
        """Draw one patch.

        Args:
            case: the labelled scan.
            seed: every random choice follows from it.

        Returns:
            Image ``(C, *patch)`` float32 and labels ``(*patch)`` int64.
        """
        self._steps.set_random_state(seed=seed)
        drawn = self._steps({"image": case.image, "labels": case.labels.unsqueeze(0).float()})
        image, labels = (torch.as_tensor(drawn[key]) for key in ("image", "labels"))
        return _plain(image).float(), _plain(labels)[0].round().long()


def _plain(tensor: Tensor) -> Tensor:
    return tensor.as_tensor() if hasattr(tensor, "as_tensor") else tensor
