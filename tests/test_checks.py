"""Wording and limits of the tensor checks."""

import pytest
import torch
from hypothesis import given

from segtrust._checks import check_labels, check_probs, check_same_space, check_samples
from segtrust.errors import ProbabilityError, SegtrustError, ShapeError
from strategies import probs, sample_stacks, sigmoid_probs


@given(probs(dtype=torch.float16))
def test_half_precision_distributions_pass(p):
    check_probs(p)


@given(probs())
def test_distributions_of_eight_bits_pass(p):
    check_probs(p.to(torch.bfloat16))


@given(sample_stacks())
def test_stacks_of_distributions_pass(samples):
    check_samples(samples)


@given(sigmoid_probs())
def test_independent_probabilities_pass_for_a_sigmoid_head(p):
    check_probs(p, head="sigmoid")


def test_logits_are_refused_with_the_usual_fix():
    with pytest.raises(
        ProbabilityError, match=r"got values from -3 to 4\. Were logits passed\? Use torch.softmax"
    ):
        check_probs(torch.tensor([[-3.0, 4.0]]))


def test_a_sum_that_is_off_is_refused_with_the_gap():
    with pytest.raises(ProbabilityError, match=r"within 0\.001, got a gap of 0\.2\b"):
        check_probs(torch.tensor([[0.5, 0.3]]))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -0.01, 1.01])
@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_values_that_are_no_probabilities_are_refused(bad, head):
    with pytest.raises(ProbabilityError, match="finite and within"):
        check_probs(torch.tensor([[bad, 0.5]]), head=head)


def test_a_nan_among_good_voxels_is_refused():
    p = torch.full((1, 2, 100), 0.5)
    p[0, 0, 50] = float("nan")
    with pytest.raises(ProbabilityError):
        check_probs(p)


def test_integers_are_refused_as_labels():
    with pytest.raises(ProbabilityError, match=r"got torch.int64. Were labels passed\?"):
        check_probs(torch.zeros(1, 2, dtype=torch.int64))


@pytest.mark.parametrize("shape", [(3,), (1, 1, 4)], ids=["no class axis", "one class"])
def test_a_softmax_without_two_classes_is_a_shape_error(shape):
    with pytest.raises(ShapeError, match=r"class axis of length >= 2"):
        check_probs(torch.ones(shape))


def test_a_sigmoid_head_may_have_one_channel():
    check_probs(torch.ones(1, 1, 4), head="sigmoid")


@pytest.mark.parametrize("shape", [(2, 2), (0, 1, 2)], ids=["no sample axis", "no sample"])
def test_a_stack_needs_its_axes(shape):
    with pytest.raises(ShapeError, match=r"\(S, B, C, \*spatial\) with S >= 1"):
        check_samples(torch.full(shape, 0.5))


def test_different_shapes_are_named():
    with pytest.raises(ShapeError, match=r"`a` and `b` must have the same shape, got \(1, 2\) and \(1, 3\)"):
        check_same_space("a", torch.zeros(1, 2), "b", torch.zeros(1, 3))


@pytest.mark.parametrize(("low", "high"), [(-1, 0), (0, 3)])
def test_labels_outside_the_classes_are_refused(low, high):
    with pytest.raises(ProbabilityError, match=rf"between 0 and 2, got {low} to {high}"):
        check_labels(torch.tensor([low, high]), 3)


def test_an_ignored_label_may_lie_outside():
    check_labels(torch.tensor([0, 2, 255]), 3, ignore=255)


def test_floating_labels_are_refused():
    with pytest.raises(ShapeError, match=r"Use labels.long\(\)"):
        check_labels(torch.tensor([0.0]), 2)


@pytest.mark.parametrize("error", [ShapeError, ProbabilityError])
def test_errors_are_value_errors_and_ours(error):
    assert issubclass(error, ValueError)
    assert issubclass(error, SegtrustError)
