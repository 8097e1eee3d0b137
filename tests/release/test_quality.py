"""The quality part of a version on made-up scans: from a data folder to a new version that speaks."""

import json

import nibabel as nib
import numpy as np
import pytest

from phantoms import make_blob, spec_of, write_scan
from segtrust.evaluate.quality_figures import judge_predictions
from segtrust.evaluate.quality_table import quality_tables
from segtrust.evaluate.shifts import SHIFT_SUITE
from segtrust.inference import Predictor
from segtrust.models import open_version
from segtrust.quality import (
    Assessment,
    ContourMargins,
    ContourRule,
    FineRule,
    Margins,
    NeededMargins,
    StructureAssessment,
    StructureTruth,
    Unlikeness,
)
from segtrust.release import quality as module
from segtrust.release.quality import add_quality, quality_case, worsened_copies

SUBJECTS = 12


@pytest.fixture
def data(tmp_path):
    """Scans of a ball, labelled 1 inside and 2 in a thin shell around it."""
    folder = tmp_path / "data"
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    ids = [f"scan{i:02d}" for i in range(SUBJECTS)]
    for seed, scan_id in enumerate(ids):
        scan = make_blob(radius=4.0 + 0.2 * (seed % 5), seed=seed)
        write_scan(scan, folder / "images" / f"{scan_id}.nii.gz")
        values = scan.data[0].numpy()
        labels = np.where(values > 50, 1, np.where(values > 20, 2, 0)).astype(np.uint8)
        nib.save(nib.Nifti1Image(labels, scan.affine), folder / "labels" / f"{scan_id}.nii.gz")
    splits = {"train": [], "val": ids, "test": ["never-read"]}
    (folder / "splits.json").write_text(json.dumps({"splits": splits}), encoding="utf-8")
    return folder


@pytest.mark.slow
def test_a_version_gets_a_quality_part_without_new_weights_and_predictions_use_it(data, tiny_model):
    before = open_version(tiny_model)
    after = add_quality(tiny_model, data)
    assert (after.id, after.card["parent"]) == ("0002", before.id)
    assert [p.read_bytes() for p in after.members] == [p.read_bytes() for p in before.members]
    assert after.calibration["calibrator"] == before.calibration["calibrator"]
    assert after.card["quality"]["subjects"] == SUBJECTS
    scan = data / "images" / "scan03.nii.gz"
    said = Predictor(after, fine=FineRule(0.8, 0.1)).predict(scan)
    params = said.params()
    assert params["out_of_distribution"]["subjects"] == SUBJECTS
    assert params["out_of_distribution"]["likeness"] == "not tested"
    assert "cannot be tested with 12 patients" in params["out_of_distribution"]["reason"]
    assert params["quality"]["intervals"] == "usual"
    assert params["quality"]["fine_risk"] == 0.1
    assert 0 <= said.map("excess").min() <= said.map("excess").max() <= 1
    assert params["contours"]["coverage"] == 0.9
    assert after.card["quality"]["contours"]["each"] == params["contours"]["each"]
    assert "| front | 12 |" in quality_tables(after.card)
    for structure in (s for s in params["structures"] if not s["empty"]):
        assert 0 < structure["predicted_dice"] < 1
        assert structure["verdict"] in ("probably fine", "needs a look")
    assert f"predicted for the {SUBJECTS} calibration subjects" in quality_tables(after.card)
    assert quality_tables(before.card) == ""
    assert not {"quality", "out_of_distribution"} & set(Predictor(before).predict(scan).params())


def test_the_truth_of_a_structure_is_that_of_its_voxels(tiny_version):
    tiny, scan = Predictor(tiny_version), make_blob()
    prepared, statistics, _ = tiny.sample(scan)
    prediction = tiny.conclude(scan, prepared, statistics)
    reference = prediction.mask.astype(np.int64)
    case = quality_case(prediction, prepared.image.numpy(), reference, subject="a", ordinary=True)
    for value in np.unique(reference[reference > 0]):
        truth = case.truth[value]
        assert (truth.dice, truth.volume_ratio, truth.border_mm) == (1, 1, 0)
        assert truth.margins == NeededMargins((0.0,) * 3, (0.0,) * 3)
        assert truth.volume_ml == np.count_nonzero(reference == value) / 1000  # voxels of 1 mm
        assert StructureTruth.from_json(json.loads(json.dumps(truth.to_json()))) == truth
    moved = np.roll(reference, 1, axis=0)
    distances = [
        t.border_mm
        for t in quality_case(
            prediction, prepared.image.numpy(), moved, subject="a", ordinary=True
        ).truth.values()
        if t.border_mm is not None
    ]
    assert all(0 < mm <= 1 for mm in distances)


def test_sixteen_scans_have_every_shift_in_two_strengths_three_times(monkeypatch):
    seen = []
    monkeypatch.setattr(
        module, "corrupt", lambda data, name, strength, seed: seen.append((name, strength)) or data
    )
    for index in range(16):
        assert len(list(worsened_copies(make_blob(), "scan", index))) == 3
    assert {pair: seen.count(pair) for pair in seen} == {(n, s): 3 for n in SHIFT_SUITE for s in (2, 3)}


MARGINS = {1: Margins(1.0, 2.0, 26), 2: Margins(1.0, 2.0, 26)}


def said(interval, verdict, p_value=0.5, detectors=()):
    one = StructureAssessment(0.85, interval, None if interval is None else (0.9, 1.1), None, verdict)
    contours = None if p_value < 0.05 else ContourMargins(ContourRule(0.9, 1.0), MARGINS, MARGINS)
    unlike = Unlikeness(p_value, dict(detectors), 26)
    return Assessment({1: one, 2: one}, unlike, 26, FineRule(0.8, 0.05), None, contours)


def truth(dice, ratio=1.0, outer=0.0, inner=0.0):
    return StructureTruth(dice, ratio, None, NeededMargins((outer,) * 3, (inner,) * 3))


def test_untouched_scans_are_counted_by_hand():
    judged = [
        (said((0.8, 0.9), "probably fine"), {1: truth(0.85, outer=1.0), 2: truth(0.95, 1.2)}),
        (
            said((0.8, 0.9), "probably fine"),
            {1: truth(0.75, inner=2.5), 2: StructureTruth(np.nan, None, None)},
        ),
        (said(None, "needs a look", 0.03), {1: truth(0.5), 2: truth(0.5)}),
    ]
    found = judge_predictions(spec_of(), judged, 26)
    front, back = found["structures"]["front"], found["structures"]["back"]
    assert (found["scans"], found["unlike"]) == (3, 1)
    assert (front["intervals"], front["inside"], front["fine"], front["fine_and_bad"]) == (2, 1, 2, 1)
    assert front["error"] == pytest.approx((0 + 0.1 + 0.35) / 3)
    assert (back["intervals"], back["inside"], back["fine_and_bad"]) == (1, 0, 0)
    # 25th smallest of 26 errors: both inside with 25 / 27 * 26 / 28 = .86, none with 2 / 27 * 3 / 28 = .008
    assert front["expected_inside"] == [1, 2]
    assert front["volume"] == {"n": 2, "inside": 2, "expected": [1, 2]}
    assert (back["volume"]["n"], back["volume"]["inside"]) == (1, 0)
    assert front["outer"] == {"n": 2, "inside": 2, "expected": [1, 2]}
    assert front["inner"] == {"n": 2, "inside": 1, "expected": [1, 2]}
    assert back["outer"]["n"] == 1  # not found in the second scan
    assert found["joint"] == {"n": 2, "inside": 1, "expected": [1, 2]}
    card = {"quality": {"subjects": 26, "structures": {}}, "test_quality": found}
    tables = quality_tables(card)
    assert "| front | 2 | 1 | 1 to 2 | 0.150 | 2 | 1 |" in tables
    assert "| front, inner | 2 | 1 | 1 to 2 |" in tables
    assert "| joint | 2 | 1 | 1 to 2 |" in tables


def test_widest_intervals_are_counted_apart():
    wide = {"sharpness": 0.03, "ensemble": 0.5}
    judged = [
        (said((0.8, 0.9), "probably fine"), {1: truth(0.85), 2: truth(0.85)}),
        (said((0.7, 0.9), "needs a look", 0.03, wide), {1: truth(0.75), 2: truth(0.95, 1.5)}),
    ]
    found = judge_predictions(spec_of(), judged, 26)
    assert (found["unlike"], found["somewhat_unlike"]["scans"]) == (1, 1)
    assert found["structures"]["front"]["intervals"] == 1
    apart = found["somewhat_unlike"]["structures"]
    assert apart["front"] == {"dice": {"n": 1, "inside": 1}, "volume": {"n": 1, "inside": 1}}
    assert apart["back"] == {"dice": {"n": 1, "inside": 0}, "volume": {"n": 1, "inside": 0}}
    tables = quality_tables({"quality": {"subjects": 26, "structures": {}}, "test_quality": found})
    assert "0 of them unlike the calibration scans and so without interval, 1 somewhat unlike" in tables
    assert "1 of 1 (front, dice)" in tables
