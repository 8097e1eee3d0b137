"""What a strategy may know about a scan is made in one place, for the queue and for a replay."""

from hypothesis import given
from hypothesis import strategies as st

from segtrust.selection import make_candidate
from segtrust.store import BriefScore, ScoreKey, StoredScore

CODES = (
    "field_of_view", "intensity", "spacing_unknown", "unlike_calibration",  # these send a scan to check
    "somewhat_unlike_calibration", "structure_missing", "empty",
)  # fmt: skip
KEY = ScoreKey(scan_id="a", fingerprint="f", version_digest="v", settings_digest="s")


def stored(codes, score=0.5, error=None, **details):
    flags = tuple({"code": code, "text": code} for code in codes)
    return StoredScore(key=KEY, score=score, error=error, flags=flags, details=details)


@given(
    st.lists(st.sampled_from(CODES), unique=True), st.none() | st.floats(0, 1), st.none() | st.just("cut off")
)
def test_a_row_read_in_brief_gives_the_same_candidate_as_the_whole_row(codes, score, error):
    brief = BriefScore(score, error, tuple(codes), "f")
    assert make_candidate("a", "ann", brief) == make_candidate("a", "ann", stored(codes, score, error))


@given(st.lists(st.sampled_from(CODES), unique=True))
def test_every_flag_of_a_file_unlike_training_sends_the_scan_to_check_and_no_other_does(codes):
    unlike = set(codes) & set(CODES[:4])
    check = make_candidate("a", "ann", stored(codes)).check
    assert (check is not None) == bool(unlike)
    assert check is None or check.count(" and ") == len(unlike) - 1


def test_details_become_numbers_by_structure():
    row = stored((), class_scores={"1": 0.25}, foreground={"1": 7}, features=[0.5, 1.5])
    candidate = make_candidate("a", "ann", row)
    assert (candidate.class_scores, candidate.foreground) == ({1: 0.25}, {1: 7})
    assert candidate.features == (0.5, 1.5)


def test_a_scan_that_was_never_scored_has_nothing_to_check():
    candidate = make_candidate("a", "ann", None)
    assert (candidate.scored, candidate.score, candidate.check) == (False, None, None)
