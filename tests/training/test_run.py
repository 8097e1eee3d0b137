"""Recipes, and runs of several members."""

import json
from dataclasses import asdict, replace

import nibabel as nib
import numpy as np
import pytest
import torch

from phantoms import TINY_NETWORK, make_blob, spec_of, write_scan
from segtrust.errors import SettingError, TrainingError
from segtrust.inference.members import load_weights
from segtrust.models import Label
from segtrust.training import run
from segtrust.training.cache import _cases
from segtrust.training.cape import CapeSettings, tune_member
from segtrust.training.loop import Budget
from segtrust.training.run import Recipe, train_ensemble, tune_ensemble

SPEC = spec_of(labels=(Label("ball", 1, 1),), patch=(8, 8, 8), network={**TINY_NETWORK, "out_channels": 2})


@pytest.fixture
def recipe_file(tmp_path):
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"spec": SPEC.to_json(), "budget": {"epochs": 1}, "seeds": [1, 2]}))
    return path


@pytest.fixture
def cohort(tmp_path):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for name in ("a", "b"):
        scan = make_blob((10, 9, 8), radius=3.0)
        write_scan(scan, tmp_path / "images" / f"{name}.nii.gz")
        labels = (scan.data[0].numpy() > 50).astype(np.uint8)
        nib.save(nib.Nifti1Image(labels, scan.affine), tmp_path / "labels" / f"{name}.nii.gz")
    (tmp_path / "splits.json").write_text(json.dumps({"splits": {"train": ["a"], "val": [], "test": ["b"]}}))
    return tmp_path


def test_a_recipe_is_read_from_a_file(recipe_file):
    recipe = Recipe.read(str(recipe_file))
    assert (recipe.spec, recipe.budget, recipe.seeds) == (SPEC, Budget(epochs=1), (1, 2))


def test_the_loss_of_a_recipe_may_be_a_list(recipe_file):
    terms = [{"name": "dice_ce"}, {"name": "mbls", "weight": 0.1, "margin": 5}]
    recipe_file.write_text(json.dumps(json.loads(recipe_file.read_text()) | {"budget": {"loss": terms}}))
    assert Recipe.read(str(recipe_file)).budget == Budget(loss="dice_ce + 0.1*mbls(margin=5)")


def test_a_wrong_term_of_a_recipe_is_refused(recipe_file):
    terms = {"budget": {"loss": [{"name": "focal", "gamma": 11}]}}
    recipe_file.write_text(json.dumps(json.loads(recipe_file.read_text()) | terms))
    with pytest.raises(SettingError, match=r"`gamma` must be a number from 0 to 10, got 11"):
        Recipe.read(str(recipe_file))


def test_an_unknown_recipe_is_refused_with_the_known_ones():
    with pytest.raises(TrainingError, match=r"no recipe 'liver'. Known: .*hippocampus"):
        Recipe.read("liver")


def test_the_shipped_recipe_describes_the_hippocampus():
    recipe = Recipe.read("hippocampus")
    assert ["anterior" in recipe.spec.labels[0].name, "posterior" in recipe.spec.labels[1].name] == [
        True,
        True,
    ]
    assert len(set(recipe.seeds)) == recipe.spec.members


@pytest.mark.parametrize(
    "change", [{"budget": {"epoch": 1}}, {"seeds": None}], ids=["unknown field", "no seeds"]
)
def test_a_recipe_of_another_form_is_refused(recipe_file, change):
    recipe_file.write_text(json.dumps(json.loads(recipe_file.read_text()) | change))
    with pytest.raises(TrainingError, match=r"recipe\.json must hold spec, budget and seeds"):
        Recipe.read(str(recipe_file))


def test_every_seed_gives_one_member_of_its_own(recipe_file, cohort):
    lines = []
    members = train_ensemble(Recipe.read(str(recipe_file)), cohort, cohort / "out", say=lines.append)
    first, second = (load_weights(path) for path in members)
    assert [settings(path)["seed"] for path in members] == [1, 2]
    assert any(not torch.equal(first[name], second[name]) for name in first)
    assert len(lines) == 2
    assert lines[0].startswith("tiny seed 1 epoch 1/1 loss ")


def test_only_scans_of_the_training_split_are_used(recipe_file, cohort):
    members = train_ensemble(Recipe.read(str(recipe_file)), cohort, cohort / "out")
    assert settings(members[0])["cases"] == ["a"]
    budget = json.loads(json.dumps(asdict(Budget(epochs=1))))
    assert settings(members[0])["budget"] | {"patches": 0, "snapshots": 1} == budget


def test_what_was_trained_once_is_never_trained_again(recipe_file, cohort):
    recipe, lines = Recipe.read(str(recipe_file)), []
    members = train_ensemble(recipe, cohort, cohort / "out")
    renamed = replace(recipe, spec=replace(recipe.spec, name="other", description="the same network"))
    assert train_ensemble(renamed, cohort, cohort / "out", say=lines.append) == members
    assert not lines


@pytest.mark.parametrize("change", ["seed", "loss", "budget", "scans", "voxels"])
def test_whatever_weights_follow_from_makes_another_member(recipe_file, cohort, change):
    recipe = replace(Recipe.read(str(recipe_file)), seeds=(1,))
    before = train_ensemble(recipe, cohort, cohort / "out")
    if change == "seed":
        recipe = replace(recipe, seeds=(3,))
    elif change in ("loss", "budget"):
        other = {"loss": {"loss": "ce"}, "budget": {"learning_rate": 1e-3}}[change]
        recipe = replace(recipe, budget=replace(recipe.budget, **other))
    elif change == "scans":
        splits = {"splits": {"train": ["a", "b"], "val": [], "test": []}}
        (cohort / "splits.json").write_text(json.dumps(splits))
    else:
        write_scan(make_blob((10, 9, 8), radius=3.0, seed=7), cohort / "images" / "a.nii.gz")
        _cases.cache_clear()  # a process reads a data folder once
    assert train_ensemble(recipe, cohort, cohort / "out") != before


def settings(member):
    return json.loads((member.parent / "run.json").read_text())


def test_every_member_is_tuned_once_and_nobody_who_watches_is_learnt_from(recipe_file, cohort, monkeypatch):
    (cohort / "splits.json").write_text(json.dumps({"splits": {"train": ["a", "b"], "val": [], "test": []}}))
    (cohort / "subjects.csv").write_text("case,subject\na,one\nb,two\n")
    recipe, seen = Recipe.read(str(recipe_file)), []
    members = train_ensemble(recipe, cohort, cohort / "cache")

    def watched(spec, member, cases, settings, *, watch, **options):
        seen.append(([case.id for case in cases], [case.id for case in watch]))
        return tune_member(spec, member, cases, settings, watch=watch, **options)

    monkeypatch.setattr(run, "tune_member", watched)
    settings, lines = CapeSettings(target="labels", epochs=1), []
    tuned = tune_ensemble(recipe, members, cohort, cohort / "cape", settings, say=lines.append)
    assert seen == 2 * [(["b"], ["a"])]  # of one to five patients the first watches
    assert [line.split(" loss")[0] for line in lines] == [
        f"{SPEC.name} CaPE member {m}/2 epoch 1/1" for m in (1, 2)
    ]
    assert len({*tuned, *members}) == 4
    assert tune_ensemble(recipe, members, cohort, cohort / "cape", settings, say=lines.append) == tuned
    assert len(lines) == 2
