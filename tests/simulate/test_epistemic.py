"""MONAI Label's epistemic score is what MONAI Label computes."""

import numpy as np
import pytest
import torch
from torch import nn

from phantoms import spec_of
from segtrust.errors import ShapeError
from segtrust.simulate.epistemic import monai_label_entropy, monai_label_score

SPEC = spec_of(patch=(8, 8, 8))


@pytest.mark.slow
def test_score_is_that_of_monai_label_itself():
    scoring = pytest.importorskip("monailabel.tasks.scoring.epistemic_v2")
    task = object.__new__(scoring.EpistemicScoring)
    task.dimension = 3
    samples = torch.randn((5, 3, 4, 5, 6), generator=torch.Generator().manual_seed(0)).mul(9).softmax(dim=1)
    samples[:, :, 0] = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    theirs = float(np.nanmean(task.entropy_volume(samples.clone())))
    assert monai_label_entropy(samples) == pytest.approx(theirs, rel=1e-6)


def test_a_class_that_is_surely_absent_still_adds_a_little():
    # 5e-5 * ln(1 / 5e-5) = 4.95e-4 nats; the class that is surely there adds nothing
    assert monai_label_entropy(torch.tensor([[[1.0], [0.0]]])) == pytest.approx(4.95e-4, abs=1e-6)


def test_samples_without_an_axis_of_classes_are_refused():
    with pytest.raises(ShapeError, match=r"\(S, C, \*grid\)"):
        monai_label_entropy(torch.ones(5, 2))


def test_batch_normalisation_runs_on_the_scan_itself():
    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm3d(1, eps=1e-12), nn.Conv3d(1, 3, 1)).eval()
    image = torch.randn((1, 8, 8, 8), generator=torch.Generator().manual_seed(1))
    plain = monai_label_score(network, image, SPEC)
    assert monai_label_score(network, 3 * image, SPEC) == pytest.approx(plain, rel=1e-5)
    network.eval()
    with torch.no_grad():  # with the statistics of training the two scans differ
        one, three = (monai_label_entropy(network(f * image[None]).softmax(dim=1)) for f in (1, 3))
    assert abs(one - three) > 0.01


def test_passes_differ_by_dropout_and_the_seed_fixes_them():
    network = nn.Sequential(nn.Conv3d(1, 3, 1), nn.Dropout(0.5))
    image = torch.randn((1, 8, 8, 8), generator=torch.Generator().manual_seed(1))
    first, again = (monai_label_score(network, image, SPEC, seed=4) for _ in range(2))
    assert first == again != monai_label_score(network, image, SPEC, seed=5)
