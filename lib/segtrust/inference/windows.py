"""One function between a network and a whole scan: the sliding window."""

import torch
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

from segtrust.files import check_stopped
from segtrust.models import Head, ModelSpec

__all__ = ["head_probabilities", "slide"]


def slide(
    network: nn.Module,
    image: Tensor,
    spec: ModelSpec,
    *,
    batch: int = 2,
    precision: str = "fp32",
    totals_device: torch.device | None = None,
) -> Tensor:
    """Run a network over a whole scan and blend the windows.

    Args:
        network: in evaluation mode, on ``image``'s device.
        image: ``(C, *grid)``; three axes, for a 2-D network the slices lie along the last.
        spec: patch size, overlap and head.
        batch: windows (or slices) that are computed together.
        precision: ``fp32``, or ``bf16`` for autocast.
        totals_device: where the blended logits are kept; the image's own device unless given.

    Returns:
        Probabilities ``(K, *grid)``, float32, on ``totals_device``. Logits are blended first, with the
        specification's weights, and turned into probabilities after. Of a stochastic network the blended
        channels themselves, from which samples are drawn that are coherent over the whole scan.

    Raises:
        StoppedError: between two windows, if nobody waits for the answer any more.

    Note:
        The window loop is MONAI's ``sliding_window_inference``.
    """

    def predict(window: Tensor) -> Tensor:
        check_stopped()
        with torch.autocast(window.device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            logits: Tensor = network(window)
        return logits.float()

    flat = spec.spatial_dims == 2
    stack = image.permute(3, 0, 1, 2) if flat else image.unsqueeze(0)
    parts = []
    with torch.inference_mode():
        for chunk in stack.split(batch if flat else 1):
            logits = sliding_window_inference(
                chunk,
                roi_size=spec.patch,
                sw_batch_size=batch,
                predictor=predict,
                overlap=spec.overlap,
                mode=spec.windows.blending,
                padding_mode=spec.windows.padding,
                device=totals_device,
            )
            assert isinstance(logits, Tensor)
            parts.append(logits if spec.head.rank is not None else head_probabilities(logits, spec.head))
    whole = torch.cat(parts)
    return whole.permute(1, 2, 3, 0).contiguous() if flat else whole[0]


def head_probabilities(logits: Tensor, head: Head) -> Tensor:
    """Turn logits into probabilities over axis 1, in float32.

    Args:
        logits: ``(B, K, *grid)``.
        head: the model's head.

    Returns:
        Same shape; softmax over the classes or one sigmoid per structure.
    """
    wide = logits.float()
    return torch.softmax(wide, dim=1) if head.kind == "softmax" else torch.sigmoid(wide)
