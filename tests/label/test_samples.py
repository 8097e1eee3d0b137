"""The infer task of plausible masks, without a server."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from phantoms import TINY_NETWORK, spec_of
from segtrust.errors import SettingError
from segtrust.inference import SampleMasks
from segtrust.label.names import agreement_labels, is_band, structure_labels
from segtrust.label.results import last_results
from segtrust.label.samples import SHOWS, SamplesTask, _levels
from segtrust.label.served import ServedModel
from segtrust.label.settings import AppSettings
from segtrust.label.studies.cleaning import clean_label
from segtrust.models import Head
from segtrust.stochastic import n_channels

SPEC = spec_of(
    name="drawn",
    head=Head(rank=3),
    network={**TINY_NETWORK, "out_channels": n_channels(3, 3)},
    members=1,
)
LABELS = agreement_labels(structure_labels(SPEC))


@pytest.fixture
def task(make_model):
    model = ServedModel(make_model(SPEC), AppSettings(device="cpu"), last_results())
    return SamplesTask(model, LABELS)


@pytest.fixture
def run(task, tiny_scan):
    def call(**request):
        file, params = task({"image": str(tiny_scan), **request})
        values = np.asanyarray(nib.load(file).dataobj).copy()
        Path(file).unlink()
        return values, params

    return call


def test_structures_keep_their_values_and_levels_follow():
    assert list(LABELS.values()) == [1, 2, 3, 4, 5, 6]
    assert [name for name in LABELS if is_band(name)] == [
        "share of samples up to 25 %",
        "share of samples 25 to 50 %",
        "share of samples 50 to 75 %",
        "share of samples 75 to 100 %",
    ]


def test_agreement_is_what_comes_without_an_option(run, task):
    values, params = run()
    assert params["segtrust"]["shows"] == "agreement"
    assert values.dtype == np.uint8
    assert set(np.unique(values)) <= {0, 3, 4, 5, 6}
    assert values.any()
    assert params["label_names"] == LABELS
    assert task.info()["config"]["show"] == ["agreement", "1", "2", "3", "4", "5"]


def test_a_sample_has_the_values_of_the_structures_and_grows_with_its_number(run):
    shown = [run(show=show) for show in SHOWS[1:]]
    sizes = [int((values > 0).sum()) for values, _ in shown]
    assert all(set(np.unique(values)) <= {0, 1, 2} for values, _ in shown)
    assert sizes == sorted(sizes)
    said = shown[0][1]["segtrust"]["samples"]
    assert [said[show]["voxels"] for show in SHOWS[1:]] == sizes
    assert said["drawn"] == 32


def test_an_option_that_a_viewer_did_not_touch_comes_as_a_list(run):
    assert run(show=list(SHOWS))[1]["segtrust"]["shows"] == "agreement"
    assert run(show="3")[1]["segtrust"]["ignored"] == []


@pytest.mark.parametrize("show", ["6", "0", "mean"])
def test_another_option_is_refused_with_the_known_ones(run, show):
    with pytest.raises(SettingError, match=f"`show` must be one of agreement, 1, .*, 5, got '{show}'"):
        run(show=show)


def test_levels_of_agreement_are_taken_out_of_a_submitted_label():
    label = np.array([0, 1, 2, 2], np.uint8)
    info = [{"name": "share of samples 50 to 75 %", "idx": 1}, {"name": "back", "idx": 2}]
    cleaned, report = clean_label(label, info, {"drawn": structure_labels(SPEC)})
    assert cleaned.tolist() == [0, 0, 2, 2]
    assert report.removed == ("share of samples 50 to 75 %",)


def test_every_label_has_a_colour(task):
    assert list(task.info()["label_colors"]) == list(LABELS)


def test_levels_of_three_hundred_structures_follow_their_values():
    drawn = np.array([300, 0], np.uint16).reshape(1, 2, 1, 1)
    assert _levels(SampleMasks.of(drawn), 300).ravel().tolist() == [304, 0]
