"""Whole heads at hand, in several forms, and scans in which no hippocampus is to be found."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import nibabel
import numpy as np
import torch
from numpy.typing import NDArray

from segtrust.inference import Scan, read_scan

__all__ = ["DATA", "ORDERS", "Head", "real_heads", "stored", "stored_labels"]

DATA = Path("../shared/data")
ORDERS = ("RAS", "LPS", "ASR", "PIR", "SAL", "IPL")
_LEFT, _RIGHT = 37, 38  # hippocampi of AAL
_SEED = 22


@dataclass(frozen=True)
class Head:
    """A scan, its hippocampi if an atlas has them (1 left, 2 right), and what must be found."""

    name: str
    scan: Callable[[], Scan]
    atlas: NDArray[np.int64] | None = None
    expected: str = "both"


def real_heads(mricron: Path) -> Iterator[Head]:
    """Every whole head at hand, and scans that are none; what is missing is named and left out.

    Args:
        mricron: templates of Debian's package `mricron-data`.
    """
    if (mricron / "ch2.nii.gz").is_file():
        yield from _colin(mricron)
        yield Head("monkey (INIA19)", lambda: read_scan(mricron / "inia19-t1-brain.nii.gz"), expected="none")
    else:
        print(f"left out: no ch2.nii.gz in {mricron}")
    if (nilearn := find_spec("nilearn")) and nilearn.origin:
        folder = Path(nilearn.origin).parent / "datasets" / "data"
        mni = folder / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
        statistical = folder / "image_10426.nii.gz"
        yield Head("MNI152 (nilearn)", lambda: read_scan(mni))
        yield Head("statistical map (nilearn)", lambda: read_scan(statistical), expected="none")
    yield Head("post-contrast T1, 22 slices of 6.5 mm", lambda: read_scan(DATA / "dicom_head" / "study3"))
    abdomen = DATA / "abdomen_ct" / "image_1p5mm.nii.gz"
    yield Head("abdomen, CT, 1.5 mm", lambda: read_scan(abdomen), expected="none")
    yield Head("noise", lambda: noise(0), expected="none")
    yield Head("smooth noise", lambda: noise(3), expected="none")


def _colin(mricron: Path) -> Iterator[Head]:
    """Colin27, as it is and spoilt in ways that happen."""
    whole = read_scan(mricron / "ch2.nii.gz")
    areas = np.asarray(nibabel.load(mricron / "aal.nii.gz").dataobj)  # type: ignore[attr-defined]
    atlas = (areas == _LEFT) + 2 * (areas == _RIGHT).astype(np.int64)
    yield Head("Colin27", lambda: whole, atlas)
    yield Head("Colin27, skull-stripped", lambda: read_scan(mricron / "ch2bet.nii.gz"), atlas)
    for order in ORDERS[1:]:
        turned = stored_labels(atlas, whole.affine, order)
        yield Head(f"Colin27, stored {order}", partial(stored, whole, order), turned)
    yield Head("Colin27, slices of 5 mm", lambda: thick(whole, 2, 5), atlas[:, :, 2::5][:, :, :36])
    yield Head("Colin27, right half cut off", lambda: window(whole, 0, 0, 100), expected="left")
    yield Head("Colin27, left half cut off", lambda: window(whole, 0, 82, 181), expected="right")
    yield Head("Colin27, nothing below z = 20 mm", lambda: window(whole, 2, 92, 181), expected="none")
    yield Head("Colin27, cut through the hippocampi", lambda: window(whole, 2, 56, 181), expected="none")
    for order in ("RPS", "RAI", "SAR", "RSA"):  # the axes are turned, and the header says nothing of it
        yield Head(f"Colin27, {order} stored as RAS", partial(misnamed, whole, order), expected="none")


def stored(scan: Scan, order: str) -> Scan:
    """The same voxels in another order of axes."""
    image = nibabel.Nifti1Image(scan.data[0].numpy(), scan.affine)
    turned = image.as_reoriented(_turn(scan.affine, order))
    data = np.ascontiguousarray(turned.get_fdata(dtype=np.float32))
    zooms = tuple(float(z) for z in turned.header.get_zooms()[:3])
    return Scan(torch.from_numpy(data)[None], np.asarray(turned.affine), zooms)  # type: ignore[arg-type]


def stored_labels(labels: NDArray[np.int64], affine: NDArray[np.float64], order: str) -> NDArray[np.int64]:
    """The same for labels."""
    image = nibabel.Nifti1Image(labels.astype(np.int16), affine).as_reoriented(_turn(affine, order))
    return np.asarray(image.dataobj).astype(np.int64)


def _turn(affine: NDArray[np.float64], order: str) -> NDArray[np.float64]:
    ways = nibabel.orientations
    return ways.ornt_transform(ways.io_orientation(affine), ways.axcodes2ornt(order))  # type: ignore[no-any-return]


def misnamed(scan: Scan, order: str) -> Scan:
    """The voxels in another order, under a header that says RAS."""
    turned = stored(scan, order)
    return replace(turned, affine=np.diag([*(turned.spacing or ()), 1.0]))


def thick(scan: Scan, axis: int, times: int) -> Scan:
    """Slices so many times as thick, each the mean of those it holds."""
    assert scan.spacing is not None
    count = scan.shape[axis] // times
    data = scan.data.narrow(axis + 1, 0, count * times).unflatten(axis + 1, (count, times)).mean(axis + 2)
    affine, spacing = scan.affine.copy(), list(scan.spacing)
    affine[:3, 3] += affine[:3, axis] * (times - 1) / 2
    affine[:3, axis] *= times
    spacing[axis] *= times
    return Scan(data, affine, tuple(spacing))  # type: ignore[arg-type]


def window(scan: Scan, axis: int, start: int, stop: int) -> Scan:
    """A smaller field of view."""
    affine = scan.affine.copy()
    affine[:3, 3] += affine[:3, axis] * start
    return replace(scan, data=scan.data.narrow(axis + 1, start, stop - start).contiguous(), affine=affine)


def noise(smooth: int) -> Scan:
    """Noise on 160 x 200 x 180 voxels of 1 mm, averaged over cubes."""
    values = torch.randn(1, 160, 200, 180, generator=torch.Generator().manual_seed(_SEED))
    if smooth:
        values = torch.nn.functional.avg_pool3d(values[None], 2 * smooth + 1, 1, smooth)[0]
    return Scan(values, np.eye(4), (1.0, 1.0, 1.0))
