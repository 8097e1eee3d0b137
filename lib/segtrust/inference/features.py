"""What the encoder of a network saw of a scan: its deepest stage, averaged while a prediction runs."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["PooledFeatures"]


class PooledFeatures:
    """Collects the average of a network's deepest stage over the windows of a scan.

    The deepest stage is what any part of the network gives out on the coarsest grid: among outputs of shape
    ``(B, C, *grid)`` whose grid is coarser than the window and has more than one point (one point is what
    channel attention looks at), that with the fewest points; of several that with the most channels; of
    several the last. A network that keeps the grid of its window has none. Kept is one number per channel and
    window.

    Source:
        nnActive (TMLR 2026) pools the deepest stage of its encoder; the rule that finds it is ours.
    """

    def __init__(self) -> None:
        self._windows: list[Tensor] = []
        self._deepest: tuple[tuple[int, int], Tensor] | None = None
        self._axes = self._points = 0

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        """Collect while the network runs; it computes what it would compute anyway.

        Args:
            network: any network whose window is its first positional argument.

        Yields:
            Nothing.
        """
        hooks = [network.register_forward_pre_hook(self._begin), network.register_forward_hook(self._end)]
        hooks += [part.register_forward_hook(self._see) for part in network.modules() if part is not network]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    @property
    def has_seen(self) -> bool:
        """Whether a network was watched."""
        return self._points > 0

    def values(self) -> tuple[float, ...]:
        """Mean over the windows of what was collected.

        Returns:
            One number per channel of the deepest stage, no unit; empty if no network was watched or none has
            such a stage.

        Note:
            Every window counts the same.
        """
        if not self._windows:
            return ()
        mean: list[float] = torch.cat(self._windows).cpu().double().mean(dim=0).tolist()
        return tuple(mean)

    def _begin(self, _network: nn.Module, window: tuple[Tensor, ...]) -> None:
        self._deepest = None
        self._axes, self._points = window[0].ndim, window[0].shape[2:].numel()

    def _see(self, _part: nn.Module, _given: object, output: object) -> None:
        if not isinstance(output, Tensor) or output.ndim != self._axes:
            return
        points = output.shape[2:].numel()
        rank = (points, -output.shape[1])
        if 1 < points < self._points and (self._deepest is None or rank <= self._deepest[0]):
            self._deepest = rank, output

    def _end(self, _network: nn.Module, _given: object, _output: object) -> None:
        if self._deepest is not None:
            self._windows.append(self._deepest[1].float().flatten(2).mean(dim=2))
            self._deepest = None
