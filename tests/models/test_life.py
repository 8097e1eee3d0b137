"""The life of versions: published, taken over, kept, rolled back, pruned."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from phantoms import spec_of
from segtrust.errors import ModelError, ModelNotFoundError, TrainingError
from segtrust.models import (
    adopt_version,
    best_version,
    list_versions,
    open_version,
    prune_versions,
    publish_kept,
    publish_version,
    published_versions,
    roll_back,
    set_current,
    shipped_models_dir,
    training_lock,
    why_unpublished,
)


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

    monkeypatch.setattr("segtrust.models.life.shutil.copyfile", full)
    with pytest.raises(OSError, match="no space left"):
        publish_again(tiny_model)
    assert open_version(tiny_model).id == "0001"


def test_not_a_number_cannot_be_published(tiny_model):
    with pytest.raises(ValueError, match="JSON compliant"):
        publish_again(tiny_model, card={"dice": float("nan")})
    assert list_versions(tiny_model) == ["0001"]


def add(model, *, keep_because="", biased=0.0, **card):
    """One more version of the tiny model; its calibration differs, so its digest does."""
    members = sorted((model / "versions/0001/members").iterdir())
    calibration = {"calibrator": {"name": "identity"}, "note": biased}
    return publish_version(model, spec_of(), members, calibration, card, keep_because=keep_because)


def test_a_version_that_was_taken_over_has_the_digest_of_the_original(tiny_model, tmp_path):
    original = open_version(tiny_model)
    copy = adopt_version(original, tmp_path / "site" / "tiny")
    assert (copy.digest, copy.card) == (original.digest, original.card)
    assert open_version(tmp_path / "site" / "tiny").folder.is_relative_to(tmp_path / "site")


def test_a_kept_version_is_listed_and_not_served(tiny_model):
    kept = add(tiny_model, keep_because="may be inferior")
    assert open_version(tiny_model).id == "0001"
    assert list_versions(tiny_model) == ["0001", "0002"]
    assert published_versions(tiny_model) == ["0001"]
    assert why_unpublished(tiny_model, kept.id) == "may be inferior"


def test_a_kept_version_can_be_published(tiny_model):
    add(tiny_model, keep_because="may be inferior")
    assert publish_kept(tiny_model, "0002").id == open_version(tiny_model).id == "0002"
    assert published_versions(tiny_model) == ["0001", "0002"]


def test_a_damaged_kept_version_is_not_published(tiny_model):
    kept = add(tiny_model, keep_because="may be inferior")
    os.truncate(kept.members[0], 10)
    with pytest.raises(ModelError, match="SHA-256"):
        publish_kept(tiny_model, "0002")
    assert open_version(tiny_model).id == "0001"
    assert published_versions(tiny_model) == ["0001"]


def test_rolling_back_serves_the_version_before_and_keeps_the_later_ones(tiny_model):
    add(tiny_model)
    add(tiny_model, keep_because="never served")
    add(tiny_model)
    assert roll_back(tiny_model).id == "0002"
    assert published_versions(tiny_model) == ["0001", "0002"]
    assert why_unpublished(tiny_model, "0004") == "rolled back to 0002"


def test_rolling_back_twice_goes_back_twice_and_then_no_further(tiny_model):
    add(tiny_model)
    add(tiny_model)
    assert [roll_back(tiny_model).id, roll_back(tiny_model).id] == ["0002", "0001"]
    with pytest.raises(ModelNotFoundError, match="must have a version before 0001 to roll back to"):
        roll_back(tiny_model)


def test_nothing_is_rolled_back_to_a_version_that_was_never_served(tiny_model):
    add(tiny_model, keep_because="may be inferior")
    add(tiny_model)
    with pytest.raises(ModelNotFoundError, match=r"never served as version '0002'.*before 0003: 0001"):
        roll_back(tiny_model, "0002")
    assert open_version(tiny_model).id == "0003"


def test_new_versions_are_held_against_the_one_that_the_served_card_names(tiny_model):
    first = open_version(tiny_model)
    assert best_version(tiny_model).id == "0001"
    add(tiny_model, biased=1.0, best=first.digest)
    assert best_version(tiny_model).id == "0001"
    add(tiny_model, biased=2.0)  # better than the best: its card names none
    assert best_version(tiny_model).id == "0003"


def test_without_the_best_version_the_served_one_stands_in(tiny_model):
    add(tiny_model, biased=1.0, best="0" * 64)
    assert best_version(tiny_model).id == "0002"


def test_pruning_spares_the_newest_the_served_and_the_best(tiny_model):
    best = add(tiny_model, biased=1.0)
    for step in range(2, 5):
        add(tiny_model, biased=float(step), best=best.digest)
    add(tiny_model, biased=5.0, keep_because="may be inferior")
    assert prune_versions(tiny_model, keep=1) == ["0001", "0003", "0004"]
    assert list_versions(tiny_model) == ["0002", "0005", "0006"]
    assert open_version(tiny_model).id == "0005"
    assert not list(tiny_model.glob("versions/.draft-*"))


def test_what_came_with_the_package_is_never_pruned():
    with pytest.raises(ModelError, match="came with the package and is never pruned"):
        prune_versions(shipped_models_dir() / "hippocampus", keep=1)


def test_pruning_keeps_one_at_least(tiny_model):
    with pytest.raises(ModelError, match="`keep` must be at least 1, got 0"):
        prune_versions(tiny_model, keep=0)


def test_a_second_training_of_a_model_is_refused_while_one_runs(tiny_model):
    with training_lock(tiny_model), pytest.raises(TrainingError, match="one training of 'tiny' at a time"):  # noqa: SIM117
        with training_lock(tiny_model):
            pass
    with training_lock(tiny_model):
        pass


def test_a_killed_training_frees_the_lock_and_its_draft_goes(tiny_model):
    code = (
        "import sys, time; from pathlib import Path; from segtrust.models import training_lock\n"
        "with training_lock(Path(sys.argv[1])): print('locked', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tiny_model)], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(TrainingError, match="one training"), training_lock(tiny_model):
            pass
        other.send_signal(signal.SIGKILL)
    (tiny_model / "versions" / ".draft-0" / "members").mkdir(parents=True)
    with training_lock(tiny_model):
        assert not list(tiny_model.glob("versions/.draft-*"))
    assert open_version(tiny_model).id == "0001"
