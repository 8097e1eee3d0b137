"""Calibrators from what was written into a version's folder."""

from collections.abc import Mapping
from typing import Any

from segtrust.calibrators.identity import Calibrator, Identity
from segtrust.calibrators.isotonic import TopLabelIsotonic
from segtrust.calibrators.temperature import DistanceTemperature, PooledTemperature
from segtrust.calibrators.topclass import TopClassTemperature
from segtrust.errors import ModelError

__all__ = ["calibrator_from_json"]

_SERVED: tuple[type[Calibrator], ...] = (Identity, PooledTemperature, DistanceTemperature)
_CONTROLS: tuple[type[Calibrator], ...] = (TopLabelIsotonic, TopClassTemperature)
_KINDS = {kind.name: kind for kind in _SERVED + _CONTROLS}


def calibrator_from_json(document: Mapping[str, Any]) -> Calibrator:
    """Read a calibrator.

    Args:
        document: what ``to_json`` wrote.

    Returns:
        The calibrator.

    Raises:
        ModelError: for an unknown name or missing numbers.

    Example:
        >>> calibrator_from_json({"name": "identity"})
        Identity()
    """
    numbers = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in document.items()
        if key != "name"
    }
    try:
        return _KINDS[document["name"]](**numbers)
    except (KeyError, TypeError) as error:
        served, controls = (", ".join(kind.name for kind in kinds) for kinds in (_SERVED, _CONTROLS))
        raise ModelError(
            f"a calibrator must be one of {served} with its numbers, got {dict(document)}. "
            f"Known as controls: {controls}."
        ) from error
