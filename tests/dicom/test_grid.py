"""How volumes lie on series."""

from itertools import permutations, product

import numpy as np
import pytest

from dicom_phantoms import marked_prediction, stored_otherwise
from segtrust.dicom.grid import place
from segtrust.errors import DicomError

SHAPE = (4, 3, 2)
AFFINE = np.array([[-0.5, 0, 0, 20], [0, -0.75, 0, -10], [0, 0, 3, 5], [0, 0, 0, 1]], float)
TURN = np.array([[0.8, -0.6, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def moved(millimetres):
    affine = AFFINE.copy()
    affine[:3, 3] += millimetres
    return affine


@pytest.mark.parametrize("turn", [np.eye(4), TURN], ids=["straight", "oblique"])
@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_every_way_of_storing_a_volume_is_brought_back_exactly(turn, order):
    affine = turn @ AFFINE
    straight = marked_prediction(affine, SHAPE)
    for flips in product((False, True), repeat=3):
        stored = stored_otherwise(straight, order, flips)
        frames = place(stored.affine, stored.mask.shape, affine, SHAPE).to_frames(stored.probs[1])
        np.testing.assert_array_equal(frames, straight.probs[1].transpose(2, 1, 0))


def test_affines_rounded_to_single_precision_still_fit():
    affine = TURN @ AFFINE
    got = place(affine.astype(np.float32).astype(float), SHAPE, affine, SHAPE)
    assert got == place(affine, SHAPE, affine, SHAPE)


@pytest.mark.parametrize(
    ("affine", "shape", "words"),
    [
        (AFFINE, (4, 3, 3), r"needs \(4, 3, 2\) columns, rows and slices, got \(4, 3, 3\)"),
        (AFFINE, (3, 4, 2), r"needs \(4, 3, 2\) columns, rows and slices, got \(3, 4, 2\)"),
        (moved((0.04, 0, 0)), SHAPE, r"within 0.05 voxels, got one 0.08 voxels away"),
        (moved((0, 0, 3)), SHAPE, "got one 1 voxels away"),
        (AFFINE @ np.diag([1.1, 1, 1, 1]), SHAPE, r"got one 0.3 voxels away"),
        (AFFINE @ TURN, SHAPE, "voxels away"),
        (np.zeros((4, 4)), SHAPE, "axes along those of the series"),
        (np.full((4, 4), np.nan), SHAPE, "finite numbers in its affine"),
    ],
    ids=["slices", "turned", "shifted", "one slice up", "spacing", "angle", "no spacing", "nan"],
)
def test_another_grid_is_refused_and_says_how_it_differs(affine, shape, words):
    with pytest.raises(DicomError, match=words) as caught:
        place(affine, shape, AFFINE, SHAPE)
    assert "without resampling or cropping" in str(caught.value)
    assert caught.value.code == "dicom"


@pytest.mark.parametrize("across", [3.0, -1.0, 17.0])
def test_one_slice_fits_whatever_its_file_says_across_it(across):
    affine = AFFINE.copy()
    affine[2, 2] = across
    volume = np.arange(12.0).reshape(4, 3, 1)
    frames = place(affine, (4, 3, 1), AFFINE, (4, 3, 1)).to_frames(volume)
    np.testing.assert_array_equal(frames[0], volume[:, :, 0].T)


def test_one_slice_at_another_height_is_refused():
    with pytest.raises(DicomError, match="voxels away"):
        place(moved((0, 0, 1)), (4, 3, 1), AFFINE, (4, 3, 1))
