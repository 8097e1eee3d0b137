"""A method is one function under a name, and then in every table."""

import numpy as np
import pytest
import torch

from segtrust.errors import SettingError, ShapeError
from segtrust.evaluate import methods
from segtrust.evaluate.methods import ScanView, load_methods, map_errors, scan_score, score_methods, voxel_map


@pytest.fixture(autouse=True)
def _registry_stays(monkeypatch):
    monkeypatch.setattr(methods, "VOXEL_MAPS", dict(methods.VOXEL_MAPS))
    monkeypatch.setattr(methods, "SCAN_SCORES", dict(methods.SCAN_SCORES))


def view():
    probs = np.zeros((2, 4, 3, 3), np.float32)
    probs[0], probs[1] = 0.9, 0.1
    probs[:, 1, 1, 1] = 0.2, 0.8
    mask = probs.argmax(axis=0).astype(np.uint8)
    return ScanView(probs, mask, (1.0, 1.0, 1.0), np.ones(mask.shape, bool))


def test_a_registered_map_and_score_are_judged_with_the_others():
    @voxel_map("twice the margin of nothing")
    def nothing(probs):
        return torch.zeros_like(probs[:, 0])

    @scan_score("voxels")
    def voxels(scan):
        return float((scan.mask > 0).sum())

    seen = view()
    wrong = torch.zeros(seen.mask.shape, dtype=torch.bool)
    counts = map_errors(torch.from_numpy(seen.probs), wrong, ~wrong)
    assert counts["twice the margin of nothing"].right[0] == 36  # all voxels in the first cell
    assert set(counts) >= {"entropy", "margin", "chance of error"}
    assert score_methods(seen)["voxels"] == 1.0


def test_a_name_is_taken_once():
    with pytest.raises(SettingError, match="must be new, got 'entropy'"):
        scan_score("entropy")(lambda scan: 0.0)


def test_a_map_of_another_shape_is_refused():
    voxel_map("flat")(lambda probs: probs[:, 0, 0])
    seen = view()
    wrong = torch.zeros(seen.mask.shape, dtype=torch.bool)
    with pytest.raises(ShapeError, match=r"the map 'flat' must have shape \(4, 3, 3\), got \(3, 3\)"):
        map_errors(torch.from_numpy(seen.probs), wrong, ~wrong)


def test_methods_of_the_caller_s_own_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from segtrust.evaluate.methods import scan_score\n"
        "@scan_score('largest chance')\n"
        "def largest(scan):\n    return float(1 - scan.probs.max(axis=0).min())\n"
    )
    load_methods(path)
    assert score_methods(view())["largest chance"] == pytest.approx(0.2, abs=1e-6)
    empty = tmp_path / "empty.py"
    empty.write_text("")
    with pytest.raises(SettingError, match="must register a method"):
        load_methods(empty)


def test_scores_of_one_voxel_by_hand():
    # binary entropy of .8 in nats; 2 x .8 / (.8 + 35 x .1 + 1) of the band, which is the whole volume
    found = score_methods(view())
    assert found["segment entropy"] == pytest.approx(0.5004, abs=1e-4)
    assert found["soft Dice risk"] == pytest.approx(1 - 1.6 / (0.8 + 3.5 + 1), abs=1e-6)
