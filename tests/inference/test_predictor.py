"""The one core, end to end: a scan in, a prediction on its own grid out."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from phantoms import (
    BALL,
    TINY_NETWORK,
    Brightness,
    FixedSource,
    NetworkSource,
    bright_predictor,
    make_blob,
    oblique,
    spec_of,
    version_of,
    write_scan,
)
from segtrust.calibrators import DistanceTemperature, PooledTemperature
from segtrust.errors import DeviceError, ModelError, ScanError
from segtrust.inference import MAP_NAMES, DropoutSource, FlipSource, Predictor
from segtrust.inference.border import border_mm
from segtrust.inference.members import build_network
from segtrust.inference.scan import Scan
from segtrust.models import Head, Intensity, Label, open_version
from segtrust.regions import distance_to, main_parts

# --- kinds of models ---------------------------------------------------------------------------------------

KINDS = {
    "softmax": spec_of(),
    "nested sigmoid": spec_of(network={**TINY_NETWORK, "out_channels": 2}, head=Head("sigmoid", (1, 2), 0.5)),
    "one sigmoid channel": spec_of(
        labels=BALL, network={**TINY_NETWORK, "out_channels": 1}, head=Head("sigmoid", (1,), 0.5)
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
        labels=BALL,
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


def test_kept_members_are_loaded_once(tiny_version, blob_scan, loads):
    predictor = Predictor(tiny_version)
    predictor.predict_scan(blob_scan)
    predictor.predict_scan(blob_scan)
    assert loads == ["0.safetensors", "1.safetensors"]


@pytest.mark.slow
def test_members_that_are_not_kept_are_loaded_for_each_scan_and_give_the_same(tiny_version, blob_scan, loads):
    kept = Predictor(tiny_version).predict_scan(blob_scan)
    loads.clear()
    predictor = Predictor(tiny_version, keep_members=False)
    first, second = predictor.predict_scan(blob_scan), predictor.predict_scan(blob_scan)
    assert len(loads) == 4
    assert kept.scores == first.scores == second.scores


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
    spec = spec_of(labels=BALL, intensity=Intensity("window", 0.0, 100.0))
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
    got = Predictor(version_of(spec_of(labels=BALL)), source=NetworkSource(*[Brightness()] * 5)).predict_scan(
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


WIDE = DistanceTemperature(1.0, 0.0, 4.0, 1.0)


def test_voxels_of_unknown_size_count_as_large_as_the_models_own(tiny_version):
    scan = make_blob((15, 14, 12))
    version = replace(tiny_version, spec=replace(tiny_version.spec, spacing=(2.0, 2.0, 2.0)))
    got = Predictor(version, calibrator=WIDE).predict_scan(Scan(scan.data, scan.affine, None))
    raw = Predictor(version).predict_scan(Scan(scan.data, scan.affine, None))
    distance = torch.from_numpy(distance_to(raw.mask > 0, (2.0, 2.0, 2.0)))
    np.testing.assert_array_equal(got.probs, WIDE.apply(torch.from_numpy(raw.probs), distance).numpy())
    (text,) = [flag.text for flag in got.flags if flag.code == "calibration_spacing"]
    assert text == "probabilities are calibrated as if voxels were 2 x 2 x 2 mm, as the model's are"
    assert {"code": "calibration_spacing", "text": text} in got.params()["flags"]
    assert "calibration_spacing" not in [flag.code for flag in raw.flags]


def test_where_nobody_knows_how_large_voxels_are_probabilities_stay_and_that_is_said(tiny_version):
    scan = make_blob((15, 14, 12))
    version = replace(tiny_version, spec=replace(tiny_version.spec, spacing=None))
    unknown = Scan(scan.data, scan.affine, None)
    got = Predictor(version, calibrator=WIDE).predict_scan(unknown)
    np.testing.assert_array_equal(got.probs, Predictor(version).predict_scan(unknown).probs)
    assert got.calibration == "identity"
    (text,) = [flag.text for flag in got.flags if flag.code == "calibration_spacing"]
    assert text == "probabilities are not calibrated: that needs the size of voxels"
    in_voxels = Predictor(version, calibrator=replace(WIDE, unit="voxel")).predict_scan(unknown)
    assert in_voxels.calibration == "distance_temperature"
    assert "calibration_spacing" not in [flag.code for flag in in_voxels.flags]


def test_the_predictor_measures_the_distance_that_its_calibrator_was_fitted_with(tiny_version, blob_scan):
    raw = Predictor(tiny_version).predict_scan(blob_scan)
    parts = replace(WIDE, parts=0.2)
    got = Predictor(tiny_version, calibrator=parts).predict_scan(blob_scan)
    distance = torch.from_numpy(distance_to(main_parts(raw.mask, 0.2), blob_scan.spacing))
    np.testing.assert_array_equal(got.probs, parts.apply(torch.from_numpy(raw.probs), distance).numpy())


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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_what_the_cpu_gives(tiny_version, blob_scan):
    cpu, gpu = (Predictor(tiny_version, device=d).predict_scan(blob_scan) for d in ("cpu", "cuda"))
    assert np.abs(gpu.probs - cpu.probs).max() < 1e-3  # TF32 and another order of sums
    assert gpu.device == "cuda:0"


def test_a_volume_has_the_range_of_its_members(blob_scan):
    # brighter than 30, 50 and 70: three balls, each smaller than the one before
    def at(threshold):
        return Brightness(steepness=50.0, threshold=threshold / 100)

    spec = spec_of(labels=BALL, intensity=Intensity("window", 0.0, 100.0))
    source = NetworkSource(at(30), at(50), at(70))
    (ball,) = Predictor(version_of(spec), source=source).predict_scan(blob_scan).structures
    small, large = ((blob_scan.data > level).sum().item() / 1000 for level in (70, 30))
    assert ball.volume_range_ml == pytest.approx((small, large))
    assert small < ball.volume_ml < large
    (alone,) = Predictor(version_of(spec), source=NetworkSource(at(50))).predict_scan(blob_scan).structures
    assert alone.volume_range_ml is None


def test_a_border_is_given_in_millimetres_once_chances_are_calibrated(blob_scan):
    known = {"name": "pooled_temperature", "temperature": 1.0}
    spec = spec_of(labels=BALL, intensity=Intensity("window", 0.0, 100.0))
    source = NetworkSource(Brightness(steepness=4.0))
    served = Predictor(version_of(spec, known), source=source).predict_scan(blob_scan)
    (ball,) = served.structures
    assert ball.border_mm == border_mm(served.mask == 1, served.probs[1], (1.0, 1.0, 1.0))
    assert ball.border_mm > 0
    uncalibrated = Predictor(version_of(spec), source=source).predict_scan(blob_scan)
    assert uncalibrated.structures[0].border_mm is None


# --- nothing that is not defined leaves a prediction -----------------------------------------------------


def answering(head, *shares):
    """Members that give the first voxels, so large a share, to the last structure with certainty."""

    def member(share):
        def sample(image):
            held = torch.zeros(image[0].numel())
            held[: round(share * len(held))] = 1
            held = held.view(image.shape[1:])
            rest = torch.zeros_like(held)
            return torch.stack([1 - held, rest, held] if head == "softmax" else [rest, held])

        return sample

    return FixedSource(*map(member, shares))


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
@pytest.mark.parametrize(
    "shares",
    [(0,), (1,), (0.5,), (0, 0), (1, 1), (0, 1), (0, 0.5, 0.001)],
    ids=lambda s: "+".join(map(str, s)),
)
def test_empty_full_and_single_predictions_hold_no_nan(head, shares, tmp_path):
    spec = spec_of(head=Head("sigmoid", (1, 2)) if head == "sigmoid" else Head(), spacing=None)
    predictor = Predictor(version_of(spec), source=answering(head, *shares))
    prediction = predictor.predict_scan(make_blob((8, 6, 5)))
    said = (prediction.params(), prediction.selection_facts(), prediction.scores.to_json())
    json.dumps(said, allow_nan=False)
    details = [vars(scores) for scores in prediction.scores.details.values()]
    json.dumps(details, allow_nan=False)
    for name in MAP_NAMES:
        assert np.isfinite(prediction.map(name)).all()


def test_three_hundred_structures_fit_into_masks_samples_and_bands():
    names = tuple(Label(f"s{k}", k, k) for k in range(1, 301))
    spec = spec_of(labels=names, spacing=None, head=Head(rank=0))

    def sample(image):
        probs = torch.zeros(301, *image.shape[1:])
        probs[300] = 0.7
        probs[0] = 0.3
        return probs

    prediction = Predictor(version_of(spec), source=FixedSource(sample, sample)).predict_scan(
        make_blob((8, 6, 5))
    )
    assert prediction.mask.dtype == np.uint16
    assert (prediction.mask == 300).all()
    assert (prediction.samples.masks == 300).all()
    assert (prediction.mask_with_bands((0.05, 0.2, 1 / 3)) == 302).all()  # .3 is in the second band
    assert prediction.structures[299].voxels == 240
