"""Scans made hard: what changes and what stays."""

import numpy as np
import pytest
import torch

from phantoms import make_blob
from segtrust.errors import SettingError
from segtrust.experiments.hard_scans import Hardship, HidingSource


class TwoSamples:
    """Two samples of three classes, the second surer of the last."""

    def __len__(self):
        return 2

    def samples(self, image, slide):
        yield torch.tensor([[0.2], [0.3], [0.5]])
        yield torch.tensor([[0.1], [0.0], [0.9]])


@pytest.fixture(scope="module")
def labelled():
    scan = make_blob(seed=0, radius=6)
    values = scan.data.numpy()[0]
    labels = torch.from_numpy((values > np.quantile(values, 0.9)).astype(np.int64))
    return scan, labels


def test_a_shrunk_scan_has_its_labels_at_the_same_scale(labelled):
    scan, labels = labelled
    hard, small = Hardship("shrunk", 1).of(scan, labels)
    assert hard.data.shape == scan.data.shape
    assert hard.data.dtype == scan.data.dtype
    # 0.6^3 = .216 of the voxels; a surface of whole voxels allows some more or less
    assert int(small.sum()) == pytest.approx(0.216 * int(labels.sum()), rel=0.25)


def test_an_axis_may_keep_its_size(labelled):
    scan, labels = labelled
    _, small = Hardship("shrunk", 1, (0, 1)).of(scan, labels)
    assert int(small.sum()) == pytest.approx(0.36 * int(labels.sum()), rel=0.25)


def test_an_erased_structure_goes_from_the_image_and_stays_in_the_labels(labelled):
    scan, labels = labelled
    hard, same = Hardship("erased", 1).of(scan, labels)
    inside, before, after = labels.numpy() == 1, scan.data.numpy()[0], hard.data.numpy()[0]
    assert same is labels
    assert after[inside].mean() < before[inside].mean() - before.std()
    far = ~torch.nn.functional.max_pool3d(labels[None].float(), 5, 1, 2)[0].bool().numpy()
    np.testing.assert_array_equal(after[far], before[far])


def test_a_structure_that_is_not_there_cannot_be_erased(labelled):
    scan, labels = labelled
    hard, _ = Hardship("erased", 2).of(scan, labels)
    np.testing.assert_array_equal(hard.data, scan.data)


@pytest.mark.parametrize(("spared", "left"), [(0, [0.0005, 0.0009]), (1, [0.5, 0.0009])])
def test_hidden_structures_go_to_the_background(spared, left):
    samples = list(HidingSource(TwoSamples(), 2, spared).samples(None, None))
    assert [float(sample[2]) for sample in samples] == pytest.approx(left, abs=1e-7)  # float32
    assert [float(sample.sum()) for sample in samples] == pytest.approx([1, 1])
    assert float(samples[0][1]) == pytest.approx(0.3)


def test_another_hardship_is_refused():
    with pytest.raises(SettingError, match="hard by shrunk, erased, missed, missed by most, got 'lost'"):
        Hardship("lost", 1)
