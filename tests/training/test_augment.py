"""Random patches that follow from their seed."""

import pytest
import torch

from phantoms import make_blob, spec_of
from segtrust.inference.scan import prepare
from segtrust.training import Case
from segtrust.training.augment import Augmentation


@pytest.fixture(scope="module")
def case():
    prepared = prepare(make_blob((20, 18, 13)), spec_of())
    return Case("a", "a", prepared.image, (prepared.image[0] > 1).long())


def test_the_same_seed_draws_the_same_patch(case):
    draw = Augmentation(spec_of(), flip_axes=(0, 1))
    for seed in range(6):
        first, second = draw(case, seed), draw(case, seed)
        assert torch.equal(first[0], second[0])
        assert torch.equal(first[1], second[1])


def test_a_patch_does_not_depend_on_what_was_drawn_before(case):
    fresh, used = Augmentation(spec_of()), Augmentation(spec_of())
    for seed in range(5):
        used(case, seed)
    assert torch.equal(fresh(case, 77)[0], used(case, 77)[0])


def test_other_seeds_draw_other_patches(case):
    draw = Augmentation(spec_of())
    assert len({draw(case, seed)[0].sum().item() for seed in range(8)}) == 8


def test_a_patch_has_the_size_of_the_specification(case):
    # 13 slices are padded to 16
    image, labels = Augmentation(spec_of())(case, 0)
    assert (image.shape, image.dtype) == ((1, 16, 16, 16), torch.float32)
    assert (labels.shape, labels.dtype) == ((16, 16, 16), torch.int64)


def test_labels_stay_labels(case):
    draw = Augmentation(spec_of())
    assert all(set(draw(case, seed)[1].unique().tolist()) <= {0, 1} for seed in range(10))


def test_image_and_label_move_together(case):
    draw = Augmentation(spec_of(), flip_axes=(0, 1, 2))
    for seed in range(10):
        image, labels = draw(case, seed)
        # the ball is far brighter than what surrounds it, whatever contrast, noise and blur are drawn
        assert image[0][labels == 1].mean() > image[0][labels == 0].mean() + 0.5


def test_the_case_itself_is_not_changed(case):
    image, labels = case.image.clone(), case.labels.clone()
    for seed in range(5):
        Augmentation(spec_of())(case, seed)
    assert torch.equal(case.image, image)
    assert torch.equal(case.labels, labels)


def test_random_numbers_around_it_are_left_alone(case):
    before = torch.random.get_rng_state()
    Augmentation(spec_of())(case, 0)
    assert torch.equal(torch.random.get_rng_state(), before)
