"""Calibration of a folder: no scan is judged by a calibrator that saw its subject."""

from functools import partial

import pytest

from segtrust.adapters import find_cases, read_case
from segtrust.calibrators import Identity, calibrator_from_json
from segtrust.errors import SettingError
from segtrust.release import folder_calibration as module
from segtrust.release.folder_calibration import calibrate_folder
from volume_folders import write_cohort


def cohort(root, n, **options):
    pred, labels = write_cohort(root, n, **options)
    return find_cases([pred], labels).cases


def test_too_sure_probabilities_get_a_temperature_above_one(tmp_path):
    cases = cohort(tmp_path, 10, sharp=8.0)
    found = calibrate_folder(cases, read_case, kinds=["pooled_temperature"])
    assert found.fits
    figures = found.choice.figures
    assert figures["pooled_temperature"]["nll"]["volume"] < figures["identity"]["nll"]["volume"]
    again = calibrator_from_json(found.to_json()["calibrator"])
    assert again == found.choice.calibrator
    assert again.temperature > 1
    assert found.to_json()["fitted_on"] == {"scans": 10, "subjects": 10, "role": "given by the folder"}


def test_each_subject_s_calibrator_was_fitted_without_it(tmp_path, monkeypatch):
    cases, seen = cohort(tmp_path, 6), {}

    def fit(scans, *, least=5):
        calibrator = Identity()
        seen[id(calibrator)] = ({scan.subject for scan in scans}, calibrator)
        return calibrator

    monkeypatch.setattr(module, "CANDIDATES", {"spy": fit})
    monkeypatch.setattr(module, "choose_calibrator", partial(_always, "spy"))
    found = calibrate_folder(cases, read_case, kinds=["spy"])
    for case in cases:
        assert case.subject not in seen[id(found.of[case.id])][0]


def _always(name, scans, candidates, *, folds):
    return module.Choice(name, candidates[name](scans), len({s.subject for s in scans}), {})


def test_fewer_than_five_subjects_are_refused(tmp_path):
    with pytest.raises(SettingError, match="at least 5 subjects, got 4"):
        calibrate_folder(cohort(tmp_path, 4), read_case)


def test_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(SettingError, match=r"a kind must be one of pooled_temperature, .*, got magic"):
        calibrate_folder(cohort(tmp_path, 5), read_case, kinds=["magic"])
