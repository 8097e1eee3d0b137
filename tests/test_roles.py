"""Roles: fixed by a keyed hash, the same for ever, and blind to what a scan looks like."""

import numpy as np
import pytest

from segtrust.errors import SettingError
from segtrust.roles import FRACTIONS, fold_of, patient_hash, role_of, role_used
from segtrust.store import StateStore

KEY = b"k" * 32


def test_shares_of_patients_are_those_asked_for():
    roles = [role_of(f"patient {i}", KEY) for i in range(4000)]
    for role, share in FRACTIONS.items():
        # standard deviation of a share: at most sqrt(.75 * .25 / 4000) = .0068
        assert roles.count(role) / 4000 == pytest.approx(share, abs=4 * 0.0068)


def test_the_role_follows_from_key_and_patient_alone():
    # HMAC-SHA256 of "role", a zero byte and "patient 7" under 32 letters k, as openssl computes it, begins
    # with the hexadecimal digits a4769da8, which is .6424 of the largest number of eight digits
    assert role_of("patient 7", KEY, {"train": 0.642, "test": 0.358}) == "test"
    assert role_of("patient 7", KEY, {"train": 0.643, "test": 0.357}) == "train"
    other = [role_of(f"patient {i}", b"another key") for i in range(200)]
    assert other != [role_of(f"patient {i}", KEY) for i in range(200)]


@pytest.mark.parametrize(
    "shares",
    [{"train": 0.5}, {"train": 1.5, "test": -0.5}, {"train": 0.5, "validation": 0.5}],
    ids=["sum", "negative", "unknown"],
)
def test_shares_that_are_none_are_refused(shares):
    with pytest.raises(SettingError, match="shares of roles must be 0 or more, sum to 1 and name train"):
        role_of("a", KEY, shares)


def test_folds_are_about_equal_and_say_nothing_about_roles():
    folds = np.array([fold_of(f"p{i}", KEY, 5) for i in range(2000)])
    calibration = np.array([role_of(f"p{i}", KEY) == "calibration" for i in range(2000)])
    assert np.bincount(folds).tolist() == pytest.approx([400] * 5, abs=4 * 18)  # sqrt(2000 * .2 * .8) = 18
    shares = [calibration[folds == fold].mean() for fold in range(5)]
    assert shares == pytest.approx([0.15] * 5, abs=4 * 0.018)  # sqrt(.15 * .85 / 400) = .018


def test_the_hash_of_a_patient_needs_the_key():
    assert patient_hash("ann", KEY) == patient_hash("ann", KEY) != patient_hash("ann", b"another")
    assert "ann" not in patient_hash("ann", KEY)


def test_only_a_scan_that_was_drawn_blindly_calibrates():
    assert role_used("calibration", ["entropy", "uniform"]) == "calibration"
    assert role_used("test", ["check", "held_out"]) == "test"
    assert role_used("test", []) == role_used("calibration", ["entropy"]) == "volunteered"
    assert role_used("train", ["entropy"]) == "train"


def test_no_patient_is_ever_in_two_roles_over_ten_rounds(tmp_path):
    # patients come back with new scans in later rounds; the server restarts in between
    rng, ever = np.random.default_rng(5), {}
    for round_ in range(10):
        store = StateStore(tmp_path / "state.sqlite")
        scans = {f"r{round_}s{i}": f"patient {rng.integers(60)}" for i in range(30)}
        for scan, role in store.fix_roles(scans).items():
            ever.setdefault(scans[scan], set()).add(role)
    assert len(ever) > 50
    assert all(len(roles) == 1 for roles in ever.values())
    assert {role for roles in ever.values() for role in roles} == set(FRACTIONS)


# --- a strategy that selects by difficulty -----------------------------------------------------------------


def labelled(strategy):
    """Difficulty of the calibration scans among 400 labels, and of all the 2000 scans of an archive."""
    difficulty = np.random.default_rng(11).gamma(2.0, 1.0, 2000)
    chosen = strategy(difficulty)
    return difficulty[chosen], difficulty


def calibration_first(difficulty):
    """Ours: a strategy ranks training scans; every fourth label is of a calibration scan, in hash order."""
    held = [i for i in range(len(difficulty)) if role_of(f"p{i}", KEY) == "calibration"]
    return sorted(held, key=lambda i: patient_hash(f"p{i}", KEY))[:100]


def share_of_the_selected(difficulty):
    """The tempting way: select the 400 hardest, then a hash decides which of them calibrate."""
    hardest = np.argsort(-difficulty)[:400]
    return [i for i in hardest if fold_of(f"p{i}", KEY, 4) == 0]


def standard_errors_apart(strategy):
    part, archive = labelled(strategy)
    return abs(part.mean() - archive.mean()) / (archive.std() / np.sqrt(len(part)))


def test_calibration_scans_are_as_difficult_as_the_archive():
    assert standard_errors_apart(calibration_first) < 2.5


def test_a_hash_share_of_selected_scans_is_not_as_difficult_as_the_archive():
    assert standard_errors_apart(share_of_the_selected) > 10
