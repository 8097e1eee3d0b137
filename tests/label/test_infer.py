"""The two infer tasks without a server."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from segtrust.errors import DeviceError, ScanError, SettingError
from segtrust.inference import Predictor
from segtrust.label.infer import MaskTask, UncertaintyTask
from segtrust.label.names import band_labels

BANDS = band_labels((0.05, 0.2, 1 / 3))


@pytest.fixture
def run(served, tiny_scan):
    tasks = {"mask": MaskTask(served), "uncertainty": UncertaintyTask(served, BANDS)}

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


def test_info_offers_the_device_only(served):
    info = UncertaintyTask(served, BANDS).info()
    assert set(info["config"]) == {"device"}
    assert info["config"]["device"][0] == "cpu"
    assert set(info["label_colors"]) == set(BANDS)


def test_both_tasks_share_one_computation(served, tiny_scan, monkeypatch):
    calls = []
    real = Predictor.predict
    monkeypatch.setattr(Predictor, "predict", lambda self, path: calls.append(path) or real(self, path))
    for task in (MaskTask(served), UncertaintyTask(served, BANDS)):
        Path(task({"image": str(tiny_scan)})[0]).unlink()
    assert len(calls) == 1
