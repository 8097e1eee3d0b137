"""An adopted nnU-Net answers as nnU-Net does, voxel for voxel, whatever its plans ask for."""

import threading
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from segtrust.adapters.nnunet_results import read_nnunet
from segtrust.errors import ModelError, ScanError, SettingError
from segtrust.files import StoppedError, stoppable
from segtrust.inference import nnunet
from segtrust.inference.predictor import Predictor
from segtrust.inference.scan import read_scan
from segtrust.release.adopt import draft_nnunet
from tiny_nnunet import dataset, nnunet_answer, plans, write_results, write_scan

REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "rim": [3]}
TURNED = nib.affines.from_matvec([[0, -1, 0], [0, 0, 2], [1.5, 0, 0]], [10, -20, 5])
KINDS = {
    "isotropic": {},
    "anisotropic, resampled": {
        "plans": {"spacing": (3.5, 0.9, 1.1)},
        "scan": {"affine": np.diag([1, 1, 4, 1.0])},
    },
    "transposed": {"plans": {"transpose": (2, 0, 1), "spacing": (1.4, 1.2, 0.8)}},
    "cropped, two channels": {
        "plans": {"channels": 2, "use_mask": True},
        "dataset": {"channels": 2},
        "scan": {"channels": 2, "margin": 3},
    },
    "regions": {"dataset": {"labels": REGIONS, "regions_class_order": [1, 2, 3]}, "scan": {"margin": 2}},
    "2-D": {"plans": {"window": (16, 16), "spacing": (1.3, 0.7)}, "mirroring": (0, 1)},
    "turned by its reader": {
        "plans": {"reader": "NibabelIOWithReorient", "spacing": (1.2, 1.0, 1.0)},
        "scan": {"affine": TURNED},
    },
    "turned by ITK's reader": {"plans": {"reader": "SimpleITKIOWithReorient"}, "scan": {"affine": TURNED}},
    "read by nibabel": {"plans": {"reader": "NibabelIO"}, "scan": {"affine": TURNED}},
}  # fmt: skip


def adopted(folder, work, **options):
    work.mkdir()
    return draft_nnunet(read_nnunet(folder), work, name="tiny", **options)


def results_and_scan(tmp_path, kind):
    planned, described = plans(**kind.get("plans", {})), dataset(**kind.get("dataset", {}))
    folder = write_results(tmp_path, planned, described, mirroring=kind.get("mirroring", (0, 1, 2)))
    return folder, write_scan(tmp_path / "scans", **kind.get("scan", {}))


@pytest.fixture
def tiny(tmp_path):
    folder, files = results_and_scan(tmp_path, {})
    return adopted(folder, tmp_path / "work"), files


@pytest.mark.parametrize(
    "mirroring", [pytest.param(True, marks=pytest.mark.slow), False], ids=["mirrored", "not mirrored"]
)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_mask_is_that_of_nnunet_voxel_for_voxel(tmp_path, kind, mirroring):
    folder, files = results_and_scan(tmp_path, kind)
    version = adopted(folder, tmp_path / "work", mirroring=mirroring)
    prediction = Predictor(version).predict(files[0])
    mask, probs = nnunet_answer(folder, files, mirroring=mirroring)
    values = np.array([0, *(label.source_values[0] for label in version.spec.labels)])
    assert len(np.unique(mask)) > 1
    assert np.array_equal(values[prediction.mask], mask)
    if "Reorient" not in kind.get("plans", {}).get("reader", ""):  # those probabilities lie on another grid
        np.testing.assert_allclose(prediction.probs, probs, rtol=0, atol=1e-6)  # the calibrator's logarithm


def test_mask_is_the_argmax_of_the_uncalibrated_mean(tiny):
    version, files = tiny
    predictor = Predictor(version)
    scan = read_scan(files[0])
    _, statistics, _ = predictor.sample(scan)
    prediction = predictor.predict_scan(scan)
    assert np.array_equal(statistics.mean.argmax(dim=0).numpy(), prediction.mask)
    assert torch.allclose(statistics.mean.sum(dim=0), torch.ones(scan.shape), atol=1e-5)


def test_between_folds_is_their_mutual_information_and_not_of_the_averaged_logits(tiny):
    version, files = tiny
    scan = read_scan(files[0])
    one, two = (
        Predictor(replace(version, members=(member,))).sample(scan)[1].mean for member in version.members
    )
    statistics = Predictor(version).sample(scan)[1]
    mean = (one + two) / 2
    by_hand = torch.special.entr(mean).sum(0) - (torch.special.entr(one) + torch.special.entr(two)).sum(0) / 2
    torch.testing.assert_close(statistics.between, by_hand.clamp_min(0), rtol=0, atol=2e-6)
    masks = [each.argmax(0) for each in (one, two)]
    overlap = [
        2 * float(((masks[0] == k) & (masks[1] == k)).sum()) / float(sum((mask == k).sum() for mask in masks))
        for k in (1, 2)
    ]
    np.testing.assert_allclose(statistics.pairwise_dice.numpy(), overlap, rtol=1e-12)


def test_slabs_and_files_change_rounding_alone(tmp_path, monkeypatch):
    folder, files = results_and_scan(tmp_path, {"scan": {"shape": (19, 13, 16)}})
    version = adopted(folder, tmp_path / "work")
    scan = read_scan(files[0])
    whole = Predictor(version).sample(scan)[1]
    monkeypatch.setattr(nnunet, "_SLAB", 1)
    monkeypatch.setattr("segtrust.adapters.nnunet_run._IN_MEMORY", 0)
    monkeypatch.setattr("segtrust.adapters.nnunet_run._BLOCK", 1)
    parts = Predictor(version).sample(scan)[1]
    # PyTorch takes exp of 8 or 16 voxels at once by another function than of the voxels left over at the end
    # of a slab (19 x 13 is no multiple of either): the last bit of a probability may differ, its rank not.
    torch.testing.assert_close(whole.mean, parts.mean, rtol=4 * 2**-23, atol=0)
    for name in ("total", "within", "between", "variance"):  # dH <= sum |ln p + 1| dp, twice for a difference
        torch.testing.assert_close(getattr(whole, name), getattr(parts, name), rtol=0, atol=2e-6)
    for name in ("votes", "sample_voxels", "pairwise_dice", "pooled_pairwise_dice"):
        torch.testing.assert_close(getattr(whole, name), getattr(parts, name), rtol=0, atol=0, equal_nan=True)


def test_prediction_has_scores_features_and_a_blind_spot_like_any_other(tiny):
    version, files = tiny
    prediction = Predictor(version).predict(files[0])
    assert prediction.members == 2
    assert prediction.scores.entropy > 0
    assert len(prediction.features) == 8  # channels of the deepest stage
    assert {s.name for s in prediction.structures} == {"front", "back"}


def test_members_that_are_not_kept_answer_alike(tiny):
    version, files = tiny
    resident, loaded = (Predictor(version, keep_members=keep).predict(files[0]) for keep in (True, False))
    assert np.array_equal(resident.probs, loaded.probs)


def test_bf16_is_close_to_fp32(tiny):
    version, files = tiny
    exact, coarse = (Predictor(version, precision=p).predict(files[0]).probs for p in ("fp32", "bf16"))
    assert 0 < np.abs(exact - coarse).max() < 0.05  # 8 bits of mantissa through 4 layers


def test_views_are_refused_in_words(tiny):
    version, files = tiny
    with pytest.raises(SettingError, match="averages its mirrored views itself"):
        Predictor(version).views(files[0])


def test_work_that_nobody_waits_for_ends_and_leaves_no_thread(tiny, monkeypatch):
    version, files = tiny
    predictor = Predictor(version)
    scan = read_scan(files[0])
    monkeypatch.setattr("segtrust.files.stopping._PAUSE_S", 0)
    before = threading.active_count()
    with pytest.raises(StoppedError), stoppable(lambda: True):
        predictor.predict_scan(scan)
    assert threading.active_count() <= before
    assert predictor.predict_scan(scan).members == 2


def test_version_without_its_documents_is_refused(tiny):
    version, files = tiny
    with pytest.raises(ModelError, match=r"plans\.json and dataset\.json"):
        Predictor(replace(version, documents={})).predict(files[0])


def test_missing_channel_is_named(tmp_path):
    folder, files = results_and_scan(tmp_path, KINDS["cropped, two channels"])
    files[1].unlink()
    files[0].rename(files[0].with_name("case.nii.gz"))
    with pytest.raises(ScanError, match="must have 2 channel"):
        Predictor(adopted(folder, tmp_path / "work")).predict(files[0].with_name("case.nii.gz"))
