"""What a client may say about a scan or a label: fields that are listed, text that is bounded."""

from collections.abc import Callable, Mapping
from typing import Any

from segtrust.errors import SettingError
from segtrust.label.documents import read_object

__all__ = [
    "IMAGE_FIELDS",
    "LABEL_FIELDS",
    "SUBMISSION_FIELDS",
    "UPLOAD_FIELDS",
    "read_fields",
    "split_fields",
]

Reader = Callable[[str, object], Any]
"""Takes the name of a field and what came for it; returns the value or raises SettingError."""

_LONGEST_TEXT, _LONGEST_NAME, _MOST_ENTRIES = 2000, 200, 4096
_REVIEW_FIELDS = ("status", "level", "approvedBy", "comment", "editTime")  # of MONAI Label's Reviewer


def read_fields(text: str, fields: Mapping[str, Reader]) -> dict[str, Any]:
    """Read what a client wants to change.

    Args:
        text: JSON.
        fields: those that may be changed.

    Returns:
        Checked values.

    Raises:
        SettingError: for another field, or a value of another type or size. Name, path, and what identifies
            the patient come from the file or the PACS alone.
    """
    values, others = split_fields(text, fields)
    if others:
        got = ", ".join(map(repr, others))[:_LONGEST_NAME]
        raise SettingError(f"only {', '.join(fields)} may be changed here, got {got}.")
    return values


def split_fields(text: str, fields: Mapping[str, Reader]) -> tuple[dict[str, Any], list[str]]:
    """Read what a client says beside a file; fields that are not listed must not lose somebody's work.

    Args:
        text: JSON.
        fields: those that are kept.

    Returns:
        Checked values, and the names of the fields that are not kept.

    Raises:
        SettingError: if the text is no object, or for a value of another type or size.
    """
    info = read_object(text, "information")
    values = {name: fields[name](name, value) for name, value in info.items() if name in fields}
    return values, sorted(set(info) - set(fields))


def _text(longest: int) -> Reader:
    def read(name: str, value: object) -> str:
        if not isinstance(value, str) or len(value) > longest or not _is_plain(value):
            got = f"{len(value)} characters" if isinstance(value, str) else type(value).__name__
            raise SettingError(
                f"`{name}` must be text of at most {longest} characters, none for control, got {got}."
            )
        return value

    return read


def _is_plain(value: str) -> bool:
    return all(letter.isprintable() or letter in "\n\t" for letter in value)


_long, _short = _text(_LONGEST_TEXT), _text(_LONGEST_NAME)


def _review(name: str, value: object) -> dict[str, Any]:
    """The verdict of MONAI Label's Reviewer; its time is a number or text."""
    if not isinstance(value, dict) or set(value) - set(_REVIEW_FIELDS):
        raise SettingError(f"`{name}` must be an object with {', '.join(_REVIEW_FIELDS)}.")
    return {
        key: entry if key == "editTime" and type(entry) is int and 0 <= entry < 1 << 53 else _long(key, entry)
        for key, entry in value.items()
    }


def _slices(name: str, value: object) -> object:
    if value == "all" or (isinstance(value, list) and len(value) <= _MOST_ENTRIES):
        return value  # the label's size says which numbers are slices
    raise SettingError(f"`{name}` must be 'all' or a list of at most {_MOST_ENTRIES} numbers of slices.")


def _segments(name: str, value: object) -> object:
    """Names and values of a viewer's segments; whether they fit the label is for its cleaning to judge."""
    if not isinstance(value, list):
        return value or []
    if len(value) > _MOST_ENTRIES:
        raise SettingError(f"`{name}` must list at most {_MOST_ENTRIES} segments, got {len(value)}.")
    return [_segment(entry) for entry in value]


def _segment(entry: object) -> object:
    if not isinstance(entry, dict):
        return entry
    listed = {key: entry[key] for key in ("name", "idx") if key in entry}
    return listed | ({"name": _short("name", listed["name"])} if "name" in listed else {})


IMAGE_FIELDS: dict[str, Reader] = {"note": _long, "comment": _long}
"""Of a scan, by ``PUT /datastore/image/info``."""
LABEL_FIELDS: dict[str, Reader] = {**IMAGE_FIELDS, "segmentationMeta": _review}
"""Of a label, by ``PUT /datastore/label/info``."""
UPLOAD_FIELDS: dict[str, Reader] = {**IMAGE_FIELDS, "client_id": _short}
"""Beside a scan that is uploaded."""
SUBMISSION_FIELDS: dict[str, Reader] = {
    **LABEL_FIELDS,
    "client_id": _short,
    "label_info": _segments,
    "reviewed_slices": _slices,
}
"""Beside a label that is submitted."""
