"""Mirrored views of a scan as a source of error scores, of a model as it is served and evaluated."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from phantoms import TINY_NETWORK, make_blob, publish_random_version, spec_of, version_of, write_scan
from segtrust.adapters import CaseFiles
from segtrust.errors import SettingError
from segtrust.evaluate.model_cases import predict_case
from segtrust.evaluate.volumes import RAW, measure_case
from segtrust.inference import VIEW_MAPS, Predictor
from segtrust.inference.volumes import write_volume
from segtrust.metrics.detection import ErrorHistogram
from segtrust.models import Head
from segtrust.stochastic import n_channels

ONE = spec_of(members=1, spacing=None)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    return Predictor(publish_random_version(tmp_path_factory.mktemp("models") / ONE.name, ONE))


@pytest.fixture
def path(tmp_path):
    return write_scan(make_blob((16, 16, 16)), tmp_path / "ball.nii.gz")


def test_views_differ_by_what_the_mirrored_scan_says(predictor, path):
    scan = make_blob((16, 16, 16))
    plain = predictor.predict_scan(scan)
    turned = predictor.predict_scan(replace(scan, data=scan.data.flip(1)))
    mirrored = turned.probs[:, ::-1]
    views = predictor.views(path)
    assert set(views) == set(VIEW_MAPS)
    # of two values a and b the standard deviation is |a - b| / 2; the root of the sum over classes
    by_hand = np.sqrt((((plain.probs - mirrored) / 2) ** 2).sum(axis=0))
    assert by_hand.max() > 0.01
    np.testing.assert_allclose(views["view_deviation"], by_hand, atol=2e-3)
    agree = plain.mask == turned.mask[::-1]
    assert 0 < np.mean(agree) < 1
    np.testing.assert_array_equal(views["view_votes"], np.where(agree, 0, 0.5))


def test_a_prediction_has_maps_of_views_once_they_were_given_to_it(predictor, path):
    prediction = predictor.predict(path)
    with pytest.raises(SettingError, match="of view_deviation, view_votes where these were computed"):
        prediction.map("view_votes")
    views = predictor.views(path)
    assert prediction.with_maps(views).map("view_votes") is views["view_votes"]
    assert "view_votes" not in prediction.member_maps


def test_a_stochastic_model_has_no_views(path):
    network = {**TINY_NETWORK, "out_channels": n_channels(3, 2)}
    drawn = Predictor(version_of(spec_of(head=Head(rank=2), network=network)))
    with pytest.raises(SettingError, match=r"draws its samples itself\. Ask for `votes` or `variance`"):
        drawn.views(path)


@pytest.mark.slow
def test_maps_of_views_are_judged_beside_the_others(predictor, path, tmp_path):
    label = np.zeros((16, 16, 16), np.uint8)
    label[4:12, 4:12, 4:12] = 1
    write_volume(label, np.eye(4), tmp_path / "label.nii.gz")
    files = CaseFiles("ball", "ball", (), tmp_path / "label.nii.gz", path)
    case = predict_case(predictor, files, views=True)
    record, view = measure_case(case, {RAW: None}, main=RAW)
    assert set(record.maps) >= {"entropy", *VIEW_MAPS}
    assert not predict_case(predictor, files).maps
    # the prediction of random weights is everywhere: the band is the whole scan
    counted = ErrorHistogram.of(torch.from_numpy(case.maps["view_deviation"]), view_wrong(view, label))
    assert np.array_equal(record.maps["view_deviation"].wrong, counted.wrong)


def view_wrong(view, label):
    return torch.from_numpy(view.mask != label)
