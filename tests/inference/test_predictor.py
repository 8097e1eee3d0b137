"""The one core, end to end: a scan in, a prediction on its own grid out."""

import json
import threading
import weakref

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings

from phantoms import (
    TINY_NETWORK,
    Brightness,
    FixedSource,
    NetworkSource,
    make_blob,
    restored,
    spec_of,
    store_otherwise,
    world_coordinates,
    write_scan,
)
from segtrust.calibrators import DistanceTemperature, PooledTemperature
from segtrust.errors import DeviceError, ModelError, ScanError
from segtrust.inference import DropoutSource, FlipSource, Predictor, write_volume
from segtrust.inference import predictor as predictor_module
from segtrust.inference.members import build_network
from segtrust.inference.scan import Scan
from segtrust.models import Head, Intensity, Label, ModelVersion, open_version
from segtrust.settings import MAP_NAMES
from strategies import rotations

ONE = (Label("ball", 1, 1),)


def version_of(spec, calibrator=None):
    """A version without weights, for sources that bring their own."""
    calibration = {"calibrator": calibrator or {"name": "identity"}}
    return ModelVersion(None, "0001", spec, (), calibration, {}, "digest")


def bright_predictor(spacing=(1.0, 1.0, 1.0), **options):
    """Foreground is where the scan is brighter than 50, whatever the geometry."""
    spec = spec_of(labels=ONE, spacing=spacing, intensity=Intensity("window", 0.0, 100.0))
    return Predictor(version_of(spec), source=NetworkSource(Brightness(steepness=20.0)), **options)


def oblique(size, degrees=25.0):
    a, b = np.deg2rad(degrees), np.deg2rad(-degrees / 3)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn @ tilt @ np.diag(size), [12, -30, 7]
    return affine


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


@pytest.fixture(scope="module")
def tiny(tiny_model_original):
    return Predictor(open_version(tiny_model_original))


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


def padded(scan, before, after, value):
    data = torch.full((1, *(n + b + a for n, b, a in zip(scan.shape, before, after, strict=True))), value)
    data[(slice(None), *(slice(b, b + n) for n, b in zip(scan.shape, before, strict=True)))] = scan.data
    affine = scan.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ np.array(before)
    return Scan(data, affine, scan.spacing)


@pytest.mark.parametrize("air", ["minimum", "below"])
@pytest.mark.parametrize(
    ("before", "after"),
    [((4, 0, 0), (0, 0, 0)), ((0, 0, 0), (0, 9, 0)), ((0, 0, 7), (0, 0, 0)), ((3, 8, 1), (11, 2, 5))],
    ids=["left", "front", "below", "all sides"],
)
def test_air_on_any_side_changes_no_score_and_no_voxel(tiny, before, after, air):
    scan = make_blob((17, 14, 12))
    value = float(scan.data.amin()) - (0 if air == "minimum" else 5)
    plain, wide = tiny.predict_scan(scan), tiny.predict_scan(padded(scan, before, after, value))
    inner = tuple(slice(b, b + n) for n, b in zip(scan.shape, before, strict=True))
    np.testing.assert_array_equal(wide.mask[inner], plain.mask)
    assert wide.mask.sum() == plain.mask.sum()  # nothing in the air
    np.testing.assert_allclose(wide.entropy[inner], plain.entropy, atol=1e-6)
    # all of them, the global mean over content included; one float64 sum in another order
    assert wide.scores.to_json() == {k: pytest.approx(v, abs=1e-9) for k, v in plain.scores.to_json().items()}


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
    write_volume(array, affine, tmp_path / "itk.nrrd")
    return sorted(tmp_path.glob("*.n*"))


def test_other_headers_for_the_same_geometry_give_the_same_score(tiny, tmp_path):
    files = headers(tmp_path, make_blob((17, 14, 12), np.diag([1.0, 1.25, 1.5, 1.0])))
    assert len(files) == 4
    scores = [tiny.predict(path).scores.entropy for path in files]
    assert scores == [pytest.approx(scores[0], abs=1e-6)] * 4


def test_the_order_of_scans_changes_nothing(tiny):
    scans = [make_blob((15, 14, 12), seed=seed, radius=3.0 + seed) for seed in range(3)]
    forth = [tiny.predict_scan(scan).scores for scan in scans]
    back = [tiny.predict_scan(scan).scores for scan in reversed(scans)]
    assert forth == back[::-1]


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


# --- kinds of models ---------------------------------------------------------------------------------------

KINDS = {
    "softmax": spec_of(),
    "nested sigmoid": spec_of(network={**TINY_NETWORK, "out_channels": 2}, head=Head("sigmoid", (1, 2), 0.5)),
    "one sigmoid channel": spec_of(
        labels=ONE, network={**TINY_NETWORK, "out_channels": 1}, head=Head("sigmoid", (1,), 0.5)
    ),
    "slice by slice": spec_of(
        network={**TINY_NETWORK, "spatial_dims": 2}, spatial_dims=2, patch=(16, 16), spacing=(1.0, 1.0)
    ),
    "slice by slice, sigmoid": spec_of(
        network={**TINY_NETWORK, "spatial_dims": 2, "out_channels": 2},
        spatial_dims=2,
        patch=(16, 16),
        spacing=None,
        head=Head("sigmoid", (2, 1), 0.5),
    ),
    "two channels": spec_of(network={**TINY_NETWORK, "in_channels": 2}, channels=("t1", "t2")),
}


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS)
def predicted(request, make_model):
    spec = request.param
    scan = make_blob((18, 17, 5), oblique((1.0, 1.0, 2.0), 10.0))
    data = torch.cat([scan.data, scan.data.flip(1)])[: len(spec.channels)]
    return Predictor(open_version(make_model(spec))).predict_scan(Scan(data, scan.affine, scan.spacing))


def test_every_kind_of_model_fills_the_scans_grid(predicted):
    n_channels = len(predicted.spec.labels) + (predicted.spec.head.kind == "softmax")
    assert predicted.mask.shape == (18, 17, 5)
    assert predicted.probs.shape == (n_channels, 18, 17, 5)
    for name in MAP_NAMES:
        assert predicted.map(name).shape == (18, 17, 5)


def test_every_map_of_every_kind_lies_in_the_unit_interval(predicted):
    for name in MAP_NAMES:
        values = predicted.map(name)
        assert values.dtype == np.float32
        assert 0 <= values.min() <= values.max() <= 1


def test_members_with_different_weights_disagree_somewhere(predicted):
    assert predicted.map("between_member").max() > 0


def test_masks_hold_known_labels_only(predicted):
    assert set(np.unique(predicted.mask)) <= {0, *(label.value for label in predicted.spec.labels)}


def test_the_answer_of_every_kind_is_plain_json(predicted):
    assert json.loads(json.dumps(predicted.params(), allow_nan=False)) == predicted.params()


def test_nested_structures_are_painted_in_their_order():
    # channel 1 everywhere .9, channel 2 bright half .8: the second of `priority` is painted last
    def sample(image):
        inner = torch.zeros_like(image[0])
        inner[: image.shape[1] // 2] = 0.8
        return torch.stack([torch.full_like(inner, 0.9), inner])

    masks = {}
    for priority in ((1, 2), (2, 1)):
        spec = spec_of(head=Head("sigmoid", priority, 0.5), spacing=None)
        masks[priority] = (
            Predictor(version_of(spec), source=FixedSource(sample)).predict_scan(make_blob((8, 6, 5))).mask
        )
    assert masks[1, 2][0, 0, 0] == 2
    assert masks[1, 2][-1, 0, 0] == 1
    assert (masks[2, 1] == 1).all()


def test_a_2d_model_sees_the_slices_of_the_file():
    # spacing of a 2-D model has two entries: slices are never resampled
    spec = spec_of(
        labels=ONE,
        spatial_dims=2,
        patch=(16, 16),
        spacing=(1.0, 1.0),
        intensity=Intensity("window", 0.0, 100.0),
    )
    seen = []

    class Watching(Brightness):
        def forward(self, image):
            seen.append(tuple(image.shape))
            return super().forward(image)

    scan = make_blob((18, 17, 5), np.diag([1.0, 1.0, 4.0, 1.0]))
    Predictor(version_of(spec), source=NetworkSource(Watching())).predict_scan(scan)
    assert all(len(shape) == 4 for shape in seen)
    # five slices; two windows of 16 in each direction of 18 x 17
    assert sum(shape[0] for shape in seen) == 5 * 4


# --- members, samples, calibration -------------------------------------------------------------------------


@pytest.fixture
def loads(monkeypatch):
    counted, real = [], predictor_module.load_member

    def counting(spec, path):
        counted.append(path.name)
        return real(spec, path)

    monkeypatch.setattr(predictor_module, "load_member", counting)
    return counted


def test_kept_members_are_loaded_once(tiny_version, blob_scan, loads):
    predictor = Predictor(tiny_version)
    predictor.predict_scan(blob_scan)
    predictor.predict_scan(blob_scan)
    assert loads == ["0.safetensors", "1.safetensors"]


def test_members_that_are_not_kept_are_loaded_for_each_scan_and_give_the_same(tiny_version, blob_scan, loads):
    kept = Predictor(tiny_version).predict_scan(blob_scan)
    loads.clear()
    predictor = Predictor(tiny_version, keep_members=False)
    first, second = predictor.predict_scan(blob_scan), predictor.predict_scan(blob_scan)
    assert len(loads) == 4
    assert kept.scores == first.scores == second.scores


def test_unloaded_members_are_loaded_again(tiny_version, blob_scan, loads):
    predictor = Predictor(tiny_version)
    predictor.predict_scan(blob_scan)
    predictor.unload()
    predictor.predict_scan(blob_scan)
    assert len(loads) == 4


def test_progress_is_told_after_every_sample(tiny_version, blob_scan):
    seen = []
    Predictor(tiny_version).predict_scan(blob_scan, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    "calibrator",
    [PooledTemperature(3.0), PooledTemperature(0.3), DistanceTemperature(1.0, 0.0, 4.0, 1.0)],
    ids=str,
)
def test_calibration_changes_probabilities_and_never_the_mask(tiny_version, blob_scan, calibrator):
    raw = Predictor(tiny_version).predict_scan(blob_scan)
    calibrated = Predictor(tiny_version, calibrator=calibrator).predict_scan(blob_scan)
    np.testing.assert_array_equal(calibrated.mask, raw.mask)
    assert np.abs(calibrated.probs - raw.probs).max() > 0.05
    assert calibrated.calibration == calibrator.name


def test_calibration_leaves_the_maps_of_the_members_alone(tiny_version, blob_scan):
    raw = Predictor(tiny_version).predict_scan(blob_scan)
    calibrated = Predictor(tiny_version, calibrator=PooledTemperature(3.0)).predict_scan(blob_scan)
    for name in ("between_member", "within_member", "variance", "votes"):
        np.testing.assert_array_equal(calibrated.map(name), raw.map(name))


def test_the_calibrator_of_the_version_is_used(make_model, blob_scan):
    model = make_model(spec_of(), calibrator={"name": "pooled_temperature", "temperature": 2.0})
    assert Predictor(open_version(model)).predict_scan(blob_scan).calibration == "pooled_temperature"


def test_an_unknown_calibrator_is_refused_when_the_model_is_opened(make_model):
    model = make_model(spec_of(), calibrator={"name": "horoscope"})
    with pytest.raises(ModelError, match="a calibrator must be one of"):
        Predictor(open_version(model))


def test_dropout_samples_of_one_seed_give_one_prediction(blob_scan):
    spec = spec_of(network={**TINY_NETWORK, "dropout": 0.4})
    network = build_network(spec).eval()
    first, second, other = (
        Predictor(version_of(spec), source=DropoutSource(network, passes=3, seed=seed)).predict_scan(
            blob_scan
        )
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.probs, second.probs)
    assert not np.array_equal(first.probs, other.probs)
    assert first.members == 3
    assert first.map("between_member").max() > 0


def test_mirrored_views_are_brought_back_to_their_places(blob_scan):
    # a network that looks at single voxels sees the same in all eight views
    spec = spec_of(labels=ONE, intensity=Intensity("window", 0.0, 100.0))
    source = FlipSource(Brightness(steepness=20.0), (0, 1, 2))
    got = Predictor(version_of(spec), source=source).predict_scan(blob_scan)
    np.testing.assert_array_equal(got.mask, bright_predictor().predict_scan(blob_scan).mask)
    assert got.map("between_member").max() < 1e-5


def test_samples_handed_to_the_core_are_not_changed(blob_scan):
    kept = torch.softmax(torch.randn(3, *blob_scan.shape, generator=torch.Generator().manual_seed(0)), 0)
    before = kept.clone()
    Predictor(version_of(spec_of(spacing=None)), source=FixedSource(lambda image: kept)).predict_scan(
        blob_scan
    )
    assert torch.equal(kept, before)


def test_an_empty_prediction_has_no_score_and_is_flagged(blob_scan):
    def background(image):
        return torch.stack([torch.full_like(image[0], p) for p in (0.98, 0.01, 0.01)])

    got = Predictor(version_of(spec_of()), source=FixedSource(background, background)).predict_scan(blob_scan)
    assert got.scores.entropy is None
    assert "entropy" not in got.params()["scores"]
    assert "empty" in [flag.code for flag in got.flags]
    assert got.slices == ()
    json.dumps(got.params(), allow_nan=False)


def test_identical_members_have_no_between_member_uncertainty(blob_scan):
    got = Predictor(version_of(spec_of(labels=ONE)), source=NetworkSource(*[Brightness()] * 5)).predict_scan(
        blob_scan
    )
    assert got.map("between_member").max() < 1e-6
    assert got.map("variance").max() < 1e-6
    assert got.map("votes").max() == 0
    assert got.scores.pairwise_dice == 1.0


def test_acceptance_vector_13_bf16_stays_close_to_fp32(tiny_version, blob_scan):
    full = Predictor(tiny_version).predict_scan(blob_scan)
    half = Predictor(tiny_version, precision="bf16").predict_scan(blob_scan)
    assert half.precision == "bf16"
    assert np.abs(half.probs - full.probs).max() <= 0.02
    assert np.abs(half.entropy - full.entropy).mean() * np.log(3) <= 0.002  # nats
    assert np.mean(half.mask != full.mask) <= 0.005


def test_the_device_must_exist(tiny_version):
    with pytest.raises(DeviceError, match="`device` must be one of auto, cpu"):
        Predictor(tiny_version, device="cuda:77")


def test_a_bad_scan_is_refused_before_any_network_runs(tiny_version, tmp_path, loads):
    with pytest.raises(ScanError, match="does not exist"):
        Predictor(tiny_version).predict(tmp_path / "nothing.nii.gz")
    assert loads == []


def test_a_scan_whose_header_has_no_voxel_size_is_measured_in_voxels(tiny):
    scan = make_blob((15, 14, 12))
    flat = scan.affine.copy()
    flat[2, 2] = 0
    got = tiny.predict_scan(Scan(scan.data, flat, None))
    assert "spacing_unknown" in [flag.code for flag in got.flags]
    assert all(structure.volume_ml is None for structure in got.structures)
    assert got.scores.entropy is not None


def test_a_real_scan_is_predicted_on_its_own_grid(tiny, hippocampus_dir):
    path = sorted((hippocampus_dir / "images").glob("*.nii.gz"))[0]
    image = nib.load(path)
    got = tiny.predict(path)
    assert got.mask.shape == image.shape
    np.testing.assert_allclose(got.affine, image.affine)


def test_a_written_scan_is_predicted_like_the_one_in_memory(tiny, tmp_path):
    scan = make_blob((15, 14, 12))
    got = tiny.predict(write_scan(scan, tmp_path / "a.nii.gz"))
    np.testing.assert_array_equal(got.mask, tiny.predict_scan(scan).mask)


# --- out of memory -----------------------------------------------------------------------------------------

STEPS = (
    "one window at a time",
    "one window and one member at a time",
    "one window and one member at a time, totals on the CPU",
)


class Counting(Brightness):
    """Remembers the largest number of windows that it was given at once."""

    largest = 0

    def forward(self, image):
        self.largest = max(self.largest, len(image))
        return super().forward(image)


class Greedy:
    """Runs out of GPU memory a few times, then behaves; ``alive`` counts what earlier attempts still hold."""

    def __init__(self, failures):
        self.left, self.held, self.alive, self.windows = failures, [], [], []

    def __len__(self):
        return 1

    def samples(self, image, slide):
        self.alive.append(sum(ref() is not None for ref in self.held))
        network = Counting()
        sample = slide(network, image)
        self.held.append(weakref.ref(sample))
        self.windows.append(network.largest)
        if self.left:
            self.left -= 1
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        yield sample


def greedy_predictor(failures):
    source = Greedy(failures)
    return source, Predictor(version_of(spec_of(labels=ONE, spacing=None)), source=source)


@pytest.mark.parametrize("failures", [0, 1, 2, 3])
def test_the_steps_taken_are_in_the_answer(failures, blob_scan):
    _, predictor = greedy_predictor(failures)
    got = predictor.predict_scan(blob_scan)
    assert got.steps == STEPS[:failures]
    assert got.params()["steps"] == list(STEPS[:failures])


def test_when_nothing_helps_the_error_says_what_would(blob_scan):
    source, predictor = greedy_predictor(99)
    with pytest.raises(
        DeviceError, match=r"too little memory for this scan even with one window and one member"
    ) as caught:
        predictor.predict_scan(blob_scan)
    assert "Use device=cpu" in str(caught.value)
    assert isinstance(caught.value.__cause__, torch.cuda.OutOfMemoryError)
    assert source.left == 99 - 4


def test_what_filled_the_memory_is_free_before_the_next_attempt(blob_scan):
    source, predictor = greedy_predictor(3)
    predictor.predict_scan(blob_scan)
    assert source.alive == [0, 0, 0, 0]


@pytest.mark.parametrize(("failures", "largest"), [(0, 2), (1, 1)])
def test_the_first_step_makes_the_window_batch_smaller(blob_scan, failures, largest):
    source, predictor = greedy_predictor(failures)
    predictor.predict_scan(blob_scan)
    assert source.windows[-1] == largest


def test_the_second_step_loads_one_member_at_a_time(tiny_version, blob_scan, loads, monkeypatch):
    predictor, failures = Predictor(tiny_version), [2]
    real = predictor_module.slide

    def short_of_memory(*arguments, **options):
        if failures[0]:
            failures[0] -= 1
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return real(*arguments, **options)

    monkeypatch.setattr(predictor_module, "slide", short_of_memory)
    got = predictor.predict_scan(blob_scan)
    assert got.steps == STEPS[:2]
    assert predictor._kept == {}
    assert predictor.keep_members  # the next scan starts as set


def test_a_later_scan_starts_again_as_set(blob_scan):
    _, predictor = greedy_predictor(1)
    assert predictor.predict_scan(blob_scan).steps == STEPS[:1]
    assert predictor.predict_scan(blob_scan).steps == ()


def test_another_error_is_not_taken_for_a_lack_of_memory(blob_scan):
    def broken(image):
        raise RuntimeError("shape mismatch")

    predictor = Predictor(version_of(spec_of()), source=FixedSource(broken))
    with pytest.raises(RuntimeError, match="shape mismatch"):
        predictor.predict_scan(blob_scan)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_what_the_cpu_gives(tiny_version, blob_scan):
    cpu, gpu = (Predictor(tiny_version, device=d).predict_scan(blob_scan) for d in ("cpu", "cuda"))
    assert np.abs(gpu.probs - cpu.probs).max() < 1e-3  # TF32 and another order of sums
    assert gpu.device == "cuda:0"
