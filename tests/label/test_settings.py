"""Strings become types: settings of the app."""

import dataclasses
import math
from pathlib import Path

import pytest

from segtrust.errors import SettingError
from segtrust.label.settings import AppSettings, parse_bool

EXAMPLES = {
    "models": ("hippocampus, heart", ("hippocampus", "heart")),
    "models_dir": ("/some/models", Path("/some/models")),
    "state_dir": ("/some/state", Path("/some/state")),
    "temp_dir": ("/some/disk", Path("/some/disk")),
    "allowed_hosts": ("a.example, b.example", ("a.example", "b.example")),
    "allowed_origins": ("https://a.example,http://b:3000", ("https://a.example", "http://b:3000")),
    "login": ("on", "on"),
    "users_file": ("/some/users.json", Path("/some/users.json")),
    "login_hours": ("8", 8.0),
    "user_requests_per_minute": ("600", 600),
    "user_requests_at_once": ("8", 8),
    "user_inferences_at_once": ("1", 1),
    "openid_issuer": ("https://id.example.org/realms/x", "https://id.example.org/realms/x"),
    "openid_audience": ("segtrust", "segtrust"),
    "openid_name_claim": ("sub", "sub"),
    "openid_role_claim": ("groups", "groups"),
    "openid_roles": ("/doctors=annotator, /it=administrator", ("/doctors=annotator", "/it=administrator")),
    "audit_days": ("3650", 3650.0),
    "device": ("cuda:1", "cuda:1"),
    "precision": ("bf16", "bf16"),
    "whole_heads": ("no", False),
    "keep_members": ("False", False),
    "cache_scans": ("3", 3),
    "band_edges": ("0.1,0.2,0.4", (0.1, 0.2, 0.4)),
    "fine_dice": ("0.7", 0.7),
    "fine_risk": ("0.1", 0.1),
    "interval_confidence": ("0.9", 0.9),
    "contour_coverage": ("0.8", 0.8),
    "contour_share": ("1", 1.0),
    "ohif_strategy": ("uniform", "uniform"),
    "lease_minutes": ("30", 30.0),
    "held_out_every": ("5", 5),
    "rounds_planned": ("6", 6),
    "label_history": ("5", 5),
    "auto_score": ("yes", True),
    "store_in_pacs": ("mask, entropy", ("mask", "entropy")),
    "warm_up": ("0", False),
    "train_epochs": ("7", 7),
    "train_loss": ("dice + 0.5 * nacl", "dice + 0.5 * nacl"),
    "train_start": ("scratch", "scratch"),
    "train_ensemble": ("snapshots", "snapshots"),
    "train_workers": ("2", 2),
    "small_gate": ("ask", "ask"),
    "subjects": ("^(P[0-9]+)_", "^(P[0-9]+)_"),
    "unload_while_training": ("no", False),
    "max_voxels": ("1000", 1000),
    "max_grid_voxels": ("1000", 1000),
    "max_file_mb": ("10", 10),
    "max_data_mb": ("20", 20),
    "max_classes": ("300", 300),
    "max_channels": ("4", 4),
    "max_archive_files": ("50", 50),
    "read_seconds": ("30", 30),
}


@pytest.mark.parametrize(("name", "text", "value"), [(k, *v) for k, v in EXAMPLES.items()], ids=EXAMPLES)
def test_a_setting_is_read_from_text(name, text, value):
    assert getattr(AppSettings.from_conf({name: text}), name) == value


def test_every_setting_has_an_example_and_a_sentence():
    fields = dataclasses.fields(AppSettings)
    assert {f.name for f in fields} == set(EXAMPLES)
    assert all(len(f.metadata["doc"].split()) > 3 for f in fields)


def test_no_conf_gives_the_defaults():
    assert AppSettings.from_conf({}) == AppSettings()


@pytest.mark.parametrize("text", ["all", " all ", ""])
def test_all_models_are_meant_by_all_and_by_nothing(text):
    assert AppSettings.from_conf({"models": text}).models == ()


def test_an_unknown_setting_is_named_with_the_known_ones():
    with pytest.raises(
        SettingError,
        match=r"unknown setting .devise.. Known: allowed_hosts, allowed_origins, audit_days, auto_sc",
    ):
        AppSettings.from_conf({"devise": "cpu"})


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("precision", "fp64", "`precision` must be fp32 or bf16, got 'fp64'"),
        ("cache_scans", "0", "`cache_scans` must be at least 1, got 0"),
        ("label_history", "0", "`label_history` must be at least 1, got 0"),
        ("cache_scans", "two", "`cache_scans` must be a whole number, got 'two'"),
        ("cache_scans", "1.5", "`cache_scans` must be a whole number, got '1.5'"),
        ("band_edges", "0.1,0.2", "three rising chances"),
        ("band_edges", "0.3,0.2,0.4", "three rising chances"),
        ("band_edges", "0,0.2,0.4", "three rising chances"),
        ("band_edges", "0.1,0.2,1", "three rising chances"),
        ("band_edges", "a,b,c", "`band_edges` must be a number, got 'a'"),
        ("contour_coverage", "1", "`contour_coverage` must lie between 0 and 1 .* got 1.0 and 0.99"),
        ("contour_share", "0.5", "`contour_share` be one of 0.95, 0.99, 1.0, got 0.9 and 0.5"),
        ("lease_minutes", "nan", "`lease_minutes` must be above 0, .* got nan, 4 and 10"),
        ("held_out_every", "1", "`held_out_every` at least 2 .* got 60.0, 1 and 10"),
        ("rounds_planned", "0", "`rounds_planned` at least 1, got 60.0, 4 and 0"),
        ("keep_members", "maybe", "`keep_members` must be true or false, got 'maybe'"),
    ],
)
def test_a_bad_value_is_named(name, text, words):
    with pytest.raises(SettingError, match=words):
        AppSettings.from_conf({name: text})


@pytest.mark.parametrize("word", ["true", "TRUE", "1", "yes", "on", " True ", True])
def test_words_for_true(word):
    assert parse_bool(word, "x") is True


@pytest.mark.parametrize("word", ["false", "False", "0", "no", "off", False])
def test_words_for_false(word):
    assert parse_bool(word, "x") is False


@pytest.mark.parametrize("word", ["", "2", "None", "falsee", None])
def test_other_words_are_refused(word):
    with pytest.raises(SettingError, match="must be true or false"):
        parse_bool(word, "x")


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        AppSettings().device = "cuda"


def test_the_top_band_is_above_one_in_three():
    assert math.isclose(AppSettings().band_edges[-1], 1 / 3)
