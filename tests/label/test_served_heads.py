"""Whole heads as the app offers them."""

import numpy as np
import pytest

from heads import KnownPlaces, two_balls
from phantoms import publish_random_version, write_scan
from segtrust.errors import SettingError
from segtrust.label.results import last_results
from segtrust.label.served import ServedModel, serve_models
from segtrust.label.served_heads import ServedHeads, serve_heads
from segtrust.label.settings import AppSettings
from segtrust.models import find_models, open_version, shipped_finders_dir, shipped_models_dir


@pytest.fixture
def heads(tiny_model):
    served = ServedModel(tiny_model, AppSettings(device="cpu"), last_results())
    return ServedHeads(KnownPlaces(places=(None, None)), served)


def test_a_version_of_the_crop_model_that_is_published_meanwhile_answers_from_then_on(
    heads, tiny_spec, tmp_path
):
    head = write_scan(two_balls(), tmp_path / "head.nii.gz")
    first = heads.predict(head)
    assert heads.predict(head) is first  # one run for all views
    publish_random_version(heads.crops.folder, tiny_spec, seed=5)
    second = heads.predict(head)
    assert (first.version_id, second.version_id) == ("0001", "0002")
    assert second.digest == heads.version().digest != first.digest


def test_views_are_refused(heads, tmp_path):
    with pytest.raises(SettingError, match="given for crops, not for whole heads"):
        heads.predict(write_scan(two_balls(), tmp_path / "head.nii.gz"), views=True)


def test_the_search_that_ships_serves_the_hippocampus_model_that_ships(tmp_path):
    served = serve_models(AppSettings(models=("hippocampus",)), tmp_path)
    assert list(serve_heads(served)) == ["hippocampus-heads"]
    assert list(serve_heads(served, only=("hippocampus",))) == []
    off = serve_models(AppSettings(models=("hippocampus",), whole_heads=False), tmp_path)
    assert not serve_heads(off)


def test_models_without_a_search_have_no_such_task(tmp_path, tiny_model):
    assert not serve_heads(
        serve_models(AppSettings(models_dir=tiny_model.parent, models=("tiny",)), tmp_path)
    )


def test_what_ships_is_small_and_its_limits_fit_the_crops_of_training():
    version = open_version(find_models(shipped_finders_dir())["hippocampus-heads"])
    crops = open_version(find_models(shipped_models_dir())["hippocampus"])
    assert sum(path.stat().st_size for path in version.folder.rglob("*")) < 12_000_000
    box = sorted(version.documents["finder.json"]["box_mm"])
    for mm, (low, high) in zip(box, crops.spec.extent_mm, strict=True):
        assert low <= mm <= high
    assert np.isclose(np.prod(box), 35 * 50 * 36)
