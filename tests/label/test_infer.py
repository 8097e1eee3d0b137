"""The two infer tasks without a server."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy import ndimage

from segtrust.errors import DeviceError, ScanError, SettingError
from segtrust.inference import Predictor
from segtrust.label.infer import CombinedTask, MaskTask, UncertaintyTask
from segtrust.label.names import band_labels, is_band
from segtrust.metrics import ObservedErrors
from segtrust.models import publish_version
from segtrust.quality import Contours, NeededMargins, Quality, UsualError

BANDS = band_labels((0.05, 0.2, 1 / 3))


@pytest.fixture
def run(served, tiny_scan):
    tasks = {
        "mask": MaskTask(served),
        "uncertainty": UncertaintyTask(served, BANDS),
        "combined": CombinedTask(served, BANDS),
    }

    def call(task, **request):
        file, params = tasks[task]({"image": str(tiny_scan), **request})
        path = Path(file)
        image = nib.load(path) if path.suffix != ".nrrd" else None
        values = np.asanyarray(image.dataobj).copy() if image else None
        path.unlink()
        return path, values, params

    return call


def test_the_mask_has_the_values_of_the_specification(run):
    _, values, params = run("mask")
    assert values.dtype == np.uint8
    assert params["label_names"] == {"front": 1, "back": 2}
    assert list(params["label_names"].values()) == [1, 2]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32"])
def test_the_mask_comes_in_the_type_asked_for(run, dtype):
    _, values, _ = run("mask", result_dtype=dtype)
    assert values.dtype == np.dtype(dtype)
    assert np.array_equal(values, run("mask")[1])


@pytest.mark.parametrize("dtype", ["uint8", "uint16", None])
def test_uncertainty_is_bands_unless_floats_are_asked_for(run, dtype):
    _, values, params = run("uncertainty", result_dtype=dtype)
    assert values.dtype.kind == "u"
    assert set(np.unique(values)) <= {0, 1, 2, 3}
    assert params["segtrust"]["shows"] == "bands"
    assert params["label_names"] == BANDS


@pytest.mark.parametrize("dtype", ["float32", "np.float32", "float"])
def test_a_float_map_has_no_labels(run, dtype):
    _, values, params = run("uncertainty", result_dtype=dtype, map="margin")
    assert values.dtype == np.float32
    assert params["segtrust"]["shows"] == "margin"
    assert params["label_names"] == {}


@pytest.mark.parametrize("suffix", [".nrrd", ".nii", ".nii.gz", "nrrd"])
def test_the_file_type_is_the_one_asked_for(run, suffix):
    assert run("mask", result_extension=suffix)[0].name.endswith(suffix)


def test_options_that_a_viewer_did_not_touch_come_as_lists(run):
    run("mask", device=["cpu", "auto"], result_extension=[".nii"], result_dtype=["uint8"])


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"device": "cuda:77"}, DeviceError),
        ({"map": "x"}, SettingError),
        ({"flag": "x"}, SettingError),
        ({"flag": "budget:2"}, SettingError),
        ({"map": "excess", "result_dtype": "float32"}, SettingError),  # this version does not know it
        ({"result_dtype": "float128"}, SettingError),
        ({"result_extension": ".png"}, SettingError),
        ({"result_compress": "perhaps"}, SettingError),
        ({"image": "/no/such/file.nii"}, ScanError),
        ({"image": np.zeros(3)}, ScanError),
        ({"image": ""}, ScanError),
    ],
    ids=str,
)
def test_bad_requests_are_refused(run, request_, error):
    with pytest.raises(error):
        run("uncertainty", **request_)


def test_the_combined_view_holds_bands_and_what_they_leave_of_the_mask(run):
    _, mask, _ = run("mask")
    _, bands, _ = run("uncertainty")
    _, values, params = run("combined")
    assert np.array_equal(values, np.where(bands > 0, bands + 2, mask))
    assert list(params["label_names"].values()) == [1, 2, 3, 4, 5]
    assert [band["value"] for band in params["segtrust"]["bands"]] == [3, 4, 5]


def test_bands_say_how_often_they_were_wrong_if_the_version_knows(served, run):
    assert all("observed" not in band for band in run("uncertainty")[2]["segtrust"]["bands"])
    version = served.version()
    counts = ObservedErrors.of(torch.tensor([0.1, 0.1, 0.1, 0.1, 0.5]), torch.tensor([1, 0, 0, 0, 1]))
    calibration = {**version.calibration, "observed": counts.to_json()}
    publish_version(served.folder, version.spec, version.members, calibration, {"note": "known"})
    for task in ("uncertainty", "combined"):
        bands = run(task)[2]["segtrust"]["bands"]
        assert bands[0]["observed"] == {"rate": 0.25, "scans": 1}
        assert "observed" not in bands[1]  # no voxel was in it
        assert bands[2]["observed"] == {"rate": 1.0, "scans": 1}


def test_flags_are_the_voxels_above_the_threshold(run):
    _, margin, _ = run("uncertainty", result_dtype="float32", map="margin")
    _, values, params = run("uncertainty", flag="fixed:0.9", map="margin")
    assert np.array_equal(values, margin > np.float32(0.9))
    assert params["label_names"] == {"chance of error flagged": 1}
    assert is_band(*params["label_names"])  # so it is taken out of a label that comes back
    assert (params["segtrust"]["shows"], params["segtrust"]["ignored"]) == ("flags", [])
    about = {"map": "margin", "rule": "fixed:0.9", "threshold": 0.9, "voxels": int(values.sum())}
    assert params["segtrust"]["flagged"] == about
    assert isinstance(params["segtrust"]["flags"], list)  # the reasons to look at the scan are still there


def test_calibrated_flags_find_the_share_of_wrong_voxels_that_the_version_knows(served, run):
    with pytest.raises(SettingError, match="needs the map `chance_of_error` and a version that knows"):
        run("uncertainty", flag="calibrated:0.75", map="chance_of_error")
    version = served.version()
    # one wrong voxel at a chance of .1, three at .5: above .5 less a hair lie three of four
    counts = ObservedErrors.of(torch.tensor([0.1, 0.5, 0.5, 0.5]), torch.ones(4))
    calibration = {**version.calibration, "observed": counts.to_json()}
    publish_version(served.folder, version.spec, version.members, calibration, {"note": "known"})
    about = run("uncertainty", flag="calibrated:0.75", map="chance_of_error")[2]["segtrust"]["flagged"]
    assert about["threshold"] == 0.5
    with pytest.raises(SettingError, match="got the map 'entropy'"):
        run("uncertainty", flag="calibrated:0.75")


def test_maps_of_mirrored_views_are_shown_and_flagged_like_others(run):
    _, votes, params = run("uncertainty", result_dtype="float32", map="view_votes")
    assert params["segtrust"]["shows"] == "view_votes"
    assert set(np.unique(votes)) == {0, 0.5}  # two views agree or they do not
    _, flags, params = run("uncertainty", flag="fixed:0.25", map="view_votes")
    assert np.array_equal(flags, votes > 0)
    assert params["segtrust"]["flagged"]["map"] == "view_votes"


def test_mirrored_views_run_once_and_for_nothing_else(run, monkeypatch):
    ran, views = [], Predictor.views
    monkeypatch.setattr(Predictor, "views", lambda self, path: ran.append(path) or views(self, path))
    run("mask", map="view_votes", flag="otsu")
    run("uncertainty", map="view_votes")  # bands
    run("uncertainty", map="votes", flag="otsu")
    assert not ran
    for name in ("view_votes", "view_deviation"):
        run("uncertainty", flag="otsu", map=name)
    assert len(ran) == 1


def test_the_excess_is_a_float_map_once_the_version_knows_what_is_usual(served, run):
    version = served.version()
    quality = Quality({}, None, UsualError(((0.125,) * 20,) * 3, 5), 5).to_json()
    publish_version(
        served.folder, version.spec, version.members, {**version.calibration, "quality": quality}, {}
    )
    _, values, params = run("uncertainty", result_dtype="float32", map="excess")
    assert params["segtrust"]["shows"] == "excess"
    assert (values.dtype, values.min() >= 0, values.max() <= 1) == (np.float32, True, True)
    assert "predicted_dice" not in params["segtrust"]["structures"][0]  # five subjects allow no line
    assert "cannot be tested with 5 patients" in params["segtrust"]["out_of_distribution"]["reason"]


def test_contours_are_a_label_map_once_the_version_knows_margins(served, run):
    with pytest.raises(SettingError, match="contours need a version with margins"):
        run("uncertainty", contours="each")
    with pytest.raises(SettingError, match="`contours` must be one of each, joint, got 'both'"):
        run("uncertainty", contours="both")
    version = served.version()
    rows = tuple(NeededMargins((1.0,) * 3, (1.0,) * 3) for _ in range(9))
    quality = Quality({}, None, None, 9, Contours({1: rows, 2: rows})).to_json()
    publish_version(
        served.folder, version.spec, version.members, {**version.calibration, "quality": quality}, {}
    )
    _, mask, about = run("mask")
    _, values, params = run("uncertainty", contours="joint")
    told = params["segtrust"]
    assert (told["shows"], told["contours_hold"], told["ignored"]) == ("contours", "joint", [])
    margins = {"outer_mm": 1.0, "inner_mm": 1.0, "subjects": 9}
    assert told["contours"]["joint"] == told["contours"]["each"] == {"front": margins, "back": margins}
    assert about["segtrust"]["contours"] == told["contours"]
    for value in (1, 2):
        assert np.array_equal(np.isin(values, (3 * value - 2, 3 * value - 1)), mask == value)
    assert np.array_equal(values > 0, ndimage.binary_dilation(mask > 0))
    assert params["label_names"]["conformal contour back: mask to outer"] == 6
    _, alone, params = run("uncertainty", contours="each", structure="back")
    assert set(np.unique(alone)) <= {0, 4, 5, 6}
    assert np.array_equal(alone > 0, ndimage.binary_dilation(mask == 2))
    assert list(params["label_names"].values()) == [4, 5, 6]
    with pytest.raises(SettingError, match="`structure` must be one of front, back, got 'x'"):
        run("uncertainty", contours="each", structure="x")


@pytest.mark.parametrize("kind", [UncertaintyTask, CombinedTask])
def test_every_view_with_a_legend_says_what_it_cannot_show_and_what_it_is_not_for(served, run, kind):
    task = "uncertainty" if kind is UncertaintyTask else "combined"
    for text in (kind(served, BANDS).info()["description"], run(task)[2]["segtrust"]["limits"]):
        assert "The map cannot show a structure or disease the model was never trained on." in text
        assert "For annotation and research, not for diagnosis." in text


def test_info_offers_the_device_only(served):
    info = UncertaintyTask(served, BANDS).info()
    assert set(info["config"]) == {"device"}
    assert info["config"]["device"][0] == "cpu"
    assert set(info["label_colors"]) == set(BANDS)
    combined = CombinedTask(served, BANDS)
    assert list(combined.info()["label_colors"]) == list(combined.labels)


def test_both_tasks_share_one_computation(served, tiny_scan, monkeypatch):
    calls = []
    real = Predictor.predict
    monkeypatch.setattr(Predictor, "predict", lambda self, path: calls.append(path) or real(self, path))
    for task in (MaskTask(served), UncertaintyTask(served, BANDS)):
        Path(task({"image": str(tiny_scan)})[0]).unlink()
    assert len(calls) == 1
