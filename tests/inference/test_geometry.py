"""Every map lies on the scan's own grid, and how a scan is stored changes nothing."""

import threading

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings

from phantoms import (
    bright_predictor,
    make_blob,
    oblique,
    restored,
    spec_of,
    store_otherwise,
    version_of,
    world_coordinates,
)
from segtrust.errors import ScanError
from segtrust.inference import MAP_NAMES, Predictor, write_volume
from segtrust.inference.scan import Scan
from segtrust.models import open_version
from strategies import rotations

GEOMETRIES = {
    "1 mm": np.eye(4),
    "anisotropic": np.diag([0.8, 1.1, 2.5, 1.0]),
    "flipped": np.diag([-1.0, 1.0, -1.3, 1.0]),
    "oblique": oblique((1.0, 1.0, 1.0)),
    "oblique and anisotropic": oblique((0.8, 1.2, 2.0)),
    "permuted": store_otherwise(
        make_blob(affine=oblique((1.0, 1.2, 1.5))), (2, 0, 1), (True, False, True)
    ).affine,
}


# --- geometry: every map on the scan's own grid ------------------------------------------------------------


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), None], ids=["resampled", "own voxels"])
@pytest.mark.parametrize("slices", [1, 2, 3, 10])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_the_mask_lies_where_the_ball_is_in_world_millimetres(geometry, slices, spacing):
    affine, shape = GEOMETRIES[geometry], (21, 18, slices)
    # off the middle, so that a mirrored or shifted mask cannot pass
    centre = affine[:3, :3] @ (0.35 * np.array(shape)) + affine[:3, 3]
    scan = make_blob(shape, affine, centre=centre)
    got = bright_predictor(spacing).predict_scan(scan)
    distance = np.linalg.norm(world_coordinates(shape, affine) - centre, axis=-1)
    # brightness passes 50 at 5 mm; resampling may move the edge by a part of a voxel
    sharp = np.abs(distance - 5) > (0.01 if spacing is None else 0.7 * max(scan.spacing))
    np.testing.assert_array_equal(got.mask[sharp], (distance < 5)[sharp])
    assert got.mask.any()
    assert got.affine is scan.affine
    for name in MAP_NAMES:
        values = got.map(name)
        assert values.shape == shape
        assert np.isfinite(values).all()


def test_uncertainty_peaks_at_the_edge_of_the_ball():
    scan = make_blob((21, 18, 16), oblique((1.0, 1.0, 1.2)))
    got = bright_predictor(None).predict_scan(scan)
    middle = scan.affine[:3, :3] @ ((np.array(scan.shape) - 1) / 2) + scan.affine[:3, 3]
    distance = np.linalg.norm(world_coordinates(scan.shape, scan.affine) - middle, axis=-1)
    # a chance of error above .4 needs |20 (brightness - .5)| < .41: within .02 mm / slope of 5 mm
    assert np.abs(distance[got.map("chance_of_error") > 0.4] - 5).max() < 0.1


def test_the_volume_in_millilitres_counts_the_voxels_own_size():
    scan = make_blob((30, 30, 14), np.diag([0.8, 0.8, 2.0, 1.0]), radius=8.0)
    (ball,) = bright_predictor(None).predict_scan(scan).structures
    # 4/3 pi 8^3 = 2145 mm3; the voxels at the edge are worth a few percent
    assert ball.volume_ml == pytest.approx(2.145, rel=0.05)
    assert ball.volume_ml == pytest.approx(ball.voxels * 0.8 * 0.8 * 2.0 / 1000, abs=1e-12)


# --- the score does not depend on how a scan is stored -----------------------------------------------------


def default_scores(prediction):
    numbers = prediction.scores.to_json()
    return {name: pytest.approx(value, abs=1e-5) for name, value in numbers.items()}


@given(rotations())
@hypothesis_settings(max_examples=8)
def test_other_axes_with_the_same_places_give_the_same_prediction(tiny, how):
    scan = make_blob((17, 14, 12), oblique((1.0, 1.2, 1.5), 10.0))
    plain, otherwise = tiny.predict_scan(scan), tiny.predict_scan(store_otherwise(scan, *how))
    # the grid is the same but for the last bits; a voxel on the fence may change its label
    assert np.mean(restored(otherwise.mask, *how) != plain.mask) < 0.002
    np.testing.assert_allclose(restored(otherwise.entropy, *how), plain.entropy, atol=1e-4)
    assert otherwise.scores.entropy == pytest.approx(plain.scores.entropy, abs=1e-4)


@given(rotations())
@hypothesis_settings(max_examples=8)
def test_without_resampling_the_scores_are_the_same_to_rounding(tiny_model_original, how):
    scan = make_blob((17, 14, 12), np.diag([1.0, 1.2, 1.5, 1.0]))
    predictor = Predictor(
        version_of(spec_of(spacing=None)), source=Predictor(open_version(tiny_model_original)).source
    )
    plain, otherwise = predictor.predict_scan(scan), predictor.predict_scan(store_otherwise(scan, *how))
    np.testing.assert_array_equal(restored(otherwise.mask, *how), plain.mask)
    assert otherwise.scores.to_json() == default_scores(plain)
    assert_same_facts(otherwise, plain)


def padded(scan, before, after, value):
    data = torch.full((1, *(n + b + a for n, b, a in zip(scan.shape, before, after, strict=True))), value)
    data[(slice(None), *(slice(b, b + n) for n, b in zip(scan.shape, before, strict=True)))] = scan.data
    affine = scan.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ np.array(before)
    return Scan(data, affine, scan.spacing)


@pytest.mark.parametrize("air", ["minimum", "below", "between"])  # the last as a CT is filled up with 0
@pytest.mark.parametrize(
    ("before", "after"),
    [((4, 0, 0), (0, 0, 0)), ((0, 0, 0), (0, 9, 0)), ((0, 0, 7), (0, 0, 0)), ((3, 8, 1), (11, 2, 5))],
    ids=["left", "front", "below", "all sides"],
)
def test_air_on_any_side_changes_no_score_and_no_voxel(tiny, before, after, air):
    scan = make_blob((17, 14, 12))
    value = float(scan.data.amin()) + {"minimum": 0, "below": -5, "between": 40}[air]
    plain, wide = tiny.predict_scan(scan), tiny.predict_scan(padded(scan, before, after, value))
    inner = tuple(slice(b, b + n) for n, b in zip(scan.shape, before, strict=True))
    np.testing.assert_array_equal(wide.mask[inner], plain.mask)
    assert wide.mask.sum() == plain.mask.sum()  # nothing in the air
    np.testing.assert_allclose(wide.entropy[inner], plain.entropy, atol=1e-6)
    # all of them, the global mean over content included; one float64 sum in another order
    assert wide.scores.to_json() == {k: pytest.approx(v, abs=1e-9) for k, v in plain.scores.to_json().items()}
    assert_same_facts(wide, plain)


def assert_same_facts(one, other):
    a, b = one.selection_facts(), other.selection_facts()
    assert a["foreground"] == b["foreground"]
    assert a["class_scores"] == pytest.approx(b["class_scores"], abs=1e-6)
    assert len(a["features"]) > 0
    assert a["features"] == pytest.approx(b["features"], rel=1e-4, abs=1e-5)


def test_cropping_air_changes_no_score_and_no_voxel(tiny):
    whole = padded(make_blob((17, 14, 12)), (3, 8, 1), (11, 2, 5), 0.0)
    keep = (slice(2, 24), slice(8, 23), slice(0, 15))  # air goes on five sides, some of it stays
    affine = whole.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ np.array([axis.start for axis in keep])
    cropped = Scan(whole.data[(slice(None), *keep)].contiguous(), affine, whole.spacing)
    plain, less = tiny.predict_scan(whole), tiny.predict_scan(cropped)
    np.testing.assert_array_equal(less.mask, plain.mask[keep])
    assert less.scores.to_json() == {k: pytest.approx(v, abs=1e-9) for k, v in plain.scores.to_json().items()}
    assert_same_facts(less, plain)


def headers(tmp_path, scan):
    array, affine = scan.data[0].numpy(), scan.affine
    both = nib.Nifti1Image(array, affine)
    nib.save(both, tmp_path / "both.nii.gz")
    only_q = nib.Nifti1Image(array, affine)
    only_q.set_sform(None, code=0)
    only_q.set_qform(affine, code=1)
    nib.save(only_q, tmp_path / "qform.nii.gz")
    only_s = nib.Nifti1Image(array, affine)
    only_s.set_qform(None, code=0)
    only_s.header["pixdim"][1:4] *= 1 + 1e-6  # sizes rounded another way
    nib.save(only_s, tmp_path / "sform.nii.gz")
    sizes_changed = nib.Nifti1Image(array, affine)
    sizes_changed.header["pixdim"][1:4] *= 3  # a tool that rewrote the sizes and left the places alone
    nib.save(sizes_changed, tmp_path / "sizes.nii.gz")
    write_volume(array, affine, tmp_path / "itk.nrrd")
    return sorted(tmp_path.glob("*.n*"))


def test_other_headers_for_the_same_geometry_give_the_same_score(tiny, tmp_path):
    files = headers(tmp_path, make_blob((17, 14, 12), np.diag([1.0, 1.25, 1.5, 1.0])))
    changed = tmp_path / "sizes.nii.gz"  # ITK believes the sizes, nibabel the places
    files.remove(changed)
    with pytest.raises(ScanError, match="make `sform`, `qform` and `pixdim` agree"):
        tiny.predict(changed)
    assert len(files) == 4
    scores = [tiny.predict(path).scores.entropy for path in files]
    assert scores == [pytest.approx(scores[0], abs=1e-6)] * 4


def test_the_order_of_scans_changes_nothing(tiny):
    scans = [make_blob((15, 14, 12), seed=seed, radius=3.0 + seed) for seed in range(3)]
    forth = [tiny.predict_scan(scan) for scan in scans]
    back = [tiny.predict_scan(scan) for scan in reversed(scans)][::-1]
    assert [p.scores for p in forth] == [p.scores for p in back]
    assert [p.selection_facts() for p in forth] == [p.selection_facts() for p in back]


def test_the_same_scan_twice_is_bit_identical(tiny, blob_scan):
    first, second = tiny.predict_scan(blob_scan), tiny.predict_scan(blob_scan)
    np.testing.assert_array_equal(first.probs, second.probs)
    assert first.scores == second.scores


def test_two_threads_give_what_one_gives(tiny):
    scans = [make_blob((15, 14, 12), seed=seed, radius=3.0 + seed) for seed in range(2)]
    alone, together = [tiny.predict_scan(scan).scores for scan in scans], {}
    threads = [
        threading.Thread(target=lambda i=i: together.update({i: tiny.predict_scan(scans[i]).scores}))
        for i in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert [together[i] for i in range(2)] == alone
