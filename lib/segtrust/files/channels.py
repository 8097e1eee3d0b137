"""Several files of one scan, one per channel: ``ID_0000.nii.gz``, ``ID_0001.nii.gz``, ... as in nnU-Net."""

import re
from collections.abc import Iterable
from pathlib import Path

from segtrust.errors import ScanError
from segtrust.files.header import ENDINGS

__all__ = ["channel_files", "group_channels", "split_channel"]

_NUMBERED = re.compile(r"(?P<id>.+)_(?P<number>\d{4})")


def split_channel(name: str) -> tuple[str, int, str] | None:
    """Take the name of a file apart.

    Args:
        name: of a file, without folders.

    Returns:
        Id of the scan, number of the channel, ending; ``None`` for a name of another form.

    Example:
        >>> split_channel("brain_07_0001.nii.gz"), split_channel("brain_07.nii.gz")
        (('brain_07', 1, '.nii.gz'), None)
    """
    ending = next((end for end in ENDINGS if name.lower().endswith(end)), "")
    match = _NUMBERED.fullmatch(name[: len(name) - len(ending)])
    return (match["id"], int(match["number"]), name[len(name) - len(ending) :]) if match and ending else None


def channel_files(path: Path, channels: int) -> tuple[Path, ...]:
    """The files that one scan's channels lie in.

    Args:
        path: a file, or a folder with a DICOM series; of several files the first.
        channels: how many channels are needed.

    Returns:
        ``path`` alone, unless more than one channel is needed and it is called ``ID_0000``: then the files
        ``ID_0000`` to ``ID_000k`` beside it.

    Raises:
        ScanError: if one of them is not there; the message names it.
    """
    parts = split_channel(path.name)
    if channels < 2 or parts is None or parts[1] != 0:
        return (path,)
    scan, _, ending = parts
    files = [path.with_name(f"{scan}_{number:04d}{ending}") for number in range(channels)]
    there = [file for file in files if file.is_file()]
    if there == [path]:
        return (path,)  # all channels may be in it
    if len(there) != channels:
        missing = ", ".join(repr(file.name) for file in files if file not in there)
        raise ScanError(
            f"the scan {scan!r} must have a file for each of its {channels} channels, {missing} is missing.",
            "scan_channels",
        )
    return tuple(files)


def group_channels(paths: Iterable[Path]) -> dict[str, tuple[Path, ...]]:
    """Which files belong to which scan.

    Args:
        paths: files of one folder.

    Returns:
        Id -> files in order of their channels. The id of files that are numbered from ``_0000`` on is what
        stands before that; any other file is a scan of its own.

    Example:
        >>> sorted(group_channels(map(Path, ["a_0000.nii", "a_0001.nii", "b_0001.nii", "c.nii"])))
        ['a', 'b_0001', 'c']
    """
    numbered: dict[tuple[str, str], dict[int, Path]] = {}
    scans: dict[str, tuple[Path, ...]] = {}
    for path in sorted(paths):
        parts = split_channel(path.name)
        if parts is not None:
            numbered.setdefault((parts[0], parts[2]), {})[parts[1]] = path
            continue
        ending = next((end for end in ENDINGS if path.name.lower().endswith(end)), "")
        if ending:
            scans[path.name[: len(path.name) - len(ending)]] = (path,)
    for (scan, ending), files in numbered.items():
        if 0 in files:
            scans[scan] = tuple(file for _, file in sorted(files.items()))
        else:
            scans |= {file.name[: len(file.name) - len(ending)]: (file,) for file in files.values()}
    return scans
