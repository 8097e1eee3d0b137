"""A model is a folder: finding it, opening a version, damage."""

import dataclasses
import json
import os
import re
import shutil

import pytest

from phantoms import publish_random_version, spec_of
from segtrust.errors import ModelError, ModelNotFoundError
from segtrust.models import (
    find_models,
    open_version,
)


def edit_json(path, **changes):
    document = json.loads(path.read_text())
    document.update(changes)
    path.write_text(json.dumps(document))


def literally(*words):
    return ".*".join(re.escape(str(word)) for word in words)


def test_an_intact_version_opens(tiny_model):
    version = open_version(tiny_model)
    assert (version.id, version.spec, len(version.members)) == ("0001", spec_of(), 2)
    assert version.calibration["calibrator"] == {"name": "identity"}
    assert version.card["note"] == "random weights, for tests"


def test_the_digest_names_the_content_and_not_the_place(tiny_model, tmp_path):
    moved = shutil.copytree(tiny_model, tmp_path / "elsewhere" / "tiny")
    assert open_version(moved).digest == open_version(tiny_model).digest


def test_another_specification_has_another_digest(tiny_model):
    before = open_version(tiny_model).digest
    edit_json(tiny_model / "spec.json", overlap=0.5)
    assert open_version(tiny_model).digest != before


def test_other_weights_have_another_digest(tiny_model):
    publish_random_version(tiny_model, spec_of(), seed=1)
    assert open_version(tiny_model, "0001").digest != open_version(tiny_model, "0002").digest


def test_a_missing_member_is_named(tiny_model):
    member = tiny_model / "versions/0001/members/1.safetensors"
    member.unlink()
    with pytest.raises(ModelError, match=literally(member, "is missing")):
        open_version(tiny_model)


def test_a_truncated_member_is_named_with_what_was_expected_and_got(tiny_model):
    member = tiny_model / "versions/0001/members/0.safetensors"
    expected = json.loads((tiny_model / "versions/0001/card.json").read_text())["files"][
        "members/0.safetensors"
    ]
    size = member.stat().st_size // 2
    os.truncate(member, size)
    with pytest.raises(
        ModelError, match=literally(member, "SHA-256", expected, "got", f"({size} bytes)", "cut off")
    ):
        open_version(tiny_model)


@pytest.mark.parametrize("name", ["members/0.safetensors", "calibration.json"])
def test_one_changed_byte_is_noticed(tiny_model, name):
    path = tiny_model / "versions/0001" / name
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=literally(path, "must have SHA-256", ", got ")):
        open_version(tiny_model)


def test_a_specification_that_names_another_model_is_refused(tiny_model):
    edit_json(tiny_model / "spec.json", name="other")
    with pytest.raises(ModelError, match=literally(tiny_model / "spec.json", "'tiny', got 'other'")):
        open_version(tiny_model)


def test_a_specification_with_more_members_than_files_is_refused(tiny_model):
    edit_json(tiny_model / "spec.json", members=5)
    with pytest.raises(ModelError, match="must hold 5 members, got 2"):
        open_version(tiny_model)


def test_an_unknown_field_of_the_specification_is_named(tiny_model):
    edit_json(tiny_model / "spec.json", pach=[1, 1, 1])
    with pytest.raises(ModelError, match="'pach'"):
        open_version(tiny_model)


@pytest.mark.parametrize("name", ["spec.json", "versions/0001/card.json"])
def test_json_that_was_cut_off_is_named(tiny_model, name):
    path = tiny_model / name
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ModelError, match=literally(path, "must be JSON", "Was the file cut off?")):
        open_version(tiny_model)


def test_json_that_is_no_object_is_refused(tiny_model):
    (tiny_model / "spec.json").write_text("[1]")
    with pytest.raises(ModelError, match="must hold a JSON object, got list"):
        open_version(tiny_model)


@pytest.mark.parametrize("name", ["spec.json", "current", "versions/0001/card.json"])
def test_a_missing_file_of_the_folder_is_named(tiny_model, name):
    (tiny_model / name).unlink()
    with pytest.raises(ModelNotFoundError, match=literally(tiny_model / name, "is missing")):
        open_version(tiny_model)


def test_a_model_that_is_not_there_is_a_file_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match="is missing"):
        open_version(tmp_path / "nothing")


@pytest.mark.parametrize("version_id", ["0002", "", "../0001", "0001/../0001", "/etc", "."])
def test_an_unknown_version_is_named_with_the_known_ones(tiny_model, version_id):
    with pytest.raises(ModelNotFoundError, match=literally(f"no version {version_id!r}. Known: 0001")):
        open_version(tiny_model, version_id)


def test_the_served_version_cannot_lie_outside_the_folder(tiny_model, tmp_path):
    shutil.copytree(tiny_model / "versions/0001", tmp_path / "outside")
    (tiny_model / "current").write_text("../../../outside\n")
    with pytest.raises(ModelNotFoundError, match="has no version"):
        open_version(tiny_model)


def test_a_card_cannot_list_a_file_outside_its_version(tiny_model, tmp_path):
    (tmp_path / "secret").write_text("x")
    card = tiny_model / "versions/0001/card.json"
    edit_json(card, files={**json.loads(card.read_text())["files"], "members/../../../../../secret": "0"})
    with pytest.raises(ModelError, match=literally(card, "must list files inside the version, got")):
        open_version(tiny_model)


def test_a_link_out_of_the_version_is_refused(tiny_model, tmp_path):
    member = tiny_model / "versions/0001/members/0.safetensors"
    shutil.move(member, tmp_path / "weights")
    member.symlink_to(tmp_path / "weights")
    with pytest.raises(ModelError, match="must list files inside the version"):
        open_version(tiny_model)


def test_a_card_without_checksums_is_refused(tiny_model):
    edit_json(tiny_model / "versions/0001/card.json", files=None)
    with pytest.raises(ModelError, match="must list the files of the version under `files`"):
        open_version(tiny_model)


def test_published_models_are_found_by_name(tiny_model, tmp_path):
    (tmp_path / "models" / "unpublished").mkdir()
    assert find_models(tmp_path / "models", tmp_path / "not there") == {"tiny": tiny_model}


def test_a_site_model_hides_the_shipped_one_of_the_same_name(tiny_model, tmp_path):
    shutil.copytree(tiny_model, tmp_path / "shipped" / "tiny")
    assert find_models(tmp_path / "models", tmp_path / "shipped") == {"tiny": tiny_model}


def test_a_version_is_immutable(tiny_version):
    with pytest.raises(dataclasses.FrozenInstanceError):
        tiny_version.id = "0002"
