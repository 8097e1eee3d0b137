"""Which structures hold a voxel, and the chance that this is wrong: by hand, and against slow loops."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segtrust.decisions import LabelRule, labels_from_probs
from segtrust.errors import ShapeError
from strategies import probs, sample_stacks, sigmoid_probs

REGIONS = LabelRule("sigmoid", (1, 2, 3), (0.3, 0.5, 0.6), "nested")  # whole tumour, core, enhancing core
THRESHOLDS = st.sampled_from([0.3, 0.5, 0.7])


def column(*values):
    return torch.tensor(values).view(-1, 1)


def rule_for(p, threshold, structures="independent", *, reverse=False):
    order = range(len(p), 0, -1) if reverse else range(1, len(p) + 1)
    return LabelRule("sigmoid", tuple(order), threshold, structures)


# --- sets --------------------------------------------------------------------------------------------------


def test_each_structure_has_its_own_threshold():
    p = torch.tensor([[0.31, 0.3], [0.5, 0.51], [0.61, 0.6]])
    independent = LabelRule("sigmoid", (1, 2, 3), (0.3, 0.5, 0.6))
    assert independent.sets(p).tolist() == [[True, False], [False, True], [True, False]]
    assert independent.labels(p).tolist() == [3, 2]


def test_a_voxel_of_an_inner_region_belongs_to_all_outer_ones():
    p = torch.tensor([[0.31, 0.3], [0.5, 0.51], [0.61, 0.6]])
    assert REGIONS.sets(p).tolist() == [[True, True], [True, True], [True, False]]
    assert REGIONS.labels(p).tolist() == [3, 2]  # the mask is that of the same rule without nesting


def test_the_order_of_nesting_is_that_of_the_priority():
    inwards = LabelRule("sigmoid", (2, 1), structures="nested")  # 2 is the outer one
    assert inwards.sets(column(0.9, 0.1))[:, 0].tolist() == [True, True]
    assert inwards.sets(column(0.1, 0.9))[:, 0].tolist() == [False, True]


@given(probs())
def test_the_sets_of_a_softmax_head_hold_the_likeliest_structure_alone(p):
    sets = LabelRule().sets(p[0])
    winner = p[0].argmax(0)
    for k, held in enumerate(sets, start=1):
        assert torch.equal(held, winner == k)


@given(sigmoid_probs(leading=()), THRESHOLDS, st.booleans())
def test_the_label_that_is_shown_stands_for_the_set_of_nested_structures(p, threshold, reverse):
    rule = rule_for(p, threshold, "nested", reverse=reverse)
    assert torch.equal(rule.sets_of(rule.labels(p), len(p)), rule.sets(p))


@given(sigmoid_probs(leading=()), THRESHOLDS)
def test_sets_of_sets_are_the_sets(p, threshold):
    sets = rule_for(p, threshold).sets(p)
    assert rule_for(p, threshold).sets_of(sets, len(p)) is sets


def test_a_label_that_is_no_structure_is_in_no_set():
    rule = LabelRule("sigmoid", structures="nested")
    assert not rule.sets_of(torch.tensor([0, -1, 255]), 2).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_sets_and_labels_agree_in_every_number_type(dtype):
    # .3 in half precision is above .3: both must say the same of it
    p = torch.tensor([[0.3, 0.2999, 0.5, 0.7], [0.3, 0.3001, 0.1, 0.7]]).to(dtype)
    rule = LabelRule("sigmoid", (1, 2), 0.3)
    sets, labels = rule.sets(p), rule.labels(p)
    assert torch.equal(labels == 2, sets[1])
    assert torch.equal(labels == 1, sets[0] & ~sets[1])


def test_thresholds_must_be_one_or_one_for_each():
    rule = LabelRule("sigmoid", (1, 2, 3), (0.5, 0.5))
    for ask in (rule.sets, rule.labels, rule.chance_of_error):
        with pytest.raises(ShapeError, match=r"one number or one per structure \(3\), got 2 numbers"):
            ask(column(0.1, 0.2, 0.3))


def test_an_order_of_other_structures_is_refused():
    with pytest.raises(ShapeError, match=r"`priority` must order the structures 1 to 2, got \(1, 3\)"):
        LabelRule("sigmoid", (1, 3), structures="nested").sets(column(0.1, 0.2))


# --- labels ------------------------------------------------------------------------------------------------


@given(sample_stacks())
def test_softmax_labels_are_the_likeliest_class(stack):
    p = stack[0, 0]
    np.testing.assert_array_equal(labels_from_probs(p).numpy(), p.numpy().argmax(0))


def test_nested_structures_are_painted_from_the_outer_to_the_inner_one():
    # whole gland (1) contains the lesion (2): voxel 0 gland alone, voxel 1 both, voxel 2 the lesion alone
    p = torch.tensor([[0.9, 0.9, 0.2], [0.1, 0.8, 0.8]])
    assert labels_from_probs(p, head="sigmoid", priority=(1, 2)).tolist() == [1, 2, 2]
    assert labels_from_probs(p, head="sigmoid", priority=(2, 1)).tolist() == [1, 1, 2]


def test_a_probability_equal_to_the_threshold_is_background():
    assert labels_from_probs(torch.tensor([[0.5, 0.5001]]), head="sigmoid").tolist() == [0, 1]


@given(sigmoid_probs(leading=()), st.floats(0.1, 0.9))
def test_sigmoid_labels_agree_with_a_slow_loop(p, threshold):
    order = tuple(range(p.shape[0], 0, -1))
    got = labels_from_probs(p, head="sigmoid", priority=order, threshold=threshold)
    for voxel in range(p.shape[1]):
        label = 0
        for value in order:
            label = value if p[value - 1, voxel] > threshold else label
        assert got[voxel] == label


# --- chance of error ---------------------------------------------------------------------------------------


def test_the_chance_of_error_of_a_softmax_head_by_hand():
    assert LabelRule().chance_of_error(column(0.25, 0.75)).item() == 0.25


@pytest.mark.parametrize(
    ("p", "chance"),
    [
        ((0.75,), 0.25),  # said yes
        ((0.4375,), 0.5625),  # said yes at a threshold of .3, although no is likelier
        ((0.25,), 0.25),  # said no
    ],
)
def test_the_chance_of_error_of_one_structure_is_that_of_its_decision(p, chance):
    assert LabelRule("sigmoid", (1,), 0.3).chance_of_error(column(*p)).item() == chance


def test_the_chance_of_error_of_independent_structures_by_hand():
    # decisions: .75 > .5 yes, .25 <= .5 no, .5 <= .6 no: all right with .75 * .75 * .5
    rule = LabelRule("sigmoid", (1, 2, 3), (0.5, 0.5, 0.6))
    assert rule.chance_of_error(column(0.75, 0.25, 0.5)).item() == 1 - 0.75 * 0.75 * 0.5


@pytest.mark.parametrize(
    ("p", "depth", "right"),
    [
        ((0.875, 0.75, 0.125), 2, 0.75 - 0.125),  # core, not enhancing
        ((0.875, 0.5, 0.125), 1, 0.875 - 0.5),  # whole tumour only: .5 does not exceed .5
        ((0.875, 0.75, 0.625), 3, 0.625),
        ((0.25, 0.125, 0.0), 0, 0.75),
        ((0.25, 0.75, 0.125), 2, 0.75 - 0.125),  # the core is likelier than the tumour around it
        ((0.875, 0.25, 0.375), 1, 0.875 - 0.375),  # so is the enhancing part than the core
    ],
)
def test_the_chance_of_error_of_nested_structures_by_hand(p, depth, right):
    assert REGIONS.labels(column(*p)).item() == depth
    assert REGIONS.chance_of_error(column(*p)).item() == 1 - right


@given(sigmoid_probs(leading=()), THRESHOLDS)
def test_the_chance_of_independent_structures_agrees_with_all_sets(p, threshold):
    rule = rule_for(p, threshold)
    sets, chance = rule.sets(p), rule.chance_of_error(p)
    for voxel in range(p.shape[1]):
        wrong = 0.0
        for truth in itertools.product((False, True), repeat=len(p)):
            pairs = zip(truth, p[:, voxel].tolist(), strict=True)
            chance_of_truth = np.prod([q if held else 1 - q for held, q in pairs])
            wrong += chance_of_truth * (list(truth) != sets[:, voxel].tolist())
        assert chance[voxel].item() == pytest.approx(wrong, abs=1e-12)


@given(sigmoid_probs(leading=()), THRESHOLDS, st.booleans())
def test_the_chance_of_nested_structures_agrees_with_drawing_one_number_for_all(p, threshold, reverse):
    # structures nested in each other are {U < p_k} of one uniform U: the truth of each of eight equal parts
    rule = rule_for(p, threshold, "nested", reverse=reverse)
    order = [value - 1 for value in rule.priority]
    inner = p[order].flip(0).cummax(0).values.flip(0)  # an outer one is at least as likely as what it holds
    u = (torch.arange(8) + 0.5) / 8
    truth = torch.empty((len(p), 8, p.shape[1]), dtype=torch.bool)
    truth[order] = u[None, :, None] < inner[:, None, :]
    share = (truth != rule.sets(p)[:, None, :]).any(0).double().mean(0)
    np.testing.assert_allclose(rule.chance_of_error(p), share, atol=1e-12)


@given(sigmoid_probs(leading=()), THRESHOLDS)
def test_the_chance_lies_within_the_bounds_that_hold_for_any_dependence(p, threshold):
    rule = rule_for(p, threshold)
    single = torch.where(p > threshold, 1 - p, p)
    chance = rule.chance_of_error(p)
    assert (chance >= single.amax(0) - 1e-12).all()
    assert (chance <= single.sum(0).clamp_max(1) + 1e-12).all()


@given(sigmoid_probs(leading=()))
def test_one_structure_is_nested_and_independent_alike(p):
    one = p[:1]
    for threshold in (0.3, 0.5, 0.7):
        chances = [rule_for(one, threshold, kind).chance_of_error(one) for kind in ("nested", "independent")]
        np.testing.assert_allclose(*chances, atol=1e-12)


@pytest.mark.parametrize("structures", ["nested", "independent"])
def test_a_sure_voxel_has_no_chance_of_error(structures):
    rule = LabelRule("sigmoid", (1, 2), 0.5, structures)
    p = torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]])
    assert rule.chance_of_error(p).tolist() == [0, 0, 0]


@pytest.mark.parametrize("structures", ["nested", "independent"])
def test_the_chance_is_kept_where_it_holds_in_a_simulation(structures):
    # calibrated on average: how often the set is wrong must be the mean chance within 4 standard errors
    rng = np.random.default_rng(0)
    n = 20_000
    p = rng.random((3, n)).astype(np.float32)
    if structures == "nested":
        p = -np.sort(-p, axis=0)
        truth = rng.random(n) < p
    else:
        truth = rng.random((3, n)) < p
    rule = LabelRule("sigmoid", (1, 2, 3), (0.3, 0.5, 0.7), structures)
    chance = rule.chance_of_error(torch.from_numpy(p)).double().numpy()
    wrong = (rule.sets(torch.from_numpy(p)).numpy() != truth).any(0)
    assert wrong.mean() == pytest.approx(chance.mean(), abs=4 * np.sqrt((chance * (1 - chance)).mean() / n))
