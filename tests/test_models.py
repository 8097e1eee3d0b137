"""A model is a folder: reading, damage, publishing, rolling back."""

import dataclasses
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from phantoms import publish_random_version, spec_of
from segtrust.errors import ModelError, ModelNotFoundError
from segtrust.models import (
    Head,
    Intensity,
    Label,
    ModelSpec,
    find_models,
    list_versions,
    open_version,
    publish_version,
    set_current,
)

LABELS = (Label("whole", 1, 7), Label("core", 2, 9))


def edit_json(path, **changes):
    document = json.loads(path.read_text())
    document.update(changes)
    path.write_text(json.dumps(document))


def literally(*words):
    return ".*".join(re.escape(str(word)) for word in words)


# --- the specification -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [
        spec_of(),
        spec_of(spacing=None, extent_mm=None),
        spec_of(
            labels=LABELS,
            head=Head("sigmoid", (1, 2), 0.4),
            intensity=Intensity("window", -100.0, 300.0),
            channels=("t1", "t2"),
            spatial_dims=2,
            patch=(32, 32),
            spacing=(1.0, 1.0),
            intensity_ranges=((0.0, 0.5), (-1.0, 1.0)),
        ),
    ],
    ids=["plain", "optional fields absent", "every field"],
)
def test_a_specification_comes_back_from_json(spec):
    assert ModelSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_a_label_without_colour_gets_one():
    document = spec_of().to_json()
    for label in document["labels"]:
        del label["colour"]
    assert len(ModelSpec.from_json(document).labels[0].colour) == 3


def test_a_softmax_head_has_a_channel_for_the_background_and_a_sigmoid_head_has_none():
    assert spec_of(labels=LABELS).n_classes == 3
    assert spec_of(labels=LABELS, head=Head("sigmoid", (1, 2))).n_classes == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "../evil"}, "name must be letters, digits, - and _, got '../evil'"),
        ({"labels": (Label("a", 2, 1),)}, "must be 1..1 in order, got [2]. Put the file's own values"),
        ({"labels": (Label("a", 1, 1), Label("a", 2, 2))}, "with different names"),
        ({"labels": ()}, "at least one"),
        ({"network": {"_target_": "os.system"}}, "Code is never loaded from a model folder"),
        ({"network": {}}, "`network._target_` must come from monai.networks.nets. or segtrust., got ''"),
        ({"patch": (16, 16)}, "`patch` must have one size per spatial dimension (3), got (16, 16)"),
        ({"spatial_dims": 4, "patch": (8,) * 4, "spacing": None}, "per spatial dimension"),
        (
            {"head": Head("sigmoid", (1,))},
            "`head.priority` of a sigmoid model must order all label values, got (1,)",
        ),
        ({"head": Head("sofmax")}, "`head.kind` must be softmax or sigmoid, got 'sofmax'"),
        (
            {"intensity": Intensity("z-score")},
            "`intensity` must be zscore, or window with low < high, got 'z-score'",
        ),
        ({"intensity": Intensity("window", 5.0, 5.0)}, "window with low < high"),
        ({"spacing": (1.0, 1.0)}, "`spacing` must have 3 entries, got 2"),
        ({"extent_mm": ((1.0, 2.0),)}, "`extent_mm` must have 3 entries, got 1"),
        ({"intensity_ranges": ()}, "`intensity_ranges` must have 1 entries, got 0"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(changes, words):
    with pytest.raises(ModelError, match=literally(words)):
        spec_of(**changes)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("colour", "red"),
        ("labels", 3),
        ("labels", [["front", 1, 1]]),
        ("head", "softmax"),
        ("intensity", "zscore"),
        ("network", ["monai"]),
        ("extent_mm", [1, 2, 3]),
    ],
)
def test_a_field_of_the_wrong_form_is_a_model_error(field, value):
    with pytest.raises(ModelError, match=r"spec\.json must fit the form of a model"):
        ModelSpec.from_json({**spec_of().to_json(), field: value})


def test_a_missing_field_is_named():
    document = spec_of().to_json()
    del document["labels"]
    with pytest.raises(ModelError, match="'labels'"):
        ModelSpec.from_json(document)


# --- opening -----------------------------------------------------------------------------------------------


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


# --- publishing --------------------------------------------------------------------------------------------


def publish_again(model, **changes):
    members = sorted((model / "versions/0001/members").iterdir())
    fields = {
        "spec": spec_of(),
        "members": members,
        "calibration": {"calibrator": {"name": "identity"}},
        "card": {},
    }
    return publish_version(model, **{**fields, **changes})


def drafts(model):
    return [p.name for p in (model / "versions").iterdir() if p.name.startswith(".")]


def test_a_new_version_gets_the_next_number_and_is_served(tiny_model):
    assert publish_again(tiny_model).id == "0002"
    assert open_version(tiny_model).id == "0002"
    assert list_versions(tiny_model) == ["0001", "0002"]


def test_the_number_after_a_gap_is_still_new(tiny_model):
    publish_again(tiny_model)
    publish_again(tiny_model)
    shutil.rmtree(tiny_model / "versions/0002")
    assert publish_again(tiny_model).id == "0004"


def test_the_card_lists_every_file_of_the_version(tiny_model):
    version = publish_again(tiny_model)
    files = {p.relative_to(version.folder).as_posix() for p in version.folder.rglob("*") if p.is_file()}
    assert set(version.card["files"]) == files - {"card.json"}


def test_a_version_can_be_rolled_back(tiny_model):
    publish_again(tiny_model)
    set_current(tiny_model, "0001")
    assert open_version(tiny_model).id == "0001"


def test_a_damaged_version_cannot_be_served(tiny_model):
    publish_again(tiny_model)
    os.truncate(tiny_model / "versions/0001/members/0.safetensors", 10)
    with pytest.raises(ModelError, match="SHA-256"):
        set_current(tiny_model, "0001")
    assert open_version(tiny_model).id == "0002"


def test_another_specification_needs_another_name(tiny_model):
    with pytest.raises(ModelError, match="describes another model"):
        publish_again(tiny_model, spec=spec_of(overlap=0.5))


def test_a_version_that_does_not_check_is_never_listed(tiny_model):
    member = tiny_model / "versions/0001/members/0.safetensors"
    with pytest.raises(ModelError, match="must hold 2 members, got 1"):
        publish_again(tiny_model, members=[member])
    assert list_versions(tiny_model) == ["0001"]
    assert open_version(tiny_model).id == "0001"
    assert drafts(tiny_model) == []


@pytest.mark.parametrize("step", range(1, 4))
def test_a_crash_at_any_rename_leaves_the_old_version_served(tiny_model, monkeypatch, step):
    # calibration.json, card.json and the draft are renamed, then `current`: crash at each of the last three
    done = []

    def crashing(real):
        def rename(self, target):
            done.append(Path(target).name)
            if len(done) > step:
                raise KeyboardInterrupt
            return real(self, target)

        return rename

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", crashing(Path.rename))
        patch.setattr(Path, "replace", crashing(Path.replace))
        with pytest.raises(KeyboardInterrupt):
            publish_again(tiny_model)
    assert done == ["calibration.json", "card.json", "0002", "current"][: step + 1]
    assert open_version(tiny_model).id == "0001"
    assert publish_again(tiny_model).id == ("0003" if step == 3 else "0002")


def test_a_killed_publish_leaves_a_draft_that_nobody_lists(tiny_model):
    # a process that is killed cannot tidy up
    shutil.copytree(tiny_model / "versions/0001", tiny_model / "versions/.draft-0")
    assert list_versions(tiny_model) == ["0001"]
    assert publish_again(tiny_model).id == "0002"


def test_a_crash_while_copying_weights_leaves_the_old_version_served(tiny_model, monkeypatch):
    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("segtrust.models.shutil.copyfile", full)
    with pytest.raises(OSError, match="no space left"):
        publish_again(tiny_model)
    assert open_version(tiny_model).id == "0001"


def test_not_a_number_cannot_be_published(tiny_model):
    with pytest.raises(ValueError, match="JSON compliant"):
        publish_again(tiny_model, card={"dice": float("nan")})
    assert list_versions(tiny_model) == ["0001"]


# --- finding -----------------------------------------------------------------------------------------------


def test_published_models_are_found_by_name(tiny_model, tmp_path):
    (tmp_path / "models" / "unpublished").mkdir()
    assert find_models(tmp_path / "models", tmp_path / "not there") == {"tiny": tiny_model}


def test_a_site_model_hides_the_shipped_one_of_the_same_name(tiny_model, tmp_path):
    shutil.copytree(tiny_model, tmp_path / "shipped" / "tiny")
    assert find_models(tmp_path / "models", tmp_path / "shipped") == {"tiny": tiny_model}


def test_a_version_is_immutable(tiny_version):
    with pytest.raises(dataclasses.FrozenInstanceError):
        tiny_version.id = "0002"
