"""Which patient a scan belongs to, from a table that a person wrote with a spreadsheet."""

import codecs
import csv
import io
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from segtrust.errors import SettingError

__all__ = ["SubjectTable", "read_subject_table"]

_COLUMNS = ("case", "subject")
_DELIMITERS = (",", ";", "\t", "|")
_ENDINGS = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".npz", ".hdr", ".img")
_CHANNEL = "_0000"  # nnU-Net's name of a scan's first image
_EMPTY = ("", "nan", "none", "null", "n/a", "#n/a")  # how programs write a cell that holds nothing
_MARKS = (  # the long ones first: that of UTF-32 begins like that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NAMED = 3  # ids in a message; more would hide its sense


@dataclass(frozen=True)
class SubjectRow:
    """One row: its number in the file (the header is row 1), the id as it is written, the subject."""

    number: int
    case: str
    subject: str


@dataclass(frozen=True)
class SubjectTable:
    """A table that was read to its end and checked."""

    path: Path
    rows: tuple[SubjectRow, ...]

    def owners(self, scan_ids: Iterable[str]) -> dict[str, str]:
        """Say which subject each scan belongs to.

        Args:
            scan_ids: the scans at hand.

        Returns:
            Scan -> subject, of those scans that have a row. An id of the table may carry a folder, the ending
            of its file, or nnU-Net's ``_0000``.

        Raises:
            SettingError: if two rows name one scan; or if a row names no scan while a scan has no row, as
                then the two may be the same, spelt differently.

        Note:
            Rows of scans that are not at hand are allowed if every scan has its own: one table may serve a
            whole archive.
        """
        scans = tuple(scan_ids)
        row_of, strangers = self._matched(scans)
        without = sorted(set(scans) - row_of.keys())
        if strangers and without:
            rows = _listed([f"row {row.number} ({row.case!r})" for row in strangers])
            raise SettingError(
                f"{self.path.name} must name scans by their ids, but no scan has the id of {rows}, and there "
                f"is no row for {_listed(list(map(repr, without)))}. An id is the file's name without its "
                "ending. Mend the ids, or remove the rows."
            )
        return {scan: row.subject for scan, row in row_of.items()}

    def remarks(self, scan_ids: Iterable[str]) -> tuple[str, ...]:
        """Say what a reader should know about how table and scans fit together.

        Args:
            scan_ids: the scans at hand.

        Returns:
            Sentences about scans without a row, and about rows that name no scan; empty if there are none.
        """
        scans = tuple(scan_ids)
        row_of, strangers = self._matched(scans)
        without = [repr(scan) for scan in sorted(set(scans) - row_of.keys())]
        sentences = []
        if without:
            sentences.append(
                f"{self.path.name} has no row for {_listed(without)}: each counts as a subject of its own."
            )
        if strangers:
            sentences.append(
                f"{len(strangers)} of {len(self.rows)} rows of {self.path.name} name scans that are not here."
            )
        return tuple(sentences)

    def _matched(self, scan_ids: Iterable[str]) -> tuple[dict[str, SubjectRow], list[SubjectRow]]:
        """Scan -> its row, and the rows that name none."""
        scans = {_normal(scan): scan for scan in scan_ids}
        row_of: dict[str, SubjectRow] = {}
        strangers = []
        for row in self.rows:
            scan = next((scans[name] for name in _names_of(row.case) if name in scans), None)
            if scan is None:
                strangers.append(row)
                continue
            before = row_of.setdefault(scan, row)
            if before is not row:
                raise SettingError(_twice(self.path, before, row))
        return row_of, strangers


def read_subject_table(path: Path) -> SubjectTable:
    """Read which patient each scan belongs to, as spreadsheets export it.

    Args:
        path: text with the columns ``case`` and ``subject``, and others as one likes; separated by commas,
            semicolons, tabs or bars; in UTF-8, UTF-16, UTF-32 or, if it is none of them, Windows-1252.

    Returns:
        The table; case and spaces of the column names do not matter.

    Raises:
        SettingError: if the file or a column is missing, or, with the number of its row, if a cell is missing
            or empty, there are more cells than columns, or an id comes twice.
    """
    text = _text(path)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    try:
        numbered = [(number, cells) for number, cells in enumerate(lines, start=1) if cells]
    except csv.Error as error:
        raise SettingError(
            f"{path} must be a table with the columns case and subject, but line {lines.line_num}: {error}."
        ) from error
    if numbered and numbered[0][1][0].strip().lower().startswith("sep="):
        del numbered[0]  # which Excel writes to itself
    if not numbered:
        raise SettingError(f"{path} must have the columns case and subject, got an empty file.")
    header = [_normal(cell).lower() for cell in numbered[0][1]]
    if any(header.count(name) != 1 for name in _COLUMNS):
        raise SettingError(
            f"{path} must have the columns case and subject, each once, got {', '.join(header)!r}."
        )
    where = {name: header.index(name) for name in _COLUMNS}
    rows = tuple(_row(path, number, cells, header, where) for number, cells in numbered[1:])
    if not rows:
        raise SettingError(f"{path} must have a row for each scan, got the names of its columns only.")
    _refuse_doubles(path, rows)
    return SubjectTable(path, rows)


def _row(
    path: Path, number: int, cells: list[str], header: list[str], where: Mapping[str, int]
) -> SubjectRow:
    if any(cell.strip() for cell in cells[len(header) :]):
        raise SettingError(
            f"row {number} of {path.name} must have {len(header)} cells as its header has, got {len(cells)}. "
            'Put a cell that holds the separator in quotes ("Doe, Jane").'
        )
    values = {}
    for name, column in where.items():
        value = _normal(cells[column]) if column < len(cells) else ""
        if value.lower() in _EMPTY:
            raise SettingError(
                f"row {number} of {path.name} must have a {name}, got {value!r} in {_shown(cells)}. A scan "
                "whose patient is not known has no row."
            )
        values[name] = value
    return SubjectRow(number, values["case"], values["subject"])


def _refuse_doubles(path: Path, rows: Iterable[SubjectRow]) -> None:
    first: dict[str, SubjectRow] = {}
    for row in rows:
        before = first.setdefault(_names_of(row.case)[1], row)
        if before is not row:
            raise SettingError(_twice(path, before, row))


def _twice(path: Path, first: SubjectRow, second: SubjectRow) -> str:
    return (
        f"{path.name} must name each scan once, got {second.case!r} in rows {first.number} and "
        f"{second.number}. Remove one of them."
    )


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingError(
            f"there must be a CSV file {path} with the columns case and subject, but {error.strerror}."
        ) from error
    mark = next((name for start, name in _MARKS if content.startswith(start)), None)
    names = (mark,) if mark else _guesses(content)
    for name in names:
        try:
            text = content.decode(name)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise SettingError(
        f"{path} must be text with the columns case and subject, in UTF-8, UTF-16 or Windows-1252. Is it a "
        "workbook? Save it as CSV."
    )


def _guesses(content: bytes) -> tuple[str, ...]:
    """Without a mark: zeros in every other byte are UTF-16 of Latin letters; else UTF-8, then Windows."""
    if content[1:2] == b"\0":
        return ("utf-16-le",)
    if content[:1] == b"\0":
        return ("utf-16-be",)
    return ("utf-8", "cp1252")


def _delimiter(text: str) -> str:
    """The character that splits the header, which is the first line that is not empty, into both columns."""
    lines = [line for line in text.splitlines() if line.strip()]
    if lines and lines[0].strip().strip('"').lower().startswith("sep="):
        lines = lines[1:]
    header = lines[0] if lines else ""
    for delimiter in _DELIMITERS:
        names = [_normal(cell.strip().strip('"')).lower() for cell in header.split(delimiter)]
        if all(name in names for name in _COLUMNS):
            return delimiter
    return ","


def _names_of(case: str) -> tuple[str, str, str]:
    """Ids of the scan that may be meant: as it is written, without ending, and without nnU-Net's channel."""
    name = _normal(case.replace("\\", "/").rpartition("/")[2])
    ending = next((e for e in _ENDINGS if name.lower().endswith(e) and len(name) > len(e)), "")
    stem = name[: len(name) - len(ending)]
    return name, stem, stem.removesuffix(_CHANNEL)


def _normal(text: str) -> str:
    """Without spaces around, and composed: macOS takes letters of file names apart."""
    return unicodedata.normalize("NFC", text).strip().strip("\ufeff").strip()


def _shown(cells: list[str]) -> str:
    return repr(",".join(cells))


def _listed(items: list[str]) -> str:
    more = len(items) - _NAMED
    return ", ".join(items[:_NAMED]) + (f" and {more} more" if more > 0 else "")
