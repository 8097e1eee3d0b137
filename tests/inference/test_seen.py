"""What training scans looked like, and what is flagged by it afterwards."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from phantoms import spec_of
from segtrust.inference.flags import brightness_levels, input_flags
from segtrust.inference.scan import Scan
from segtrust.inference.seen import seen_in, with_largest
from segtrust.models import Head, Intensity, ModelSpec

CROPS = spec_of(
    spatial_dims=2,
    patch=(64, 64),
    spacing=None,
    intensity=Intensity("window", 0, 255),
    extent_mm=None,
    head=Head(rank=2),
)


def crop(shape=(64, 64, 1), low=0, high=256, spacing=None, seed=0):
    """Squares of values, as the brightness of a photograph: most are dark."""
    values = low + (high - low) * np.random.default_rng(seed).random(shape) ** 2
    return Scan(torch.from_numpy(values.astype(np.float32))[None], np.eye(4), spacing)


@pytest.fixture(scope="module")
def seen():
    return seen_in(CROPS, [crop(seed=seed, high=200 + seed) for seed in range(40)])


def codes(scan, spec):
    return [flag.code for flag in input_flags(scan, spec) if flag.code != "spacing_unknown"]


def test_crops_like_those_of_training_are_not_flagged(seen):
    assert seen.extent_voxels == ((1.0, 1.0), (64.0, 64.0), (64.0, 64.0))
    assert seen.extent_mm is None  # no scan said its size
    assert [codes(crop(seed=seed, high=210), seen) for seed in range(100, 120)] == [[]] * 20


@pytest.mark.parametrize("shape", [(128, 128, 1), (64, 64, 20), (32, 64, 1)], ids=str)
def test_another_field_of_view_is_flagged_in_voxels(seen, shape):
    assert codes(crop(shape, high=210), seen) == ["field_of_view"]
    text = " ".join(flag.text for flag in input_flags(crop(shape, high=210), seen))
    assert "voxels, trained on 1-1 x 64-64 x 64-64 voxels" in text


def test_voxels_are_counted_whatever_their_size(seen):
    assert codes(crop(high=210, spacing=(0.7, 0.7, 2.5)), seen) == []


@pytest.mark.parametrize(
    ("low", "high"),
    [(0, 1), (-1000, 400), (1000, 1200), (0, 4000)],
    ids=["0 to 1", "CT", "moved", "12 bits"],
)
def test_other_values_are_flagged_where_a_window_takes_them_as_they_are(seen, low, high):
    assert codes(crop(low=low, high=high), seen) == ["intensity"]
    blind = replace(seen, intensity_levels=None)
    assert codes(crop(low=low, high=high), blind) == []  # asymmetry alone is the same at any scale


def test_scans_that_are_normalised_have_no_levels():
    assert seen_in(replace(CROPS, intensity=Intensity("zscore")), [crop()]).intensity_levels is None


def test_levels_are_percentiles_of_each_channel():
    # of 0..100 percentile p is p; the smallest does not lie at the border, where it would be padding
    values = torch.arange(101.0).roll(50).view(1, 101, 1, 1)
    assert brightness_levels(Scan(torch.cat([values, 2 * values]), np.eye(4), None)) == [
        (1.0, 99.0),
        (2.0, 198.0),
    ]


def test_what_was_seen_is_read_back_from_json(seen):
    limited = replace(seen, head=Head(rank=2, largest=300))
    assert ModelSpec.from_json(limited.to_json()) == limited
    assert not {"extent_voxels", "intensity_levels"} & spec_of().to_json().keys()  # digests stay
    assert "largest" not in spec_of().to_json()["head"]


def test_the_limit_is_the_largest_label_of_training():
    small, large = torch.zeros(4, 4, dtype=torch.bool), torch.zeros(4, 4, dtype=torch.bool)
    small[0, 0], large[:2, :3] = True, True
    assert with_largest(CROPS, [small, large]).head.largest == 6
    assert with_largest(CROPS, [torch.stack([small, large], dim=-1)]).head.largest == 6  # slices of a stack
    volume = torch.stack([small, large], dim=-1)
    assert with_largest(spec_of(head=Head(rank=2)), [volume]).head.largest == 7
    assert with_largest(CROPS, [torch.zeros(4, 4, dtype=torch.bool)]).head.largest is None
