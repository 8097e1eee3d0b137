"""The protocol file: its hash, its folds, the data it belongs to."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrust.calibrators import CANDIDATES, LEAST_GAIN
from segtrust.errors import SettingError
from segtrust.evaluate.cases import REGIONS
from segtrust.evaluate.protocol import Protocol, check_data, protocol_hash, subject_folds
from segtrust.regions import BAND_MM
from segtrust.scores import ScanScores
from segtrust.training.cases import read_splits, read_subjects

PATH = Path(__file__).parents[2] / "benchmarks" / "protocol.json"
subjects = st.sets(st.text("abcdef", min_size=1, max_size=6), max_size=30)


def test_the_hash_does_not_see_spaces_and_the_order_of_keys(tmp_path):
    content = json.loads(PATH.read_text("utf-8"))
    other = tmp_path / "other.json"
    other.write_text(json.dumps(dict(reversed(content.items()))), "utf-8")
    assert protocol_hash(other) == protocol_hash(PATH) == Protocol.read(PATH).hash


def test_the_hash_of_a_small_file_by_hand(tmp_path):
    path = tmp_path / "p.json"
    path.write_text('{"b": 1,\n "a": [2, 3]}', "utf-8")
    # printf '{"a":[2,3],"b":1}' | sha256sum
    assert protocol_hash(path) == "2aae3bfa906be39530e7d7a4aa90a7e6d4f29c33e3ac80e1c3b05598c5953c04"


def test_the_hash_sees_a_changed_number(tmp_path):
    content = json.loads(PATH.read_text("utf-8"))
    content["calibration"]["ece_bins"] = 16
    (tmp_path / "p.json").write_text(json.dumps(content), "utf-8")
    assert protocol_hash(tmp_path / "p.json") != protocol_hash(PATH)


def test_the_protocol_says_what_the_code_does():
    content = Protocol.read(PATH).content
    assert tuple(content["regions"]["headline"]) == REGIONS
    assert content["regions"]["band_mm"] == BAND_MM
    assert content["calibrators"]["candidates"] == ["identity", *CANDIDATES]
    assert str(LEAST_GAIN) in content["calibrators"]["choice"]
    later = {"doubt"}  # came after the protocol, whose content stays what it was
    assert set(content["scores"]) == set(ScanScores.__dataclass_fields__) - {"structures", "details"} - later
    assert content["calibration"]["log_clamp"] == 1e-12


@given(subjects, st.integers(1, 6))
def test_folds_differ_by_at_most_one_subject(names, count):
    folds = subject_folds(names, count=count, key="k")
    assert set(folds) == names
    sizes = Counter(folds.values())
    assert not names or max(sizes.values()) - min(sizes[i] for i in range(count)) <= 1


@given(subjects)
def test_folds_do_not_depend_on_the_order_or_on_repeats(names):
    ordered = sorted(names)
    assert subject_folds([*reversed(ordered), *ordered], count=3, key="k") == subject_folds(
        ordered, count=3, key="k"
    )


def test_another_key_deals_other_folds():
    names = [f"s{i}" for i in range(30)]
    assert subject_folds(names, count=5, key="a") != subject_folds(names, count=5, key="b")


def test_the_protocol_is_of_the_data_at_hand(hippocampus_dir):
    protocol = Protocol.read(PATH)
    check_data(protocol, hippocampus_dir)
    owner = read_subjects(hippocampus_dir)
    train = {owner[scan] for scan in read_splits(hippocampus_dir)["train"]}
    folds = protocol.content["folds"]
    sizes = Counter(subject_folds(train, count=folds["count"], key=folds["key"]).values())
    assert sorted(sizes.values()) == [13] * 5


def test_other_splits_are_refused(tmp_path):
    (tmp_path / "splits.json").write_text("{}", "utf-8")
    with pytest.raises(SettingError, match=r"splits\.json must have the SHA-256 .* that the protocol names"):
        check_data(Protocol.read(PATH), tmp_path)


def test_a_protocol_without_a_part_is_refused(tmp_path):
    (tmp_path / "p.json").write_text("{}", "utf-8")
    with pytest.raises(SettingError, match="must hold name, data, folds"):
        Protocol.read(tmp_path / "p.json")


def test_a_protocol_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SettingError, match=r"none\.json cannot be read"):
        protocol_hash(tmp_path / "none.json")
