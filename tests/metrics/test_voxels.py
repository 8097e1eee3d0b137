"""Proper scores per voxel and their totals."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from sklearn.metrics import brier_score_loss, log_loss

from segtrust.decisions import LabelRule
from segtrust.errors import ProbabilityError, ShapeError
from segtrust.metrics import FINE_CELLS, VoxelTotals, bin_classes, brier_map, nll_map, voxel_totals
from segtrust.metrics.voxels import pooled
from strategies import probs


def random_case(n=500, classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    p = torch.softmax(2 * torch.randn(classes, n, generator=generator), 0)
    return p, torch.randint(0, classes, (n,), generator=generator)


def test_likelihood_by_hand():
    # labels 0 and 2: -ln .5 and -ln .25
    got = nll_map(torch.tensor([[[0.5, 0.5], [0.25, 0.25], [0.25, 0.25]]]), torch.tensor([[0, 2]]))
    np.testing.assert_allclose(got, [[math.log(2), math.log(4)]], atol=1e-7)


def test_brier_by_hand():
    # p = (.5, .25, .25), label 0: .25 + .0625 + .0625 = .375
    got = brier_map(torch.tensor([[0.5, 0.25, 0.25]]), torch.tensor([0]))
    assert got.item() == pytest.approx(0.375, abs=1e-12)


def test_certainty_in_the_wrong_class_is_clamped_and_finite():
    # -ln 1e-12 = 27.631
    certain = torch.tensor([[1.0, 0.0]])
    assert nll_map(certain, torch.tensor([1])).item() == pytest.approx(27.631, abs=1e-3)
    assert brier_map(certain, torch.tensor([1])).item() == 2


@given(probs())
def test_brier_agrees_with_a_slow_loop(p):
    labels = p.argmin(1)
    for index in np.ndindex(*labels.shape):
        b, *space = index
        expected = sum(
            (p[(b, k, *space)].item() - (k == labels[index].item())) ** 2 for k in range(p.shape[1])
        )
        assert brier_map(p, labels)[index].item() == pytest.approx(expected, abs=1e-12)


def test_mean_likelihood_agrees_with_sklearn():
    p, labels = random_case()
    p = p.double() / p.double().sum(0)
    expected = log_loss(labels.numpy(), p.T.numpy(), labels=[0, 1, 2])
    assert nll_map(p[None], labels[None]).mean().item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("measure", [nll_map, brier_map], ids=lambda f: f.__name__)
def test_maps_are_float64(measure):
    assert measure(torch.full((1, 2, 3), 0.5), torch.zeros(1, 3, dtype=torch.long)).dtype == torch.float64


@pytest.mark.parametrize("measure", [nll_map, brier_map], ids=lambda f: f.__name__)
def test_labels_that_are_no_class_are_refused(measure):
    with pytest.raises(ProbabilityError, match="between 0 and 1, got 0 to 2"):
        measure(torch.full((1, 2, 2), 0.5), torch.tensor([[0, 2]]))


@pytest.mark.parametrize("measure", [nll_map, brier_map], ids=lambda f: f.__name__)
def test_labels_of_another_size_are_refused(measure):
    with pytest.raises(ShapeError, match="`labels` and `probs without classes` must have the same shape"):
        measure(torch.full((1, 2, 2), 0.5), torch.tensor([[0, 1, 1]]))


def test_totals_by_hand():
    # voxels 0 and 1 count: p_y = .8 and .4; argmax right and wrong
    p = torch.tensor([[0.8, 0.6, 0.5], [0.2, 0.4, 0.5]], dtype=torch.float64)
    got = voxel_totals(p, torch.tensor([0, 1, 0]), torch.tensor([True, True, False]))
    assert got.n == 2
    assert got.nll == pytest.approx(-math.log(0.8) - math.log(0.4), abs=1e-12)
    assert got.brier == pytest.approx(0.04 + 0.04 + 0.36 + 0.36, abs=1e-12)
    # ECE, 15 bins: .8 and .6 lie apart: (|1 - .8| + |0 - .6|) / 2
    assert got.figures()["ece"] == pytest.approx(0.4, abs=1e-12)


def test_added_totals_are_the_totals_of_all_voxels():
    p, labels = random_case()
    half = torch.arange(500) < 200
    both = voxel_totals(p, labels, half) + voxel_totals(p, labels, ~half)
    whole = voxel_totals(p, labels, torch.ones(500, dtype=torch.bool))
    assert both.n == whole.n
    assert both.figures() == pytest.approx(whole.figures(), abs=1e-12)


def test_an_empty_region_has_no_figures():
    p, labels = random_case()
    got = voxel_totals(p, labels, torch.zeros(500, dtype=torch.bool))
    assert got.n == 0
    assert all(math.isnan(v) for v in got.figures().values())


def test_an_empty_region_adds_nothing():
    p, labels = random_case()
    whole = voxel_totals(p, labels, torch.ones(500, dtype=torch.bool))
    empty = voxel_totals(p, labels, torch.zeros(500, dtype=torch.bool))
    assert (whole + empty).figures() == whole.figures()


def test_totals_come_back_from_json():
    p, labels = random_case()
    got = voxel_totals(p, labels, torch.ones(500, dtype=torch.bool))
    again = VoxelTotals.from_json(json.loads(json.dumps(got.to_json())))
    assert again.figures() == got.figures()


def test_pooling_weighs_voxels_and_not_scans():
    one, three = VoxelTotals(1, 4.0, 1.0, pooled([]).bins), VoxelTotals(3, 0.0, 0.0, pooled([]).bins)
    assert pooled([one, three]).figures()["nll"] == 1.0
    assert pooled([]).n == 0


def test_brier_agrees_with_sklearn():
    p, labels = random_case()
    p = p.double() / p.double().sum(0)
    got = voxel_totals(p, labels)
    expected = brier_score_loss(labels.numpy(), p.T.numpy(), labels=[0, 1, 2], scale_by_half=False)
    assert got.brier / got.n == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("shape", [(9, 11), (5, 6, 7), (70_000,)], ids=["2-D", "3-D", "more than two chunks"])
def test_one_pass_agrees_with_the_maps(shape):
    generator = torch.Generator().manual_seed(1)
    p = torch.softmax(2 * torch.randn(3, *shape, generator=generator), 0)
    labels = torch.randint(0, 3, shape, generator=generator)
    mask = torch.rand(shape, generator=generator) < 0.7
    got = voxel_totals(p, labels, mask)
    assert got.n == mask.sum()
    assert got.nll == pytest.approx(nll_map(p[None], labels[None])[0][mask].sum().item(), rel=1e-12)
    assert got.brier == pytest.approx(brier_map(p[None], labels[None])[0][mask].sum().item(), rel=1e-10)
    for one, other in zip(got.classes, bin_classes(p[:, mask].T, labels[mask]), strict=True):
        assert np.array_equal(one.counts, other.counts)
        assert np.array_equal(one.hits, other.hits)
        np.testing.assert_allclose(one.confidence, other.confidence, rtol=1e-12)


def test_voxels_with_the_ignored_label_do_not_count():
    p, labels = random_case()
    labels = torch.where(torch.arange(500) % 3 == 0, 255, labels)
    got = voxel_totals(p, labels, torch.arange(500) < 400, ignore=255)
    expected = voxel_totals(p, labels, (torch.arange(500) < 400) & (labels != 255))
    assert got.n == expected.n == 266
    assert got.figures() == expected.figures()
    with pytest.raises(ProbabilityError, match="between 0 and 2, got 0 to 255"):
        voxel_totals(p, labels)


def test_sigmoid_totals_by_hand():
    # two structures at one voxel: p = .8 and .4, the voxel belongs to the second: questions no and yes
    p = torch.tensor([[0.8], [0.4]], dtype=torch.float64)
    got = voxel_totals(p, torch.tensor([2]), head="sigmoid")
    assert got.n == 1
    assert got.nll == pytest.approx(-math.log(0.2) - math.log(0.4), abs=1e-12)
    assert got.brier == pytest.approx(0.64 + 0.36, abs=1e-12)
    # sure with .8 and .6, both answers wrong
    assert got.bins.counts.sum() == 2
    assert got.bins.hits.sum() == 0
    assert got.bins.confidence.sum() == pytest.approx(1.4, abs=1e-12)
    assert [int(bins.hits.sum()) for bins in got.classes] == [0, 1]


@pytest.mark.parametrize(("structures", "stated"), [("independent", 0.8 * 0.6), ("nested", 0.8 - 0.4)])
def test_the_event_of_a_rule_is_the_set_that_is_shown(structures, stated):
    # p = .8 and .4: shown is the first structure alone, which is true in one of two voxels
    p = torch.tensor([[0.8, 0.8], [0.4, 0.4]], dtype=torch.float64)
    rule = LabelRule("sigmoid", (1, 2), structures=structures)
    got = voxel_totals(p, torch.tensor([[1, 1], [0, 1]]), head="sigmoid", rule=rule)
    assert (got.n, got.bins.counts.sum(), got.bins.hits.sum()) == (2, 2, 1)
    assert got.bins.confidence.sum() == pytest.approx(2 * stated, abs=1e-12)
    plain = voxel_totals(p, torch.tensor([[1, 1], [0, 1]]), head="sigmoid")
    assert (got.nll, got.brier) == (plain.nll, plain.brier)


def test_a_rule_of_another_head_is_refused():
    with pytest.raises(ShapeError, match="`rule` and `head` must be of the same head"):
        voxel_totals(torch.full((2, 1), 0.5), torch.tensor([0]), rule=LabelRule("sigmoid"))


def test_structures_that_overlap_have_a_channel_each():
    p = torch.tensor([[0.8, 0.3], [0.4, 0.9]], dtype=torch.float64)
    one_label = voxel_totals(p, torch.tensor([1, 2]), head="sigmoid")
    channels = voxel_totals(p, torch.tensor([[1, 0], [0, 1]]), head="sigmoid")
    assert channels.figures() == pytest.approx(one_label.figures(), abs=1e-12, nan_ok=True)
    both = voxel_totals(p, torch.tensor([[1, 0], [1, 1]]), head="sigmoid")
    assert both.nll - channels.nll == pytest.approx(-math.log(0.4) + math.log(0.6), abs=1e-12)


def test_two_softmax_classes_are_one_sigmoid_question_counted_twice():
    p, labels = random_case(classes=2)
    soft, sigmoid = voxel_totals(p, labels), voxel_totals(p[1:], labels, head="sigmoid")
    assert soft.nll == pytest.approx(sigmoid.nll, rel=1e-6)  # float32 1 - p
    assert soft.brier == pytest.approx(2 * sigmoid.brier, rel=1e-6)
    assert np.array_equal(soft.bins.hits, sigmoid.bins.hits)


def test_finer_cells_change_no_figure():
    p, labels = random_case()
    fine = voxel_totals(p, labels, cells=FINE_CELLS, class_cells=FINE_CELLS)
    assert fine.figures() == pytest.approx(voxel_totals(p, labels).figures(), abs=1e-12)


def test_labels_must_fit_the_probabilities():
    p = torch.full((2, 3, 4), 0.5)
    with pytest.raises(ShapeError, match=r"spatial axes of `probs` \(\(3, 4\)\)"):
        voxel_totals(p, torch.zeros(4, 3, dtype=torch.long))
    with pytest.raises(ShapeError, match="for a sigmoid head"):
        voxel_totals(p, torch.zeros(2, 3, 4, dtype=torch.long))


def test_pooling_nothing_and_fine_tables():
    p, labels = random_case()
    fine = voxel_totals(p, labels, cells=FINE_CELLS)
    assert pooled([fine, fine]).n == 1000
