"""Tags of labels: which names are allowed, and that `final` is for what a person submitted."""

import re

from monailabel.interfaces.datastore import DefaultLabelTag

from segtrust.label.failures import LabelError, PathError

__all__ = ["FINAL", "check_result_tag", "check_tag", "tag_name"]

FINAL = DefaultLabelTag.FINAL.value
"""The tag of labels that people submitted: they are trained on, and end the work on a scan."""

_TAG = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?")


def tag_name(tag: object) -> str:
    """A label's tag as text; MONAI Label hands over text or a member of its enumeration."""
    return str(getattr(tag, "value", tag))


def check_tag(tag: object) -> str:
    """Check that a tag can be the name of a folder on every system.

    Args:
        tag: text or a member of MONAI Label's enumeration.

    Returns:
        The tag as text.

    Raises:
        PathError: if it has other signs, or is another spelling of ``final``, which is the same folder on
            some systems.
    """
    name = tag_name(tag)
    if not _TAG.fullmatch(name):
        raise PathError(
            "a label's tag must be up to 64 letters, digits, '.', '_' and '-' that begin with a letter or a "
            f"digit and do not end with '.', got {name!r}."
        )
    if name != FINAL and name.lower() == FINAL:
        raise PathError(f"the tag of submitted labels must be written {FINAL!r}, got {name!r}.")
    return name


def check_result_tag(tag: object) -> str:
    """Check that a model's result may be saved under a tag.

    Args:
        tag: as for :func:`check_tag`.

    Returns:
        The tag as text.

    Raises:
        LabelError: if the tag is ``final``: the result would replace a label that a person made.
        PathError: as :func:`check_tag`.
    """
    name = check_tag(tag)
    if name == FINAL:
        raise LabelError(
            f"`label_tag` must not be {FINAL!r} for a model's result that nobody looked at. Choose "
            "another tag such as 'original', or look at the result and submit it: PUT /datastore/label."
        )
    return name
