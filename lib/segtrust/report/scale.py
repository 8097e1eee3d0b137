"""One colour scale for the chance of a wrong label, the same on every page.

The scale is *inferno* without its black end: even in lightness, so equal steps look equal, and readable with
every common form of colour blindness. Its range is fixed, so that colours of two scans can be compared.
"""

import base64
import io

import matplotlib as mpl
import numpy as np
from matplotlib.image import imsave
from numpy.typing import NDArray

__all__ = ["CHANCE_RANGE", "chance_colours", "colour_bar", "png_uri"]

CHANCE_RANGE = (0.0, 0.5)
_LIGHTNESS = (0.25, 1.0)  # share of inferno that is used: its black end would vanish on a dark image
_FADE = (0.02, 0.08)  # below 1 in 50 nothing is drawn, from about 1 in 12 the colour is at full strength
_OPACITY = 0.9


def chance_colours(chance: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colours of a map of chances; certain voxels are transparent.

    Args:
        chance: chance that the label is wrong, any shape, in [0, 1]; above 0.5 counts as 0.5.

    Returns:
        Red, green, blue and opacity, ``(*shape, 4)``, in [0, 255].

    Note:
        *inferno* by S. van der Walt and N. Smith (matplotlib).

    Example:
        >>> chance_colours(np.float32([0.0, 0.5])).tolist()
        [[87, 16, 110, 0], [252, 255, 164, 229]]
    """
    low, high = CHANCE_RANGE
    step = np.clip((np.nan_to_num(chance) - low) / (high - low), 0, 1)
    rgba = mpl.colormaps["inferno"](_LIGHTNESS[0] + step * (_LIGHTNESS[1] - _LIGHTNESS[0]))
    fade = np.clip((np.nan_to_num(chance) - _FADE[0]) / (_FADE[1] - _FADE[0]), 0, 1)
    rgba[..., 3] = fade * _OPACITY
    colours: NDArray[np.uint8] = np.round(rgba * 255).astype(np.uint8)
    return colours


def colour_bar(steps: int = 64) -> str:
    """The scale as a picture one pixel high, from no chance to one in two.

    Args:
        steps: pixels from end to end.

    Returns:
        A PNG as a ``data:`` address.
    """
    row = np.linspace(*CHANCE_RANGE, steps, dtype=np.float32)[None]
    return png_uri(chance_colours(row))


def png_uri(rgba: NDArray[np.uint8]) -> str:
    """A picture that travels inside the page.

    Args:
        rgba: ``(rows, columns, 4)``, first row on top.

    Returns:
        The PNG as a ``data:`` address.
    """
    buffer = io.BytesIO()
    imsave(buffer, rgba, format="png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
