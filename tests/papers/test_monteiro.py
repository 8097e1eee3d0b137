"""Sources of draws and the energy score of the nodule benchmarks, against numbers worked by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

PAPERS = Path(__file__).parents[2] / "benchmarks" / "papers"


@pytest.fixture
def monteiro(monkeypatch):
    monkeypatch.syspath_prepend(str(PAPERS))
    import monteiro  # noqa: PLC0415  # a program of the benchmarks

    return monteiro


@pytest.fixture
def longer(monkeypatch):
    monkeypatch.syspath_prepend(str(PAPERS))
    import train_longer_nodules  # noqa: PLC0415  # likewise

    return train_longer_nodules


class Fixed(nn.Module):
    """Puts out the same channels for every image."""

    def __init__(self, channels):
        super().__init__()
        self.channels = channels

    def forward(self, images):
        return self.channels.expand(len(images), *self.channels.shape)


def slices(raters):
    """One slice of 2 x 2 pixels, which a source of a fixed network does not look at."""
    from lung_nodules import Slices  # noqa: PLC0415  # found once the fixtures have set the path

    return Slices(np.zeros((1, 2, 2), np.float32), np.array([raters], np.uint8), np.array(["a"]))


def test_one_threshold_on_four_pixels(monteiro):
    # chances .25, .75, .75, 0. A threshold above .75 marks nothing (P = .25), one between .25 and .75 the two
    # (.5), one below all three (.25). All raters mark the two:
    #   E d(S, Y) = .25 * 1 + .5 * 0 + .25 * 1/3 = 1/3
    #   E d(S, S') = 2 (.25 * .5 * 1 + .25 * .25 * 1 + .5 * .25 * 1/3) = .4583
    #   distance = 2/3 - .4583 = .2083
    chance = torch.tensor([[0.25, 0.75], [0.75, 1e-9]])
    draw = monteiro.one_threshold(Fixed(torch.stack([torch.zeros(2, 2), torch.logit(chance)])))
    two = [[0, 1], [1, 0]]
    (row,) = monteiro.judge(draw, slices([two] * 4), n=2000)
    assert row["ged2000_unbiased"] == pytest.approx(0.2083, abs=0.03)  # 2000 draws: standard error .01
    assert row["empty"] == pytest.approx(0.25, abs=0.03)


def test_a_random_rater_of_two_training_masks(monteiro):
    # one pixel or nothing, each with P = .5, against raters who all mark the pixel: 2 * .5 - .5 - 0
    one, none = [[1, 0], [0, 0]], [[0, 0], [0, 0]]
    draw = monteiro.rater_of_train(np.array([[one, none]], np.uint8))
    (row,) = monteiro.judge(draw, slices([one] * 4), n=2000)
    assert row["ged2000_unbiased"] == pytest.approx(0.5, abs=0.03)
    assert row["diversity"] == pytest.approx(0.5, abs=0.03)


def test_no_draw_of_the_benchmark_is_above_the_bound(monteiro):
    # one factor of 7: all four pixels or none
    channels = torch.full((6, 2, 2), -30.0)
    channels[:2], channels[4], channels[5] = 0, 0, 30
    free, bound = (
        monteiro.judge(
            monteiro.stochastic(Fixed(channels), 1, largest), slices([[[0, 0], [0, 0]]] * 4), n=200
        )[0]
        for largest in (None, 3)
    )
    assert free["flooding"] == pytest.approx(0.5, abs=0.15)
    assert bound["flooding"] == 0
    assert bound["empty"] > 0.95  # some draws near the mean mark a part


def channels_of(mean, factor):
    """Class 1 less class 0: ``mean`` in the first of four pixels, which ``factor`` moves, -40 elsewhere."""
    channels = torch.zeros(1, 6, 2, 2)
    channels[:, 1], channels[:, 2:4] = -40, -30
    channels[:, 1, 0, 0], channels[:, 5, 0, 0] = mean, factor
    return channels


def test_the_energy_score_is_worked_by_hand(longer):
    # two of four raters mark one pixel, two mark nothing; the distance of the two is 1 - 1 / 2
    raters = torch.zeros(1, 4, 2, 2)
    raters[:, :2, 0, 0] = 1
    sure = longer.energy_score(channels_of(40, 0), raters, rank=1)
    assert sure == pytest.approx(2 * 0.25 - 0, abs=1e-4)
    torch.manual_seed(0)
    either = longer.energy_score(channels_of(0, 1e4), raters, rank=1, draws=400)
    # half of the draws mark it: 2 * .25 - .25; logits are within 10 of zero, so that some draws are soft
    assert either == pytest.approx(0.25, abs=0.03)


def test_the_energy_score_prefers_the_share_of_raters(longer):
    # one of four raters marks the pixel: the best of these is the draw that marks it in a quarter of cases
    raters = torch.zeros(1, 4, 2, 2)
    raters[:, :1, 0, 0] = 1
    scores = []
    for mean in (-100.0, -6.745, 0.0, 100.0):  # 10 w > 6.745 in one of four
        torch.manual_seed(1)
        scores.append(float(longer.energy_score(channels_of(mean, 1e4), raters, rank=1, draws=400)))
    assert int(np.argmin(scores)) == 1
    assert scores[1] == pytest.approx(2 * (0.25 * 0.375 + 0.75 * 0.125) - 2 * 0.25 * 0.75 * 0.5, abs=0.04)


def test_the_energy_score_has_a_slope_where_all_is_empty(longer):
    channels = channels_of(-3, 1).requires_grad_(True)
    longer.energy_score(channels, torch.zeros(1, 4, 2, 2), rank=1).backward()
    assert torch.isfinite(channels.grad).all()
    assert channels.grad[0, 1, 0, 0] > 0  # less of it is better
