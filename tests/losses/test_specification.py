"""Losses by name: what can be written, what is refused, and what the sum computes."""

import inspect
import re
from pathlib import Path

import pytest
import torch

from segtrust.errors import SettingError
from segtrust.losses import LOSSES, PENALTIES, LossSum, LossTerm, dice_ce, focal_loss, hard_l1_ace, parse_loss
from segtrust.losses._limits import LIMITS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "losses.md"
WRITTEN = [
    "ce",
    "dice(include_background=true)",
    "0.5*dice + 0.5*focal(gamma=3)",
    "dice_ce + 0.3*hard_l1_ace(bins=15, include_background=false, warm_up=0.1)",
    "dice_ce + 0.0001*nacl + 0.1*mbls(margin=5)",
    "dice + svls(sigma=1.5)",
]


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((2, 3, 4, 3), generator=generator)
    return logits, torch.randint(0, 3, (2, 4, 3), generator=generator)


@pytest.mark.parametrize("name", sorted({*LOSSES} - {*PENALTIES}))
def test_a_name_alone_is_that_loss_to_the_last_bit(name, batch):
    assert parse_loss(name)(*batch) == LOSSES[name](*batch)
    assert str(parse_loss(name)) == name


@pytest.mark.parametrize("name", ["ce", "dice", "dice_ce"])
def test_a_name_alone_has_the_slope_of_that_loss_to_the_last_bit(name, batch):
    logits, labels = batch
    logits.requires_grad_()
    (slope,) = torch.autograd.grad(parse_loss(name)(logits, labels), logits)
    (expected,) = torch.autograd.grad(LOSSES[name](logits, labels), logits)
    assert torch.equal(slope, expected)


def test_a_sum_adds_its_terms_with_weights_and_hyper_parameters(batch):
    got = parse_loss(".5*dice_ce+2*focal( gamma = 3 ) + 0.3 * hard_l1_ace(bins=5)")(*batch)
    expected = 0.5 * dice_ce(*batch) + 2 * focal_loss(*batch, gamma=3) + 0.3 * hard_l1_ace(*batch, bins=5)
    torch.testing.assert_close(got, expected)


def test_head_and_ignored_label_reach_every_term(batch):
    logits, labels = batch
    labels[0, 0] = 255
    options = {"head": "sigmoid", "ignore": 255}
    got = parse_loss("dice_ce + hard_l1_ace")(logits, labels, **options)
    expected = dice_ce(logits, labels, **options) + hard_l1_ace(logits, labels, **options)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize(
    ("progress", "weight"), [(0.0, 0.0), (0.05, 0.15), (0.1, 0.3), (0.7, 0.3), (1.0, 0.3)]
)
def test_the_weight_rises_during_the_warm_up(batch, progress, weight):
    loss = parse_loss("dice_ce + 0.3*hard_l1_ace(warm_up=0.1)")
    expected = dice_ce(*batch) + weight * hard_l1_ace(*batch)
    torch.testing.assert_close(loss(*batch, progress=progress), expected)


@pytest.mark.parametrize("text", WRITTEN)
def test_what_is_written_is_read_back(text):
    loss = parse_loss(text)
    assert str(loss) == text
    assert LossSum.from_json(loss.to_json()) == loss
    assert parse_loss(str(loss)) == loss


def test_json_may_leave_out_all_but_the_name():
    loss = LossSum.from_json([{"name": "dice_ce"}, {"name": "mbls", "weight": 0.1, "margin": 5}])
    assert str(loss) == "dice_ce + 0.1*mbls(margin=5)"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tversky", r"must be one of ce, dice, dice_ce, .*soft_l1_ace, got 'tversky'"),
        ("dice_ce + nalc", r"must be one of .*, got 'nalc'"),
        ("", r"terms joined by \+, got '', wrong at position 0"),
        ("dice_ce +", r"wrong at position 9.*Write it like dice_ce or"),
        ("dice_ce, focal", r"wrong at position 7"),
        ("dice_ce - focal", r"wrong at position 8"),
        ("dice_ce.__class__", r"wrong at position 7"),
        ("focal(gamma=2", r"wrong at position 5"),
        ("focal(2)", r"must be NAME=VALUE, each once, got '2'"),
        ("focal(gamma=2, gamma=3)", r"must be NAME=VALUE, each once, got 'gamma=3'"),
        ("focal(gamma=nan)", r"must be NAME=VALUE, each once, got 'gamma=nan'"),
        ("focal(name=2)", r"must be NAME=VALUE, each once, got 'name=2'"),
        ("focal(gamma=11)", r"`gamma` must be a number from 0 to 10, got 11"),
        ("focal(gamma=1e999)", r"`gamma` must be a number from 0 to 10, got inf"),
        ("focal(gamma=true)", r"`gamma` must be a number from 0 to 10, got True"),
        ("focal(alpha=0.1)", r"`focal` takes gamma, warm_up, got 'alpha'"),
        ("ce(head=1)", r"`ce` takes warm_up, got 'head'"),
        ("ce + hard_l1_ace(bins=2.5)", r"`bins` must be a whole number from 2 to 100, got 2.5"),
        ("dice(include_background=1)", r"`include_background` must be true or false, got 1"),
        ("0*ce", r"`weight` must be a number from 0.0001 to 1000, got 0.0"),
        ("-1*ce", r"`weight` must be a number from 0.0001 to 1000, got -1.0"),
        ("ce + brier(warm_up=2)", r"`warm_up` must be a number from 0 to 1, got 2"),
        ("nacl", r"must hold one of ce, dice, .*brier without warm_up, got 'nacl'. Put dice_ce \+"),
        ("mbls + dice_ce(warm_up=0.5)", r"must hold one of ce, dice, .* without warm_up"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_is_allowed(text, words):
    with pytest.raises(SettingError, match=words):
        parse_loss(text)


@pytest.mark.parametrize(
    "document",
    [[{"weight": 1}], ["dice_ce"], [{"name": ["dice"]}], 5],
    ids=["no name", "text", "list", "number"],
)
def test_json_of_another_form_is_refused(document):
    with pytest.raises(SettingError, match=r'`loss` must be a list like \[\{"name": "dice_ce"\}\], got'):
        LossSum.from_json(document)


def test_json_is_refused_without_terms_or_with_text_for_a_number():
    with pytest.raises(SettingError, match="must hold one of ce"):
        LossSum.from_json([])
    with pytest.raises(SettingError, match="`gamma` must be a number from 0 to 10, got '2'"):
        LossSum.from_json([{"name": "focal", "gamma": "2"}])


@pytest.mark.parametrize(
    "text", ["1" * 50_000, "dice" + " " * 50_000 + "?", "focal(gamma=" + "9" * 50_000 + ")"]
)
def test_long_nonsense_is_refused_at_once(text):
    with pytest.raises(SettingError):
        parse_loss(text)


@pytest.mark.parametrize("name", LOSSES)
def test_every_hyper_parameter_has_limits_or_is_a_switch(name):
    for parameter in inspect.signature(LOSSES[name]).parameters.values():
        if parameter.name not in {"logits", "labels", "head", "ignore"}:
            switch = isinstance(parameter.default, bool)
            assert switch != (parameter.name in LIMITS), parameter
            assert switch or parameter.default in LIMITS[parameter.name]


@pytest.mark.parametrize("name", LOSSES)
def test_the_page_has_the_defaults_and_limits(name):
    row = re.search(rf"^\| `{name}` \|.*$", PAGE.read_text("utf-8"), re.M)[0]
    for parameter in inspect.signature(LOSSES[name]).parameters.values():
        if parameter.name in LIMITS:
            limits = LIMITS[parameter.name]
            assert f"`{parameter.name}` = {parameter.default:g} ({limits.low:g} to {limits.high:g})" in row


def test_terms_are_checked_when_made_from_python_too():
    with pytest.raises(SettingError, match=r"`weight` must be a number from 0.0001 to 1000, got 0"):
        LossTerm(name="ce", weight=0)
