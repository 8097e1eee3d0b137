"""Endpoints against what was measured: values by hand, limits on both sides."""

from pathlib import Path

import pytest

from measured import made_record
from phantoms import spec_of
from segtrust.evaluate.card import make_card
from segtrust.evaluate.protocol import Protocol
from segtrust.experiments.endpoints import Measured, check_endpoints
from segtrust.models import ModelVersion

PROTOCOL = Protocol.read(Path(__file__).parents[2] / "benchmarks" / "protocol.json")
TEST = {
    "calibrated": {"band": {"nll": {"value": 0.08}}},
    "single_temperature": {"band": {"nll": {"value": 0.1}}},
}


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
    folder = tmp_path_factory.mktemp("version")
    weights = folder / "member.safetensors"
    weights.write_bytes(b"0" * 2_000_000)
    card = {"training_seconds": 14_400, "test": {"systems": {"calibration": TEST}}}
    version = ModelVersion(folder, "0001", spec_of(), (weights,) * 11, {}, card, "digest")
    # reference 2, 3; each predicts 2, 3: Dice 1
    records = [made_record(i, 0.6 + 0.1 * (i % 4)) for i in range(32)]
    figures = make_card(records, ["front"], main="ensemble")
    found = check_endpoints(PROTOCOL, Measured(figures, records, "ensemble", version))
    return {entry["id"]: entry for entry in found}


def test_every_endpoint_of_the_protocol_has_an_entry(entries):
    assert list(entries) == [endpoint["id"] for endpoint in PROTOCOL.content["endpoints"]]


@pytest.mark.parametrize(
    ("name", "value", "met"),
    [
        ("dice", 1.0, True),
        ("weights", 22.0, False),  # 11 members of 2 MB, at most 20
        ("training", 2.0, True),  # 4 hours of members on two cores
        ("nll_band_single", 0.8, True),
        ("mask", 0, True),
        ("nll_outside", 0.0, True),
    ],
)
def test_values_worked_by_hand(entries, name, value, met):
    assert entries[name]["value"] == pytest.approx(value)
    assert entries[name]["met"] is met


def test_the_upper_end_of_the_interval_is_held_against_the_limit(entries):
    # sure 9 of 20 voxels in the band, two with chances .1 to .4 of being wrong: far above .01
    assert entries["ece_band"]["value"] > 0.01
    assert entries["ece_band"]["met"] is False


def test_an_aim_is_told_apart_from_a_limit(entries):
    assert entries["dice"]["aim_met"] is True
    assert "met" not in entries["ranking_clean"]


def test_what_is_not_measured_says_so(entries):
    assert entries["ranking_shift"]["value"] is None
    assert "met" not in entries["ranking_shift"]
