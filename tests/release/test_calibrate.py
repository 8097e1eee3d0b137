"""A model that exists already gets everything about trust in a new version; its masks stay what they are."""

import numpy as np
import pytest

from labelled_folder import make_folder
from phantoms import TINY_NETWORK, publish_random_version, spec_of
from segtrust.calibrators import DistanceTemperature
from segtrust.errors import SettingError
from segtrust.inference.predictor import Predictor
from segtrust.models import Head, Label, open_version
from segtrust.release.calibrate import calibrate_version, fit_trust
from segtrust.training.cases import cases_in


def folder_of(tmp_path, scans):
    names = {f"s{number:02d}": f"p{number:02d}" for number in range(scans)}
    return make_folder(tmp_path / "data", names), sorted(names)


@pytest.fixture
def model(tmp_path):
    publish_random_version(tmp_path / "models" / "tiny", spec_of())
    return tmp_path / "models" / "tiny"


def test_new_version_names_its_parent_and_keeps_weights_and_masks(model, tmp_path):
    data, names = folder_of(tmp_path, 6)
    before = open_version(model)
    version, trust = calibrate_version(model, cases_in(data, names), command="as typed")
    assert (version.card["parent"], version.card["command"]) == (before.id, "as typed")
    assert (trust.scans, trust.subjects) == (6, 6)
    assert version.calibration["fitted_on"]["subjects"] == 6
    scan = data / "images" / "s00.nii.gz"
    old, new = Predictor(before).predict(scan), Predictor(version).predict(scan)
    assert np.array_equal(old.mask, new.mask)
    assert new.calibration == version.calibration["calibrator"]["name"]


@pytest.mark.slow
def test_with_enough_subjects_quality_is_fitted_too(model, tmp_path):
    data, names = folder_of(tmp_path, 12)
    version, _ = calibrate_version(model, cases_in(data, names))
    assert {"observed", "quality"} <= version.calibration.keys()
    prediction = Predictor(version).predict(data / "images" / "s00.nii.gz")
    assert prediction.assessment.unlikeness is not None


def test_out_of_fold_scans_are_predicted_by_the_member_that_never_saw_them(model, tmp_path, monkeypatch):
    data, names = folder_of(tmp_path, 6)
    asked = []
    plain = Predictor.sample

    def sample(self, scan, **options):
        asked.append([path.name for path in self.version.members])
        return plain(self, scan, **options)

    monkeypatch.setattr(Predictor, "sample", sample)
    fold_of = {name: index % 2 for index, name in enumerate(names)}
    trust = fit_trust(open_version(model), cases_in(data, names), fold_of=fold_of)
    assert asked == [["0.safetensors"], ["1.safetensors"]] * 3
    assert "quality" not in trust.calibration
    assert trust.calibration["fitted_on"]["role"] == "out-of-fold scans"
    assert "too cautious" in trust.card["calibration"]["why"]


def test_too_few_subjects_are_an_error_and_publish_nothing(model, tmp_path):
    data, names = folder_of(tmp_path, 4)
    with pytest.raises(SettingError, match="at least 5 subjects, got 4"):
        calibrate_version(model, cases_in(data, names))
    assert open_version(model).id == "0001"


@pytest.mark.parametrize("structures", ["nested", "independent"])
def test_structures_that_overlap_are_calibrated_and_stay_what_they_are(tmp_path, structures):
    model = tmp_path / "models" / "tiny"
    head = Head("sigmoid", (1, 2), (0.4, 0.6), structures=structures)
    labels = (Label("ball", 1, (1, 2)), Label("core", 2, 2)) if structures == "nested" else spec_of().labels
    spec = spec_of(head=head, labels=labels, network={**TINY_NETWORK, "out_channels": 2})
    publish_random_version(model, spec)
    data, names = folder_of(tmp_path, 6)
    before = open_version(model)
    version, trust = calibrate_version(model, cases_in(data, names))
    assert set(trust.calibration["choice"]["figures"]) == {"identity", "distance_temperature"}
    assert trust.calibration["observed"]["subjects"] == 6
    scan = data / "images" / "s00.nii.gz"
    softer = DistanceTemperature(0.7, 0.0, 4.0, 1.0, parts=0.05)  # whatever random weights would get
    old, new = Predictor(before).predict(scan), Predictor(version, calibrator=softer).predict(scan)
    assert np.array_equal(old.mask, new.mask)
    assert np.array_equal(old.sets, new.sets)
    assert not np.array_equal(old.probs, new.probs)
    assert [s.voxels for s in new.structures] == [np.count_nonzero(one) for one in new.sets]


@pytest.mark.slow
def test_quality_of_nested_structures_is_that_of_all_their_voxels(tmp_path):
    model = tmp_path / "models" / "tiny"
    spec = spec_of(
        head=Head("sigmoid", (1, 2), (0.4, 0.6), structures="nested"),
        labels=(Label("ball", 1, (1, 2)), Label("core", 2, 2)),
        network={**TINY_NETWORK, "out_channels": 2},
        members=1,
    )
    publish_random_version(model, spec)
    data, names = folder_of(tmp_path, 10)
    version, _ = calibrate_version(model, cases_in(data, names))
    assert {"observed", "quality"} <= version.calibration.keys()
    ball, _ = Predictor(version).predict(data / "images" / "s00.nii.gz").structures
    assert ball.predicted_dice is not None
