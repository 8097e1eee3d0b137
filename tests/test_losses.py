"""What every loss of the catalogue keeps: slopes, heads, ignored voxels, full precision, clear refusals."""

import pytest
import torch

from segtrust.errors import ProbabilityError, ShapeError
from segtrust.losses import LOSSES

# Settings under which a few random logits reach every branch; the rest keeps its defaults.
SETTINGS = {"mbls": {"margin": 0.7}, "hard_l1_ace": {"bins": 4}, "soft_l1_ace": {"bins": 4}}
# dice looks at all scans together and the ACE penalties at one class at a time
PER_VOXEL = sorted({*LOSSES} - {"dice", "dice_ce", "hard_l1_ace", "soft_l1_ace"})
NO_NEIGHBOURS = sorted({*LOSSES} - {"svls", "nacl"})

names = pytest.mark.parametrize("name", LOSSES)
shapes = pytest.mark.parametrize("shape", [(3, 2), (2, 2, 2)], ids=["2-D", "3-D"])
heads = pytest.mark.parametrize("head", ["softmax", "sigmoid"])


def loss_of(name, logits, labels, **options):
    return LOSSES[name](logits, labels, **SETTINGS.get(name, {}), **options)


def batch(shape, *, head="softmax", scans=1, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn((scans, 3, *shape), generator=generator, dtype=dtype)
    labels = torch.randint(0, 3 + (head == "sigmoid"), (scans, *shape), generator=generator)
    return logits, labels


@names
@shapes
@heads
def test_slopes_agree_with_finite_differences(name, shape, head):
    # mbls, nacl and the ACE penalties have kinks or steps; differences of 1e-6 stay away from them
    logits, labels = batch(shape, head=head)
    logits.requires_grad_()
    slope = torch.autograd.grad(loss_of(name, logits, labels, head=head), logits)[0]
    assert slope.abs().max() > 1e-3
    assert torch.autograd.gradcheck(lambda z: loss_of(name, z, labels, head=head), logits, eps=1e-6)


@names
def test_slopes_agree_with_finite_differences_beside_ignored_voxels(name):
    logits, labels = batch((3, 2))
    labels[0, 1, 1] = 255
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss_of(name, z, labels, ignore=255), logits, eps=1e-6)


@names
@shapes
@heads
def test_ignored_voxels_neither_count_nor_learn(name, shape, head):
    logits, labels = batch(shape, head=head, scans=2)
    labels[0, 0] = labels[1, 1, 1] = -1
    ignored = (labels == -1)[:, None].expand_as(logits)
    logits.requires_grad_()
    value = loss_of(name, logits, labels, head=head, ignore=-1)
    slope = torch.autograd.grad(value, logits)[0]
    assert slope[ignored].abs().max() == 0
    assert slope[~ignored].abs().max() > 0
    changed = logits.detach().where(~ignored, 7.0)
    assert loss_of(name, changed, labels, head=head, ignore=-1) == value


@pytest.mark.parametrize("name", NO_NEIGHBOURS)
def test_ignored_voxels_might_as_well_not_be_there(name):
    logits, labels = batch((4, 3))
    labels[0, 1] = 255
    rest = [0, 2, 3]
    got = loss_of(name, logits, labels, ignore=255)
    torch.testing.assert_close(got, loss_of(name, logits[:, :, rest], labels[:, rest]))


@names
@heads
def test_an_ignored_label_that_does_not_occur_changes_nothing(name, head):
    logits, labels = batch((4, 3), head=head, scans=2)
    got = loss_of(name, logits, labels, head=head, ignore=255)
    torch.testing.assert_close(got, loss_of(name, logits, labels, head=head))


@names
@heads
def test_a_batch_of_ignored_voxels_costs_and_teaches_nothing(name, head):
    logits, labels = batch((4, 3))
    logits.requires_grad_()
    value = loss_of(name, logits, torch.full_like(labels, 255), head=head, ignore=255)
    value.backward()
    assert value == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("name", PER_VOXEL)
@shapes
def test_a_sigmoid_head_is_a_softmax_head_with_the_two_answers_of_each_structure(name, shape):
    logits, labels = batch(shape, head="sigmoid")
    answers = torch.stack((0.5 - logits / 2, 0.5 + logits / 2), dim=2)
    alone = [loss_of(name, answers[:, k], (labels == k + 1).long()) for k in range(3)]
    torch.testing.assert_close(loss_of(name, logits, labels, head="sigmoid"), sum(alone) / 3)


@names
def test_a_sigmoid_head_takes_structures_that_overlap(name):
    logits, labels = batch((4, 3), head="sigmoid", scans=2)
    each = torch.stack([labels == k for k in (1, 2, 3)], dim=1).long()
    plain = loss_of(name, logits, each, head="sigmoid")
    torch.testing.assert_close(plain, loss_of(name, logits, labels, head="sigmoid"))
    each[:, 0] = 1  # the first structure holds the others
    assert loss_of(name, logits, each, head="sigmoid").isfinite()
    assert name == "mbls" or loss_of(name, logits, each, head="sigmoid") != plain


@names
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_logits_are_computed_in_single_precision(name, dtype):
    logits, labels = batch((4, 3, 2), scans=2, dtype=torch.float32)
    got = loss_of(name, logits.to(dtype), labels)
    assert got.dtype == torch.float32
    assert got == loss_of(name, logits.to(dtype).float(), labels)
    assert loss_of(name, logits.to(dtype) * 1000, labels).isfinite()


@names
def test_a_network_that_diverged_is_not_hidden(name):
    logits, labels = batch((4, 3))
    logits[0, :, 1, 1] = torch.nan
    assert loss_of(name, logits, labels).isnan()


@names
def test_autocast_changes_nothing(name):
    logits, labels = batch((4, 3, 2), scans=2, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss_of(name, logits, labels)
    assert inside == loss_of(name, logits, labels)


@names
def test_channels_last_changes_rounding_only(name):
    logits, labels = batch((4, 3, 2), scans=2)
    other = logits.to(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(loss_of(name, other, labels), loss_of(name, logits, labels))


@names
def test_labels_with_a_channel_axis_are_refused(name):
    logits, labels = batch((4, 3))
    with pytest.raises(
        ShapeError, match=r"must be \(B, \*spatial\) = \(1, 4, 3\), got \(1, 1, 4, 3\).*labels\[:, 0"
    ):
        loss_of(name, logits, labels[:, None])


@names
def test_one_channel_is_refused_unless_the_head_is_sigmoid(name):
    logits, labels = batch((4, 3))
    with pytest.raises(ShapeError, match=r"C >= 2 for a softmax head, got \(1, 1, 4, 3\)"):
        loss_of(name, logits[:, :1], labels)
    assert loss_of(name, logits[:, :1], labels.clamp(max=1), head="sigmoid").isfinite()


@names
@pytest.mark.parametrize(("head", "most"), [("softmax", 2), ("sigmoid", 3)])
def test_labels_without_a_channel_are_refused(name, head, most):
    logits, labels = batch((4, 3))
    labels[0, 0, 0] = 255
    with pytest.raises(ProbabilityError, match=rf"`labels` must be between 0 and {most}, got 0 to 255"):
        loss_of(name, logits, labels, head=head)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@heads
def test_every_loss_and_its_slope_are_the_same_on_a_gpu(head):
    logits, labels = batch((4, 3, 2), head=head, scans=2)
    labels[0, 0] = 255
    for name in LOSSES:
        here, there = logits.clone().requires_grad_(), logits.cuda().requires_grad_()
        value = loss_of(name, here, labels, head=head, ignore=255)
        other = loss_of(name, there, labels.cuda(), head=head, ignore=255)
        (value + other.cpu()).backward()
        torch.testing.assert_close(other.cpu(), value, msg=name)
        torch.testing.assert_close(there.grad.cpu(), here.grad, msg=name)
