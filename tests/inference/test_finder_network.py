"""The network that looks for both sides."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from segtrust.inference.finder_network import FinderNetwork, from_blocks, to_blocks


@given(st.tuples(*[st.integers(1, 3)] * 3), st.integers(1, 3))
def test_blocks_lose_nothing(places, channels):
    image = torch.randn(2, channels, *(2 * n for n in places))
    assert torch.equal(from_blocks(to_blocks(image)), image)


def test_a_block_holds_neighbours():
    image = torch.zeros(1, 1, 4, 4, 4)
    image[0, 0, 2:, :2, 2:] = 1
    places = to_blocks(image)[0]
    assert places[:, 1, 0, 1].tolist() == [1.0] * 8
    assert places.sum() == 8


def test_every_voxel_gets_a_value_for_each_class():
    network = FinderNetwork([2, 3, 4, 5], 3).eval()
    assert network(torch.zeros(1, 1, 16, 24, 8)).shape == (1, 3, 16, 24, 8)
