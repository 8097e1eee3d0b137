"""The argmax survives every calibrator to the last bit, ties included."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segtrust import calibrators as c
from segtrust.calibrators.winner import keep_winner

KINDS = [
    lambda _k: c.Identity(),
    lambda _k: c.PooledTemperature(7.0),
    lambda _k: c.PooledTemperature(0.1),
    lambda _k: c.DistanceTemperature(2.0, 0.0, 4.0, 1.0),
    lambda _k: c.TopLabelIsotonic((-2.0, 3.0, 20.0), (0.05, 0.4, 0.99)),
    lambda _k: c.TopLabelIsotonic((0.0,), (1.0,)),
    lambda k: c.TopClassTemperature(tuple(0.2 + 3.0 * i for i in range(k))),
]
NAMES = ["identity", "flat", "sharp", "distance", "isotonic", "certain", "top-class"]


@st.composite
def near_ties(draw):
    """Float32 probabilities of 2 to 4 classes whose largest two differ by 0 to 3 units in the last place."""
    k = draw(st.integers(2, 4))
    columns = []
    for _ in range(draw(st.integers(1, 6))):
        weights = np.array(draw(st.lists(st.integers(0, 6), min_size=k, max_size=k)), dtype=np.float64) + 1e-9
        p = (weights / weights.sum()).astype(np.float32)
        a, b = draw(st.permutations(range(k)))[:2]
        p[a] = p[b] = max(p[a], p[b])
        p = (p / p.sum()).astype(np.float32)
        for _ in range(draw(st.integers(0, 3))):
            p[a] = np.nextafter(p[a], np.float32(2))
        columns.append(p)
    return torch.from_numpy(np.stack(columns, axis=1))


@pytest.mark.parametrize("make", KINDS, ids=NAMES)
@given(p=near_ties(), mm=st.floats(0, 12))
def test_the_argmax_is_the_uncalibrated_one_in_every_voxel(make, p, mm):
    got = make(len(p)).apply(p, torch.full(p.shape[1:], mm))
    assert got.dtype == torch.float32
    assert torch.equal(got.argmax(0), p.argmax(0))
    np.testing.assert_allclose(got.sum(0), np.ones(p.shape[1:]), atol=1e-5)


def test_a_near_tie_that_rounding_would_turn_is_the_case_that_needs_it():
    p = torch.tensor([[0.5], [0.5]])
    p[1] = torch.nextafter(p[1], torch.tensor(2.0))
    scaled = torch.softmax(p.log() / 7, 0)
    assert scaled.argmax(0) != p.argmax(0)
    # one unit in the last place of 0.5 is 2**-24 below and 2**-23 above
    got = c.PooledTemperature(7.0).apply(p, torch.zeros(1))
    assert got.argmax(0) == p.argmax(0)
    assert (got - scaled).abs().max().item() <= 2**-23


def test_where_the_winner_leads_nothing_changes():
    p = torch.softmax(torch.randn(3, 100, generator=torch.Generator().manual_seed(0)), 0)
    q = p.sqrt() / p.sqrt().sum(0)
    assert torch.equal(keep_winner(q.clone(), p), q)
