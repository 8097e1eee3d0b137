"""Tables of proposed probabilities, against numbers by hand and a slow loop."""

import numpy as np
import pytest
import torch

from segtrust.errors import ShapeError, TrainingError
from segtrust.losses import cross_entropy
from segtrust.losses.cape import (
    CELLS,
    CapeCounts,
    bin_targets,
    kernel_targets,
    look_up,
    soft_cross_entropy,
)

ANY = {"least_voxels": 1, "least_scans": 1}


def counted(probs, truth, weights=None, *, scans=1):
    """Counts of one channel."""
    probs = torch.tensor(probs, dtype=torch.float64).view(scans, 1, -1)
    truth = torch.tensor(truth).bool().view(scans, 1, -1)
    weights = torch.ones(probs[:, 0].shape) if weights is None else torch.tensor(weights).view(scans, -1)
    return CapeCounts.of(probs, truth, weights)


def target(table, p):
    return look_up(table, torch.tensor([[[float(p)]]]), head="sigmoid").item()


def drawn_voxels(n, *, seed=0):
    """Skewed probabilities and labels that come true as often as they say."""
    rng = np.random.default_rng(seed)
    p = rng.beta(0.6, 2.0, n)
    return p, rng.random(n) < p


def test_bins_by_hand():
    table = bin_targets(counted([0.1, 0.2, 0.6, 0.9], [0, 1, 1, 1]), bins=2, **ANY)
    assert [target(table, p) for p in (0.1, 0.2, 0.6, 0.9)] == [0.5, 0.5, 1, 1]


def test_weights_change_the_frequency_and_not_the_edges():
    # the first bin holds .1 (once, wrong) and .2 (right, stands for three): 3/4
    table = bin_targets(counted([0.1, 0.2, 0.6, 0.9], [0, 1, 1, 1], [1.0, 3.0, 1.0, 1.0]), bins=2, **ANY)
    assert [target(table, p) for p in (0.1, 0.2, 0.6, 0.9)] == [0.75, 0.75, 1, 1]


def test_a_voxel_without_weight_is_not_there():
    got = counted([0.1, 0.5, 0.9], [0, 1, 1], [1.0, 0.0, 1.0])
    assert (got.drawn.sum(), got.weight.sum(), got.hits.sum()) == (2, 2, 1)
    assert got.drawn.dtype == np.int64
    assert got.weight.dtype == np.float64


def test_voxels_on_an_edge_belong_to_the_cell_below():
    got = counted([0.0, 1 / CELLS, 1.5 / CELLS, 1.0], [0, 0, 0, 1])
    assert got.drawn[0, [0, 1, CELLS - 1]].tolist() == [2, 1, 1]


def test_counting_scan_by_scan_is_counting_at_once():
    p, y = drawn_voxels(600)
    whole = counted(p, y, scans=3)
    parts = [counted(p[i : i + 200], y[i : i + 200]) for i in (0, 200, 400)]
    added = CapeCounts.empty(1) + parts[0] + parts[1] + parts[2]
    for name in ("drawn", "weight", "hits"):
        np.testing.assert_array_equal(getattr(added, name), getattr(whole, name))
    np.testing.assert_array_equal(np.stack(added.seen), np.stack(whole.seen))


def test_bins_agree_with_sorting_the_voxels():
    p, y = drawn_voxels(50_000)
    table = bin_targets(counted(p, y), bins=10, **ANY)
    order = np.argsort(p)
    exact = np.empty(len(p))
    for part in np.array_split(order, 10):
        exact[part] = y[part].mean()
    got = look_up(table, torch.from_numpy(p).view(1, 1, -1), head="sigmoid").flatten().numpy()
    assert np.abs(got - exact).mean() < 1e-3  # cells on an edge belong to one bin as a whole


def test_fewer_bins_are_taken_until_each_holds_enough_voxels():
    counts = counted([0.1, 0.2, 0.3, 0.6, 0.8, 0.9], [0, 0, 1, 0, 1, 1])
    three = bin_targets(counts, bins=3, least_voxels=2, least_scans=1)
    assert [target(three, p) for p in (0.1, 0.3, 0.9)] == [0, 0.5, 1]
    two = bin_targets(counts, bins=3, least_voxels=3, least_scans=1)
    assert [target(two, p) for p in (0.1, 0.9)] == pytest.approx([1 / 3, 2 / 3])


def test_fewer_bins_are_taken_until_each_holds_enough_scans():
    # with three bins the middle one holds .45 and .5 of the first scan alone
    counts = counted([0.1, 0.45, 0.5, 0.9, 0.15, 0.2, 0.8, 0.85], [0, 0, 1, 1, 0, 0, 1, 1], scans=2)
    alone = bin_targets(counts, bins=3, least_voxels=1, least_scans=1)
    assert len(alone.unique()) == 3
    together = bin_targets(counts, bins=3, least_voxels=1, least_scans=20)  # of two scans both
    assert len(together.unique()) == 2


def test_bins_of_equal_doubt_by_hand():
    # p (1 - p) is .25, .09, .09, .25 and next to nothing for the rest: two bins part at .7; sure voxels stand
    # alone
    p = [1e-5, 2e-5, 3e-5, 0.5, 0.9, 0.9, 0.5, 1.0]
    y = [0, 0, 0, 1, 1, 0, 0, 1]
    table = bin_targets(counted(p, y), bins=2, mass="doubt", **ANY)
    assert [target(table, x) for x in (1e-5, 0.5, 0.9, 1.0)] == [0, 0.5, 0.5, 1]
    assert target(table, 0.001) == 0.5  # no longer sure, though nearest to the sure ones


def test_sure_voxels_that_are_too_few_join_the_bin_beside_them():
    p, y = [1e-5, 1e-5, 0.4, 0.45, 0.5, 0.6, 1.0], [0, 0, 0, 1, 0, 1, 1]
    table = bin_targets(counted(p, y), bins=2, mass="doubt", least_voxels=2, least_scans=1)
    assert [target(table, x) for x in (1e-5, 0.4, 0.6, 1.0)] == pytest.approx([0, 0.5, 2 / 3, 2 / 3])


@pytest.mark.parametrize(("mass", "taught"), [("voxels", (0.5, 0.5)), ("doubt", (0.1, 0.9))])
def test_bins_of_equal_doubt_part_what_is_unsure(mass, taught):
    # nine voxels of ten are sure; the last bin of equally many voxels holds .1 and .9 together
    p = np.concatenate([np.full(9000, 1e-3), np.full(500, 0.1), np.full(500, 0.9)])
    y = np.concatenate([np.zeros(9000), np.arange(500) < 50, np.arange(500) < 450])
    table = bin_targets(counted(p, y), bins=10, mass=mass, **ANY)
    assert (target(table, 0.1), target(table, 0.9)) == pytest.approx(taught)


def test_too_few_voxels_for_two_bins_are_refused():
    with pytest.raises(TrainingError, match=r"two bins of 10000 voxels from 1 scans each, got 4 voxels"):
        bin_targets(counted([0.1, 0.2, 0.6, 0.9], [0, 1, 1, 1]), bins=10)


def test_counts_of_nothing_are_refused():
    with pytest.raises(TrainingError, match="at least one voxel with a weight, got none"):
        kernel_targets(counted([0.5], [1], [0.0]), sigma=0.05)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match=r"`truth` must have the shape of `probs`.*got \(1, 2, 3\)"):
        CapeCounts.of(torch.zeros(1, 1, 3), torch.zeros(1, 2, 3).bool(), torch.ones(1, 3))


def test_kernel_by_hand():
    # two voxels one sigma apart: the far one weighs exp(-1/2) = .60653, so q = .60653 / 1.60653
    p = [1000.5 / CELLS, 1500.5 / CELLS]
    table = kernel_targets(counted(p, [0, 1]), sigma=500 / CELLS)
    assert [target(table, x) for x in p] == pytest.approx([0.377541, 0.622459], abs=1e-6)


def test_a_kernel_with_a_window_agrees_with_a_loop_over_voxels():
    # heavy and empty cells, weights, and a window that is narrower than the kernel
    rng = np.random.default_rng(0)
    cells = np.sort(rng.choice(400, 300) ** 2 // 40)
    y, w = rng.random(300) < cells / 4000, rng.integers(1, 4, 300).astype(float)
    got = kernel_targets(counted((cells + 0.5) / CELLS, y, w), sigma=200 / CELLS, window=0.05)[0].numpy()
    for centre in np.unique(cells)[::7]:
        middle = (cells < centre).sum() + (cells == centre).sum() / 2
        num = den = 0.0
        for rank, (cell, hit, weight) in enumerate(zip(cells, y, w, strict=True)):
            # a voxel is spread over the ranks that its cell has, so ties share the window evenly
            ties, first = (cells == cell).sum(), (cells < cell).sum()
            inside = max(0.0, min(first + ties, middle + 15) - max(first, middle - 15)) / ties
            near = inside * weight * np.exp(-0.5 * ((cell - centre) / 200) ** 2) * (rank >= 0)
            num, den = num + near * hit, den + near
        assert got[centre] == pytest.approx(num / den, abs=1e-6)


def test_the_window_keeps_a_rare_structure_from_its_background():
    # 99 % sure background at 0; voxels at .1 are right one time in ten
    p = np.concatenate([np.full(99_000, 1e-4), np.full(1000, 0.1)])
    y = np.concatenate([np.zeros(99_000), np.arange(1000) < 100])
    counts = counted(p, y)
    assert target(kernel_targets(counts, sigma=0.05), 0.1) < 0.01
    assert target(kernel_targets(counts, sigma=0.05, window=0.005), 0.1) == pytest.approx(0.1)


@pytest.mark.parametrize("kind", ["bin", "kernel"])
def test_a_network_that_is_right_as_often_as_it_says_is_taught_what_it_says(kind):
    p, y = drawn_voxels(200_000)
    counts = counted(p, y)
    table = bin_targets(counts, bins=50, **ANY) if kind == "bin" else kernel_targets(counts, sigma=0.01)
    got = look_up(table, torch.from_numpy(p).view(1, 1, -1), head="sigmoid").flatten().numpy()
    assert np.abs(got - p).mean() < 0.01


def test_targets_of_a_softmax_head_sum_to_one():
    table = torch.rand(3, CELLS, generator=torch.Generator().manual_seed(0))
    probs = torch.softmax(torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(1)), 1)
    torch.testing.assert_close(look_up(table, probs).sum(1), torch.ones(2, 4, 5))


def test_each_structure_of_a_sigmoid_head_has_its_own_table():
    table = torch.stack([torch.full((CELLS,), 0.2), torch.full((CELLS,), 0.9)])
    got = look_up(table, torch.full((1, 2, 3), 0.5), head="sigmoid")
    torch.testing.assert_close(got[0, :, 0], torch.tensor([0.2, 0.9]))


@pytest.mark.parametrize("shape", [(3, 2), (2, 2, 2)], ids=["2-D", "3-D"])
@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_against_labels_the_loss_is_the_cross_entropy(shape, head):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((2, 3, *shape), generator=generator)
    labels = torch.randint(0, 3 + (head == "sigmoid"), (2, *shape), generator=generator)
    values = torch.arange(3) + (head == "sigmoid")
    hot = labels[:, None] == values.view(-1, *(1 for _ in shape))
    got = soft_cross_entropy(logits, hot, torch.ones(2, *shape), head=head)
    torch.testing.assert_close(got, cross_entropy(logits, labels, head=head))


def test_a_weight_of_two_is_the_voxel_twice():
    logits = torch.randn(1, 2, 3, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[[0.3, 0.6, 1.0], [0.7, 0.4, 0.0]]])
    twice = [0, 1, 1]
    torch.testing.assert_close(
        soft_cross_entropy(logits[:, :, :2], targets[:, :, :2], torch.tensor([[1.0, 2.0]])),
        soft_cross_entropy(logits[:, :, twice], targets[:, :, twice], torch.ones(1, 3)),
    )


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_slopes_agree_with_finite_differences(head):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 2, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = torch.softmax(torch.randn(2, 3, 2, 2, generator=generator, dtype=torch.float64), 1)
    weights = torch.tensor([1.0, 0.0, 100.0, 1.0]).view(1, 2, 2).expand(2, 2, 2)
    assert torch.autograd.gradcheck(
        lambda z: soft_cross_entropy(z, targets, weights, head=head), logits, eps=1e-6
    )


def test_half_precision_logits_are_computed_in_single_precision():
    logits = torch.tensor([[[300.0], [-300.0]]])
    targets, weights = torch.tensor([[[0.5], [0.5]]]), torch.full((1, 1), 100.0)
    got = soft_cross_entropy(logits.half(), targets, weights)
    assert got.dtype == torch.float32
    assert got.item() == pytest.approx(300)
