"""Writes docs/reference/files.md: files are made, each is given to its door, what came of it is noted.

`--check` writes nothing and fails if the page is out of date.
"""

import gzip
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

from dicom_phantoms import make_series
from dicom_refusals import REFUSALS
from segtrust.adapters import find_cases, read_case
from segtrust.errors import SegtrustError
from segtrust.experiments.pages import write_or_check
from segtrust.files.dicom import find_series
from segtrust.files.label import read_label_file
from segtrust.files.scan import scan_grid
from segtrust.files.subjects import read_subject_table
from segtrust.inference.scan import read_scan

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "files.md"
HEAD = """# Files: what is read, turned and refused

Each row is a file that was made, given to the code that reads such files, and noted with what came of it.
Made by `python scripts/write_files.py`. Bounds on sizes are [settings](settings.md).
"""
SIZE = (6, 5, 4)
AFFINE = np.diag([1.0, 1.5, 2.0, 1.0])
LPS = np.array([[-1.0, 0, 0, 5], [0, -1.5, 0, 6], [0, 0, 2, 0], [0, 0, 0, 1]])
LABEL = np.zeros(SIZE, np.uint8)
LABEL[1:3, 1:4, 1:3] = 1
LABEL[4, 4, 0] = 1  # one corner: no turned label is this one
PROBS = np.stack([0.9 - 0.8 * LABEL, 0.1 + 0.8 * LABEL]).astype(np.float32)
SCAN = (np.arange(LABEL.size).reshape(SIZE) + 100 * LABEL).astype(np.float32)

TURNED = "turned onto the grid of the label"

Row = tuple[str, Callable[[Path], str]]


def nifti(path: Path, values: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    """Write a NIfTI file."""
    nib.save(nib.Nifti1Image(values, affine, dtype=values.dtype), path)
    return path


def scans() -> Iterator[Row]:
    """Images, as `read_scan` takes them."""

    def read(make: Callable[[Path], Path]) -> Callable[[Path], str]:
        def row(folder: Path) -> str:
            scan = read_scan(make(folder))
            return "read" + ("" if scan.spacing else "; voxel size unknown: no millimetres are given")

        return row

    def channels(numbers: tuple[int, ...], second: np.ndarray = AFFINE) -> Callable[[Path], str]:
        def row(folder: Path) -> str:
            for number in numbers:
                nifti(folder / f"a_{number:04d}.nii.gz", SCAN, second if number else AFFINE)
            scan = read_scan(folder / "a_0000.nii.gz", channels=max(numbers) + 1)
            return f"read as one scan of {len(scan.data)} channels"

        return row

    def cut(folder: Path) -> Path:
        path = nifti(folder / "scan.nii.gz", SCAN)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return path

    def write(name: str, content: bytes) -> Callable[[Path], Path]:
        def make(folder: Path) -> Path:
            (folder / name).write_bytes(content)
            return folder / name

        return make

    def plain_nrrd(folder: Path) -> Path:
        nrrd.write(str(folder / "scan.nrrd"), SCAN)
        return folder / "scan.nrrd"

    yield "NIfTI, 16-bit integers", read(lambda d: nifti(d / "scan.nii.gz", SCAN.astype(np.int16)))
    yield "NRRD without voxel size", read(plain_nrrd)
    yield "cut to half its bytes", read(cut)
    yield "not what its ending says", read(write("scan.nii.gz", gzip.compress(b"no image")))
    yield "another ending", read(write("scan.hdr", b""))
    yield "complex numbers", read(lambda d: nifti(d / "scan.nii.gz", SCAN.astype(np.complex64)))
    yield "several volumes", read(lambda d: nifti(d / "scan.nii.gz", np.stack([SCAN, SCAN], -1)))
    yield "not a number somewhere", read(lambda d: nifti(d / "scan.nii.gz", np.where(SCAN > 9, np.nan, SCAN)))
    yield "one value everywhere", read(lambda d: nifti(d / "scan.nii.gz", np.ones(SIZE, np.float32)))
    yield "`a_0000.nii.gz` and `a_0001.nii.gz`, for a model of two channels", channels((0, 1))
    yield "the same, the second lies turned on the same grid", channels((0, 1), LPS)
    yield "the same, the second lies elsewhere", channels((0, 1), AFFINE + np.eye(4, k=3))
    yield "`a_0000.nii.gz` and `a_0002.nii.gz`, for a model of three channels", channels((0, 2))


def places() -> Iterator[Row]:
    """Headers that say where a scan lies, as `read_scan` takes them."""

    def header(change: Callable[[nib.Nifti1Image], None]) -> Callable[[Path], str]:
        def row(folder: Path) -> str:
            image = nib.Nifti1Image(SCAN, LPS)
            change(image)
            nib.save(image, folder / "scan.nii")
            read_scan(folder / "scan.nii")
            return "read; mask and maps lie over it as nibabel, ITK and SimpleITK read them"

        return row

    def text(name: str, *lines: str) -> Callable[[Path], str]:
        def row(folder: Path) -> str:
            fields = [
                "NRRD0004",
                "type: float",
                "dimension: 3",
                "sizes: 6 5 4",
                "encoding: raw",
                "endian: little",
            ]
            content = "\n".join([*fields, *lines, "", ""]).encode() + SCAN.tobytes(order="F")
            (folder / name).write_bytes(content)
            read_scan(folder / name)
            return "read"

        return row

    moved, leaning = LPS.copy(), LPS.copy()
    moved[:3, 3] += 30
    leaning[1, 2] = 0.5
    directions = "space directions: (1,0,0) (0,1,0) (0,0,1)"

    yield "NIfTI, sform and qform alike", header(lambda _: None)
    yield "sform and qform at different places", header(lambda i: i.set_qform(moved, code=1))
    yield "no sform and no qform", header(lambda i: (i.set_sform(None, code=0), i.set_qform(None, code=0)))
    yield (
        "axes that are not at right angles",
        header(lambda i: (i.set_sform(leaning, code=1), i.set_qform(None, code=0))),
    )
    yield "lengths in micrometres", header(lambda i: i.header.set_xyzt_units("micron"))
    yield "NRRD whose voxels lie in another file", text("scan.nrrd", "data file: /etc/passwd")
    yield (
        "NRRD, lengths in centimetres",
        text("scan.nrrd", "space: LPS", directions, 'space units: "cm" "cm" "cm"'),
    )
    yield "NRRD, axis mins", text("scan.nrrd", "spacings: 1 1 1", "axis mins: 5 5 5")


def labels() -> Iterator[Row]:
    """Labels that are submitted for a scan, or lie in `labels/final`."""

    def read(values: np.ndarray, affine: np.ndarray = AFFINE) -> Callable[[Path], str]:
        def row(folder: Path) -> str:
            scan, label = nifti(folder / "scan.nii", SCAN), nifti(folder / "label.nii", values, affine)
            grid = scan_grid(scan)
            turned = read_label_file(label)
            same = np.array_equal(turned.on(grid, "scan").values, turned.values)
            return "read" if same else "turned onto the grid of the scan"

        return row

    elsewhere, half = AFFINE.copy(), AFFINE.copy()
    elsewhere[:3, 3] += 100
    half[0, 3] += 0.5
    yield "64-bit integers", read(LABEL.astype(np.int64))
    yield "values up to 65,535", read(LABEL.astype(np.uint16) * 65535)
    yield "the same place in another voxel order", read(LABEL[::-1, ::-1], LPS)
    yield "another place", read(LABEL, elsewhere)
    yield "half a voxel aside", read(LABEL, half)
    yield "another size", read(LABEL[:5])
    yield "values of .5", read(LABEL * np.float32(0.5))
    yield "several layers", read(np.stack([LABEL, LABEL], -1))


def series() -> Iterator[Row]:
    """DICOM folders, the same for a studies folder, a session and a PACS."""

    def read(change: Callable[[list], list] | None) -> Callable[[Path], str]:
        def row(folder: Path) -> str:
            find_series(make_series(folder / "series", change=change))
            return "read"

        return row

    yield "one even series", read(None)
    for name, (change, _) in REFUSALS.items():
        yield name, read(change)


def volumes() -> Iterator[Row]:
    """Probability volumes with a label, as `segtrust evaluate` takes them."""

    def read(
        make: Callable[[Path, Path], object], word: str = "read", *, trust: bool = False
    ) -> Callable[[Path], str]:
        def row(folder: Path) -> str:
            pred, labels = folder / "pred", folder / "labels"
            pred.mkdir()
            labels.mkdir()
            nifti(labels / "case.nii.gz", LABEL)
            make(pred, labels)
            case = read_case(find_cases([pred], labels).cases[0], trust_order=trust)
            if not np.array_equal(case.probs.argmax(dim=0).numpy(), LABEL):
                raise AssertionError("what is read must lie on the label")
            return word

        return row

    def npz(folder: Path, probs: np.ndarray, mask: np.ndarray | None) -> None:
        np.savez(folder / "case.npz", probabilities=probs.transpose(0, 3, 2, 1))
        if mask is not None:
            nifti(folder / "case.nii.gz", mask)

    def classes(pred: Path, name: str, numbers: tuple[int, ...] = (0, 1)) -> None:
        for k in numbers:
            nifti(pred / name.format(k), PROBS[min(k, 1)])

    last = np.moveaxis(PROBS, 0, -1)
    flipped = np.ascontiguousarray(last[::-1, ::-1])
    yield "NIfTI, classes on the fourth axis", read(lambda p, _: nifti(p / "case.nii.gz", last))
    yield (
        "the same in another voxel order",
        read(lambda p, _: nifti(p / "case.nii.gz", flipped, LPS), TURNED),
    )
    yield "another place", read(lambda p, _: nifti(p / "case.nii.gz", last, AFFINE * 2))
    yield "`.npz` with its mask", read(lambda p, _: npz(p, PROBS, LABEL))
    yield "`.npz` in another order than its mask", read(lambda p, _: npz(p, PROBS[:, ::-1], LABEL), TURNED)
    yield "`.npz` with another mask", read(lambda p, _: npz(p, PROBS, 1 - LABEL))
    yield "`.npz` without a mask", read(lambda p, _: npz(p, PROBS, None))
    yield "`.npz` without a mask, `--trust-order`", read(lambda p, _: npz(p, PROBS, None), trust=True)
    yield "`case_0`, `case_1`", read(lambda p, _: classes(p, "case_{}.nii.gz"))
    yield "`prob_0_case`, `prob_1_case`", read(lambda p, _: classes(p, "prob_{}_case.nii.gz"))
    yield "a class is missing", read(lambda p, _: classes(p, "case_{}.nii.gz", (0, 1, 3)))
    yield "`case_0000` for the label `case`", read(lambda p, _: nifti(p / "case_0000.nii.gz", last))
    yield "sums other than 1", read(lambda p, _: nifti(p / "case.nii.gz", last * 0.8))
    yield "logits", read(lambda p, _: nifti(p / "case.nii.gz", np.log(last)))
    yield "a mask", read(lambda p, _: nifti(p / "case.nii.gz", LABEL))
    yield (
        "label of .5",
        read(lambda p, q: [nifti(d / "case.nii.gz", v) for d, v in ((p, last), (q, LABEL / 2))]),
    )


def subjects() -> Iterator[Row]:
    """Tables of subjects, for the scans `a` and `b`."""

    def read(text: str, encoding: str = "utf-8") -> Callable[[Path], str]:
        def row(folder: Path) -> str:
            (folder / "subjects.csv").write_bytes(text.encode(encoding))
            table = read_subject_table(folder / "subjects.csv")
            table.owners(("a", "b"))
            return " ".join(["read", *(f"({remark})" for remark in table.remarks(("a", "b")))])

        return row

    yield "UTF-16, tabs", read("case\tsubject\na\tAnn\nb\tAnn\n", "utf-16")
    yield "Windows-1252, semicolons", read("Case ; Subject\na;Müller\nb;Müller\n", "cp1252")
    yield "ids with endings", read("case,subject\na.nii.gz,Ann\nb_0000.nii.gz,Ann\n")
    yield "rows of other scans", read("case,subject\na,Ann\nb,Ann\nc,Bob\n")
    yield "a scan without a row", read("case,subject\na,Ann\n")
    yield "an id that no scan has", read("case,subject\na,Ann\nB,Ann\n")
    yield "an id twice", read("case,subject\na,Ann\nb,Ann\na,Bob\n")
    yield "no subject", read("case,subject\na,\nb,\n")
    yield "a short row", read("case,subject\na\nb,Ann\n")
    yield "other columns", read("scan,patient\na,Ann\n")


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, rows in (
        ("Scans", scans()),
        ("Where a scan lies", places()),
        ("Labels of a scan", labels()),
        ("DICOM folders", series()),
        ("Probability volumes and their labels", volumes()),
        ("Tables of subjects", subjects()),
    ):
        parts.append(f"\n## {title}\n\n| file | what comes of it |\n|---|---|\n")
        parts += [f"| {name} | {outcome(row)} |\n" for name, row in rows]
    return "".join(parts)


def outcome(row: Callable[[Path], str]) -> str:
    """What came of one file; a refusal in its own words."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            text = row(Path(folder))
        except SegtrustError as error:
            text = f"refused: {error}"
        text = re.sub(r"\d+(\.\d+){8,}", "UID", text)  # others each time
        plain = text.replace(f"{Path(folder) / 'x'}"[:-1], "").replace("|", "/")
    return " ".join(plain.split())


if __name__ == "__main__":
    sys.exit(write_or_check((PAGE, page())))
