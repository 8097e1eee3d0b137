"""Boxes that were looked at, and what stands outside of them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segtrust.inference.looked_at import LookedAt, Place

SHAPE = (7, 6, 5)


def boxes():
    sides = [st.tuples(st.integers(0, n - 1), st.integers(1, n)).filter(lambda e: e[0] < e[1]) for n in SHAPE]
    return st.tuples(*sides).map(lambda ends: tuple(slice(*end) for end in ends))


@given(st.lists(boxes(), max_size=3))
def test_what_is_known_of_the_window_comes_back_inside_the_boxes_and_nowhere_else(chosen):
    looked_at = LookedAt(SHAPE, tuple(Place("side", box, {}) for box in chosen))
    values = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    whole, inside = looked_at.spread(values[looked_at.window], -1), looked_at.inside()
    assert np.array_equal(whole[inside], values[inside])
    assert (whole[~inside] == -1).all()
    assert inside.sum() == len({i for box in chosen for i in values[box].ravel().tolist()})


def test_the_answer_names_a_box_by_its_first_voxel_and_its_size():
    place = Place("left ball", (slice(1, 4), slice(0, 2), slice(2, 5)), {"likeness": "like"})
    assert place.to_json() == {
        "name": "left ball",
        "first_voxel": [1, 0, 2],
        "voxels": [3, 2, 3],
        "likeness": "like",
    }
