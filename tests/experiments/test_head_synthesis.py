"""Heads made from label maps: chance from one place only, targets that fit the image."""

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segtrust.experiments.head_synthesis import GRID_MM, read_head_map, synthesise, t1_image


def toy_labels():
    """A box of white matter with a hippocampus on either side, in air; 90 x 96 x 84 mm."""
    labels = np.zeros((90, 96, 84), dtype=np.int16)
    labels[10:80, 10:86, 10:74] = 2
    labels[45:80, 10:86, 10:74] = 41
    labels[20:32, 40:60, 30:42] = 17
    labels[58:70, 40:60, 30:42] = 53
    labels[5:10] = 515
    return labels


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    path = tmp_path_factory.mktemp("maps") / "toy.nii.gz"
    nib.save(nib.Nifti1Image(toy_labels(), np.eye(4)), path)
    return read_head_map(path)


def sample(toy, seed):
    return synthesise([toy], torch.Generator().manual_seed(seed))


def test_shares_are_those_of_the_labels(toy):
    assert toy.shape == (30, 32, 28)
    assert np.allclose(toy.shares.sum(axis=1), 1, atol=1e-6)
    column = toy.shares[:, toy.ids.index(17)]
    assert column.sum() * 27 == pytest.approx(12 * 20 * 12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_one_seed_makes_one_sample_whose_shares_sum_to_one(toy, seed):
    one, again = sample(toy, seed), sample(toy, seed)
    assert torch.equal(one.image, again.image)
    assert torch.equal(one.target, again.target)
    assert one.target.shape == (3, *one.image.shape[1:])
    assert torch.isfinite(one.image).all()
    assert torch.allclose(one.target.sum(0), torch.ones(one.image.shape[1:]), atol=1e-5)
    if one.kind != "head":
        assert not one.target[1:].any()


def test_left_lies_to_the_left_in_every_head_that_shows_both(toy):
    heads = [s for seed in range(60) if (s := sample(toy, seed)).kind == "head"]
    whole = [s.target[1:] for s in heads if (s.target[1:].sum((1, 2, 3)) * GRID_MM**3 > 1000).all()]
    assert len(whole) > 10
    for left, right in whole:
        assert left.nonzero()[:, 0].float().mean() < right.nonzero()[:, 0].float().mean()


def test_every_kind_is_drawn(toy):
    kinds = [sample(toy, seed).kind for seed in range(120)]
    assert set(kinds) == {"head", "no head", "turned head"}
    assert kinds.count("head") > 60


def test_a_t1_head_is_brighter_in_white_matter_than_in_hippocampus_and_air():
    labels = toy_labels().astype(np.int64)
    image = t1_image(labels, torch.Generator().manual_seed(0)).numpy()
    white, hippocampus, air = (float(image[labels == label].mean()) for label in (2, 17, 0))
    assert white == pytest.approx(0.85, abs=0.02)  # blurred at its border
    assert hippocampus == pytest.approx(0.5, abs=0.1)
    assert air == pytest.approx(0.0, abs=0.05)
