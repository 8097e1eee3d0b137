"""A plan that cannot be replayed is refused."""

from dataclasses import replace

import pytest

from labelled_site import BALLS
from segtrust.errors import SettingError
from segtrust.models import Head
from segtrust.simulate.plan import SimulationPlan
from segtrust.training.loop import Budget
from segtrust.training.run import Recipe

PLAN = SimulationPlan(
    recipe=Recipe(BALLS, Budget(epochs=3), (0, 1)),
    strategies=("entropy", "uniform"),
    seeds=(0, 1),
    counts=(2, 4),
)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"strategies": ("entropy",)}, "hold uniform"),
        ({"strategies": ("uniform", "best")}, r"must be of entropy, .*monai_label"),
        ({"seeds": (1, 1)}, "differ"),
        ({"counts": (4, 2)}, "rising"),
        ({"counts": (4,)}, "at least two"),
        ({"recipe": replace(PLAN.recipe, spec=replace(BALLS, head=Head("sigmoid", (1,))))}, "softmax head"),
    ],
    ids=["no baseline", "unknown strategy", "a seed twice", "falling", "one round", "sigmoid"],
)
def test_what_cannot_be_replayed_is_refused(change, words):
    with pytest.raises(SettingError, match=words):
        replace(PLAN, **change)


def test_later_rounds_have_their_own_budget_only_if_they_are_warm():
    assert PLAN.budget(1) is PLAN.recipe.budget
    warm = replace(PLAN, warm=Budget(epochs=1))
    assert (warm.budget(0).epochs, warm.budget(1).epochs) == (3, 1)
