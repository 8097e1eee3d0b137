"""Every error that segtrust raises on purpose.

::

    SegtrustError
    ├── ShapeError          (ValueError)          a tensor has the wrong axes
    ├── ProbabilityError    (ValueError)          values are not probabilities
    ├── SettingError        (ValueError)          a setting, request key or option is not allowed
    ├── ScanError           (ValueError)          a scan cannot be used; ``code`` says why
    ├── ModelError          (ValueError)          a model folder is wrong
    │   └── ModelNotFoundError (FileNotFoundError)
    ├── DicomError          (ValueError)          a DICOM series or object cannot be read, matched or written
    ├── DeviceError         (RuntimeError)        the device is absent or out of memory
    ├── StoreError          (RuntimeError)        the state file cannot be used
    │   └── StoreFullError                        its disk is full
    └── TrainingError       (RuntimeError)        a training run cannot start or go on

A message says what must hold, what was got, and the usual fix. ``code`` is one word for programs.
"""

from typing import ClassVar, Literal

__all__ = [
    "DeviceError",
    "DicomError",
    "ModelError",
    "ModelNotFoundError",
    "ProbabilityError",
    "ScanCode",
    "ScanError",
    "SegtrustError",
    "SettingError",
    "ShapeError",
    "StoreError",
    "StoreFullError",
    "TrainingError",
    "install_line",
]

ScanCode = Literal[
    "scan_missing",
    "scan_unreadable",
    "scan_channels",
    "scan_dimensions",
    "scan_not_finite",
    "scan_constant",
    "scan_too_large",
    "scan_geometry",
    "label_grid",
    "label_values",
    "scan_series",
]


class SegtrustError(Exception):
    """Anything that segtrust refuses; ``code`` names the kind in one word."""

    code: ClassVar[str] = "segtrust_error"


class ShapeError(SegtrustError, ValueError):
    """A tensor or array does not have the axes that are needed."""

    code = "shape"


class ProbabilityError(SegtrustError, ValueError):
    """Values handed in as probabilities are none."""

    code = "probability"


class SettingError(SegtrustError, ValueError):
    """A setting, request key or option has a value that is not allowed."""

    code = "setting"


class ScanError(SegtrustError, ValueError):
    """A scan that cannot be segmented as it is.

    Args:
        message: what must hold, what was got, the usual fix.
        code: the reason in one word.
    """

    def __init__(self, message: str, code: ScanCode) -> None:
        super().__init__(message)
        self.code: ScanCode = code  # type: ignore[misc]  # narrows the class attribute to one instance


class ModelError(SegtrustError, ValueError):
    """A model folder is incomplete, damaged or contradicts itself."""

    code = "model"


class ModelNotFoundError(ModelError, FileNotFoundError):
    """No model or version of that name exists."""

    code = "model_missing"


class DicomError(SegtrustError, ValueError):
    """A DICOM series cannot be referenced safely, or does not belong to a prediction."""

    code = "dicom"


class DeviceError(SegtrustError, RuntimeError):
    """The device asked for is not there, or its memory does not suffice."""

    code = "device"


class StoreError(SegtrustError, RuntimeError):
    """The state file is damaged, newer than this program, or locked for too long."""

    code = "store"


class StoreFullError(StoreError):
    """The disk of the state file is full; what was to be written is not there, in no part."""

    code = "disk_full"


class TrainingError(SegtrustError, RuntimeError):
    """A training run cannot start or go on."""

    code = "training"


def install_line(extra: str) -> str:
    """What to type to get an extra; segtrust is installed from a clone of its repository.

    Args:
        extra: one of those in ``setup.cfg``, or several with commas.

    Returns:
        The command, and where to type it.

    Example:
        >>> install_line("ray")
        "pip install -c constraints.txt '.[ray]' (in a clone of segtrust)"
    """
    return f"pip install -c constraints.txt '.[{extra}]' (in a clone of segtrust)"
