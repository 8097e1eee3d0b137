"""Names of structures from the files that data sets come with."""

import json

import pytest

from segtrust.adapters import structure_names, volume_files
from segtrust.errors import SettingError
from volume_folders import FORMS, made_volume, write_volume_as


def dataset(folder, labels):
    folder.mkdir(exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    return folder


@pytest.mark.parametrize(
    "labels",
    [{"background": 0, "liver": 1, "tumour": 2}, {"0": "background", "1": "liver", "2": "tumour"}],
    ids=["nnU-Net", "Decathlon"],
)
def test_structures_are_named_in_order_of_their_values(labels, tmp_path):
    dataset(tmp_path, labels)
    inner = tmp_path / "labelsTr"
    inner.mkdir()
    assert structure_names([inner]) == (("liver", "tumour"), None)


def test_nnu_net_s_ignored_value_is_no_structure(tmp_path):
    folder = dataset(tmp_path, {"background": 0, "liver": 1, "ignore": 2})
    assert structure_names([folder]) == (("liver",), 2)


def test_regions_are_refused(tmp_path):
    folder = dataset(tmp_path, {"background": 0, "whole": [1, 2], "core": [2]})
    with pytest.raises(SettingError, match="region-based training is not supported"):
        structure_names([folder])


def test_gaps_are_refused(tmp_path):
    folder = dataset(tmp_path, {"background": 0, "liver": 1, "tumour": 3})
    with pytest.raises(SettingError, match=r"must number its labels 0, 1, 2, \.\.\., got \[0, 1, 3\]"):
        structure_names([folder])


@pytest.mark.parametrize("form", FORMS)
def test_volumes_whose_names_end_in_numbers_are_scans_of_their_own(form, tmp_path):
    for name in ("site_000", "site_001"):
        write_volume_as(form, tmp_path, name, made_volume(0)[0])
    found = volume_files(tmp_path)
    assert [files.id for files in found] == ["site_000", "site_001"]
    assert [len(files.volumes) for files in found] == [3 if form in {"numbered", "inner"} else 1] * 2
