"""The benchmark of CaPE: its figures by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from segtrust.training.cape_stage import CapeSettings, fine_tune

HERE = Path(__file__).parents[2] / "benchmarks" / "papers"


@pytest.fixture(scope="module")
def benchmark():
    """Its modules; they import each other by name, as scripts do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        import fassio_figures  # noqa: PLC0415
        import fassio_problems  # noqa: PLC0415

        yield fassio_figures, fassio_problems


def logit(p):
    p = np.asarray(p, dtype=np.float64)
    return np.log(p) - np.log1p(-p)


def part_of(problems, chance, patients):
    return problems.Part(torch.empty(0), np.array(chance), torch.empty(0), np.array(patients))


def test_figures_of_two_slices_by_hand(benchmark):
    figures, problems = benchmark
    # one voxel a slice: .5 against 1 and .2 against 0
    part = part_of(problems, [[1.0], [0.0]], ["a", "b"])
    found = figures.Slices.of(part, {"one": logit([[[0.5], [0.2]]])}, None)
    got = figures.figures(found, base="one", draws=20)["one"]["volume"]
    assert got["mse"]["value"] == pytest.approx((0.25 + 0.04) / 2)
    assert got["kl"]["value"] == pytest.approx((np.log(2) - np.log(0.8)) / 2)
    assert got["ece"]["value"] == pytest.approx((0.5 + 0.2) / 2)
    assert got["auroc"]["value"] == 1
    assert got["mse"]["subjects"] == 2


def test_the_true_chance_has_no_error(benchmark):
    figures, problems = benchmark
    chance = np.random.default_rng(0).uniform(0.01, 0.99, (5, 4, 4))
    part = part_of(problems, chance, [*"aabbc"])
    found = figures.Slices.of(part, {"true": logit(chance)[None], "flat": np.zeros((2, 5, 4, 4))}, None)
    got = figures.figures(found, base="flat", draws=20)
    for name in ("mse", "kl", "ece"):
        assert got["true"]["volume"][name]["value"] == pytest.approx(0, abs=1e-12)
    for name in ("mse", "kl"):
        less = got["true"]["volume"][name]["difference"]
        assert less["value"] < 0
        assert less["low"] is less["high"] is None  # no interval over three patients


def test_the_area_under_the_curve_is_that_of_scikit_learn(benchmark):
    figures, problems = benchmark
    rng = np.random.default_rng(0)
    chance, z = rng.integers(0, 5, (40, 1)) / 4, rng.normal(size=(1, 40, 1)).round(1)
    found = figures.Slices.of(part_of(problems, chance, range(40)), {"one": z}, None)
    assert found.auroc["one"](range(40)) == pytest.approx(roc_auc_score(chance[:, 0] > 0.5, z[0, :, 0]))


def test_the_band_reaches_five_pixels_around_what_any_network_marks(benchmark):
    figures, _ = benchmark
    nothing = np.full((1, 1, 1, 20), -3.0)
    one = nothing.copy()
    one[..., 8] = 3.0
    band = figures.union_band([nothing, one])
    assert np.flatnonzero(band[0, 0]).tolist() == list(range(3, 14))


def test_the_smaller_training_set_is_a_part_of_the_larger_one(benchmark):
    _, problems = benchmark
    names = np.array([f"patient {i % 8}" for i in range(24)])
    whole = problems.Part(torch.arange(24), np.arange(24), torch.arange(24), names)
    half, quarter = (problems.share_of(whole, share) for share in (0.5, 0.25))
    assert (len(set(half.patients)), len(set(quarter.patients))) == (4, 2)
    assert set(quarter.images.tolist()) < set(half.images.tolist())
    assert len(half.images) == 12


def test_labels_of_the_made_up_problem_come_true_as_often_as_said(benchmark):
    _, problems = benchmark
    test = problems.synthetic(0)[2]
    rare = test.chance < 0.2
    # 200 x 1024 pixels, a third of them rare: the standard error is below .002
    assert test.labels.numpy()[rare].mean() == pytest.approx(test.chance[rare].mean(), abs=0.008)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["bin", "kernel"])
def test_on_known_chances_cape_is_no_worse_than_going_on_with_cross_entropy(benchmark, target, tmp_path):
    """Acceptance rule of the specification: watched log-loss within 1 %, last epoch not above."""
    _, problems = benchmark
    problem = problems.made_up(0)
    fit, watch = problem.draw(0)
    shared = {"seed": 0, "watch": lambda: problems.batches_of(watch, 0, flip=False)(0)}

    def run(network, name, **settings):
        return fine_tune(
            network,
            problems.batches_of(fit, 0),
            CapeSettings(**settings),
            checkpoint=tmp_path / name,
            **shared,
        )

    torch.manual_seed(0)
    start = run(problem.network(), "base.pt", **{**problem.base, "epochs": 15}).network
    stage = {**problem.stage, "epochs": 6, "learning_rate": 5e-3}
    control, tuned = (run(start, f"{t}.pt", **stage, target=t) for t in ("labels", target))
    assert min(tuned.watched) <= 1.01 * min(control.watched)
    assert tuned.watched[-1] <= control.watched[-1]
