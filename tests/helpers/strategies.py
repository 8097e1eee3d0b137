"""Every hypothesis strategy of the suite: what a random input may look like."""

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segtrust.selection import Candidate

__all__ = [
    "binary_masks",
    "candidate_pools",
    "label_maps",
    "probs",
    "rotations",
    "sample_stacks",
    "score_tables",
    "sigmoid_probs",
    "spacings",
    "unit_maps",
]


_CLASSES = st.integers(2, 4)


def _distributions(draw, shape, classes, axis):
    """Integer weights made to sum to one: exact zeros, certainties and ties all turn up."""
    weights = draw(hnp.arrays(np.int64, shape, elements=st.integers(0, 9))).astype(np.float64)
    winner = draw(st.integers(0, classes - 1))
    empty = weights.sum(axis=axis, keepdims=True) == 0
    one_hot = np.moveaxis(np.eye(classes)[np.full(np.delete(shape, axis), winner)], -1, axis)
    weights = np.where(empty, one_hot, weights)
    return torch.from_numpy(weights / weights.sum(axis=axis, keepdims=True))


@st.composite
def probs(draw, *, classes=_CLASSES, dtype=torch.float64):
    """Softmax probabilities ``(B, C, X, Y)``."""
    n = draw(classes)
    shape = (draw(st.integers(1, 2)), n, draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    return _distributions(draw, shape, n, 1).to(dtype)


@st.composite
def sample_stacks(draw, *, classes=_CLASSES, dtype=torch.float64):
    """Stacks of softmax samples ``(S, B, C, X)``."""
    n = draw(classes)
    shape = (draw(st.integers(1, 5)), draw(st.integers(1, 2)), n, draw(st.integers(1, 4)))
    return _distributions(draw, shape, n, 2).to(dtype)


@st.composite
def sigmoid_probs(draw, *, leading=("B",)):
    """Independent probabilities ``(*leading, C, X)``; ends and middle included."""
    shape = (*(draw(st.integers(1, 4)) for _ in leading), draw(st.integers(1, 3)), draw(st.integers(1, 4)))
    weights = draw(hnp.arrays(np.int64, shape, elements=st.integers(0, 8)))
    return torch.from_numpy(weights / 8.0)


@st.composite
def unit_maps(draw, *, shape=None):
    """Float64 maps with values in [0, 1], three axes."""
    shape = shape or tuple(draw(st.integers(1, 5)) for _ in range(3))
    return draw(hnp.arrays(np.float64, shape, elements=st.floats(0, 1)))


@st.composite
def binary_masks(draw, *, max_side=5):
    """Boolean volumes, three axes."""
    shape = tuple(draw(st.integers(1, max_side)) for _ in range(3))
    return draw(hnp.arrays(np.bool_, shape))


@st.composite
def label_maps(draw, *, n_structures=2, max_side=5):
    """Integer volumes with values 0..N."""
    shape = tuple(draw(st.integers(1, max_side)) for _ in range(3))
    return draw(hnp.arrays(np.int64, shape, elements=st.integers(0, n_structures)))


def spacings():
    """Voxel sizes in millimetres, three axes."""
    side = st.floats(0.3, 6.0, allow_nan=False)
    return st.tuples(side, side, side)


def score_tables():
    """Scan -> score, some of them missing."""
    return st.dictionaries(
        st.text("abcdef", min_size=1, max_size=4),
        st.none() | st.floats(0, 1).map(lambda value: round(value, 1)),
        max_size=8,
    )


@st.composite
def candidate_pools(draw):
    """Candidates of a few subjects: some without score, not scored at all, or to be checked; ties turn up."""
    tenths = st.integers(0, 10).map(lambda n: n / 10)
    with_features = draw(st.booleans())
    return [
        Candidate(
            scan_id=scan_id,
            subject=draw(st.sampled_from("uvwxyz")),
            score=draw(st.none() | tenths),
            scored=draw(st.sampled_from([True, True, True, False])),
            class_scores=draw(st.dictionaries(st.integers(1, 3), tenths)),
            foreground=draw(st.dictionaries(st.integers(1, 3), st.integers(0, 2))),
            features=tuple(draw(st.lists(tenths, min_size=2, max_size=2))) if with_features else (),
            check=draw(st.sampled_from([None, None, None, "looks unlike the others"])),
            doubt=draw(st.none() | tenths),
        )
        for scan_id in draw(st.lists(st.text("abc", min_size=1, max_size=4), max_size=12, unique=True))
    ]


@st.composite
def rotations(draw):
    """Signed permutations of three axes: every way to store the same voxels."""
    order = draw(st.permutations([0, 1, 2]))
    flips = draw(st.lists(st.booleans(), min_size=3, max_size=3))
    return tuple(order), tuple(flips)
