"""Dividing a labelled folder, and spoiling its pool."""

import nibabel as nib
import numpy as np
import pytest

from labelled_folder import make_folder
from segtrust.errors import SettingError
from segtrust.simulate.folder import CORRUPTED, SIBLING, divide_folder, make_realistic, scans_in

SUBJECTS = {f"s{i:02d}-{k}": f"p{i:02d}" for i in range(24) for k in (1, 2)}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("data") / "balls", SUBJECTS)


@pytest.fixture(scope="module")
def clean(data):
    return divide_folder(data, scans_in(data), share=0.3, key="k")


@pytest.fixture(scope="module")
def realistic(clean, data):
    return make_realistic(clean, data.parent / "pool", corrupted=0.2, siblings=0.2, seed=0)


def test_no_subject_is_offered_and_judged_on(clean):
    assert not set(clean.pool.values()) & set(clean.evaluation.values())
    assert {**clean.pool, **clean.evaluation} == SUBJECTS


def test_a_scan_added_later_moves_no_other_subject(data, clean):
    fewer = divide_folder(data, [s for s in SUBJECTS if s != "s03-1"], share=0.3, key="k")
    assert set(fewer.pool) <= set(clean.pool)
    assert set(fewer.evaluation) <= set(clean.evaluation)


def test_a_share_that_leaves_nothing_is_refused(data):
    with pytest.raises(SettingError, match="must both hold scans, got 1 and 0 of 1 subjects"):
        divide_folder(data, ["s00-1"], share=0.0, key="k")


def test_a_folder_without_labels_is_refused(tmp_path):
    with pytest.raises(SettingError, match="got 0 images, none labelled"):
        scans_in(tmp_path)


def test_realistic_pool_has_so_much_junk_and_else_one_scan_per_subject(realistic):
    kinds = list(realistic.junk.values())
    n = len(realistic.pool)
    assert kinds.count(SIBLING) == pytest.approx(0.2 * n, abs=0.5)
    assert kinds.count(CORRUPTED) == pytest.approx(0.2 * n, abs=0.5)
    ordinary = [s for scan, s in realistic.pool.items() if realistic.junk.get(scan) != SIBLING]
    assert len(ordinary) == len(set(ordinary))
    siblings = [s for scan, s in realistic.pool.items() if realistic.junk.get(scan) == SIBLING]
    assert set(siblings) <= set(ordinary)


def test_only_corrupted_images_change_and_keep_their_geometry(realistic, clean):
    for scan in (*realistic.pool, *realistic.evaluation):
        old, new = (nib.load(folder.image(scan)) for folder in (clean, realistic))
        assert old.shape == new.shape
        assert np.array_equal(old.affine, new.affine)
        same = np.array_equal(old.get_fdata(), new.get_fdata())
        assert same == (realistic.junk.get(scan) != CORRUPTED)


def test_the_same_call_keeps_the_folder_and_another_is_refused(realistic, clean):
    folder = realistic.data
    assert make_realistic(clean, folder, corrupted=0.2, siblings=0.2, seed=0) == realistic
    with pytest.raises(SettingError, match="must hold the same pool, got another"):
        make_realistic(clean, folder, corrupted=0.1, siblings=0.2, seed=0)


def test_more_siblings_than_there_are_is_refused(clean, tmp_path):
    with pytest.raises(SettingError, match="shares of junk must fit the pool"):
        make_realistic(clean, tmp_path, corrupted=0.1, siblings=0.6, seed=0)
