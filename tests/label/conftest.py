"""A served model with random weights, and a small folder of scans."""

import shutil
from dataclasses import replace

import pytest

from segtrust.label.results import last_results
from segtrust.label.served import ServedModel
from segtrust.label.settings import AppSettings
from segtrust.label.studies.datastore import SafeDatastore
from segtrust.models import Label
from segtrust.store import StateStore

STRUCTURES = {"tiny": {"front": 1, "back": 2}}


@pytest.fixture
def served(tiny_model):
    return ServedModel(tiny_model, AppSettings(device="cpu"), last_results())


@pytest.fixture
def two_models(make_model, tiny_spec):
    """Two models with different structures, in one dictionary as an app has them."""
    other = replace(tiny_spec, name="other", labels=(Label("top", 1, 1), Label("bottom", 2, 2)))
    settings, results = AppSettings(device="cpu"), last_results()
    return {s.name: ServedModel(make_model(s), settings, results) for s in (tiny_spec, other)}


@pytest.fixture
def store(tmp_path):
    return StateStore(tmp_path / "state.sqlite")


@pytest.fixture
def handed_out():
    return []


@pytest.fixture
def datastore(tmp_path, tiny_scan, handed_out, store):
    """Three scans `a`, `b`, `c` of the same ball."""
    folder = tmp_path / "studies"
    folder.mkdir()
    for name in "abc":
        shutil.copyfile(tiny_scan, folder / f"{name}.nii.gz")
    return SafeDatastore(
        str(folder),
        structures=STRUCTURES,
        store=store,
        on_served=lambda *entry: handed_out.append(entry),
        extensions=["*.nii.gz", "*.nii", "*.nrrd"],
    )
