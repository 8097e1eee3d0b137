"""What is said of one scan: predicted Dice, intervals, verdict; and when nothing is said."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segtrust.errors import ModelError, SettingError
from segtrust.models import open_version, shipped_models_dir
from segtrust.quality import (
    ContourRule,
    Contours,
    ExpectedStructures,
    FineRule,
    Margins,
    NeededMargins,
    Quality,
    QualityCase,
    RimTotals,
    StructureTruth,
    fine_limit,
    fit_quality,
    logit_dice,
)
from segtrust.quality.line_scores import line_scores
from segtrust.scores import ScanScores, StructureScores

RULE = FineRule(dice=0.8, risk=0.05)


def details(confidence, entropy=0.2):
    return StructureScores(entropy, 0.05, 0.1, confidence, None)


def scores(confidence, entropy=0.2):
    one = details(confidence, entropy)
    return ScanScores(entropy, 0.05, 0.3, 0.1, confidence, confidence, 0.1, {1: entropy}, {1: one})


EMPTY = ScanScores(None, None, 0.0, None, None, None, 0.0, {1: None}, {1: StructureScores(*[None] * 5)})


def cohort(n, seed=0, spread=0.02):
    """Scans whose confidence is their Dice, about .9, and a worsened copy of each with a Dice of .3 to .7."""
    draw = np.random.default_rng(seed)
    cases = []
    for i in range(n):
        for ordinary, dice in ((True, 0.9 + spread * draw.uniform(-1, 1)), (False, draw.uniform(0.3, 0.7))):
            confidence = dice + 0.01 * draw.uniform(-1, 1)
            cases.append(
                QualityCase(
                    subject=f"s{i:02d}",
                    ordinary=ordinary,
                    scores=scores(confidence),
                    features={"brightness": tuple(draw.normal(size=3)), "ensemble": (confidence,)},
                    truth={
                        1: StructureTruth(dice, math.exp(0.1 * draw.normal()), 0.5 * draw.uniform(0.8, 1.2))
                    },
                    rim=RimTotals(np.ones((2, 20)), np.full((2, 20), 0.1)) if ordinary else None,
                )
            )
    return cases


TYPICAL = {"brightness": (0.0, 0.0, 0.0), "ensemble": (0.9,)}
ODD_IMAGE = {"brightness": (9.0, 9.0, 9.0), "ensemble": (0.9,)}
STRANGE = {"brightness": (9.0, 9.0, 9.0), "ensemble": (0.1,)}


@pytest.fixture(scope="module")
def quality():
    return fit_quality(cohort(20), [1])


def test_predicted_dice_follows_the_score_and_lies_inside_its_interval(quality):
    for confidence in (0.4, 0.6, 0.9):
        said = quality.assess(scores(confidence), TYPICAL, RULE).structures[1]
        assert said.predicted_dice == pytest.approx(confidence, abs=0.02)
        low, high = said.dice_interval
        assert low < said.predicted_dice < high


def test_volume_and_border_have_intervals_around_what_was_seen(quality):
    said = quality.assess(scores(0.9), TYPICAL, RULE).structures[1]
    assert said.volume_factors[0] < 1 < said.volume_factors[1]
    assert said.border_interval_mm[0] < 0.5 < said.border_interval_mm[1]


def test_a_good_scan_is_probably_fine_and_a_bad_one_needs_a_look(quality):
    assert quality.assess(scores(0.9), TYPICAL, RULE).structures[1].verdict == "probably fine"
    assert quality.assess(scores(0.5), TYPICAL, RULE).structures[1].verdict == "needs a look"


def test_a_scan_unlike_the_calibration_scans_gets_neither_interval_nor_bound(quality):
    assessment = quality.assess(scores(0.9), STRANGE, RULE)
    said = assessment.structures[1]
    assert assessment.is_unlike
    assert said.verdict == "needs a look"
    assert said.predicted_dice is not None
    assert (said.dice_interval, said.volume_factors, said.border_interval_mm) == (None, None, None)


def test_a_scan_with_an_odd_image_alone_gets_the_widest_intervals_and_no_verdict(quality):
    usual = quality.assess(scores(0.9), TYPICAL, RULE)
    assessment = quality.assess(scores(0.9), ODD_IMAGE, RULE)
    assert (usual.likeness, usual.width) == ("like", "usual")
    assert (assessment.likeness, assessment.width) == ("somewhat unlike", "widest")
    said = assessment.structures[1]
    line = quality.lines[1]["dice"]
    low, high = line.spread({"soft_dice_confidence": logit_dice(0.9)})
    far = max(line.residuals)
    assert said.dice_interval == pytest.approx([1 / (1 + math.exp(-e)) for e in (low - far, high + far)])
    assert said.verdict == "needs a look"
    assert "one in 21 misses" in assessment.interval_statement
    assert "at most 2.1 times as common" in assessment.interval_statement
    assert "at most 10 % of scans like" in usual.interval_statement


def test_a_version_fitted_before_grades_its_scans_from_what_it_keeps(quality):
    before = Quality.from_json(quality.to_json())
    assert before.assess(scores(0.9), ODD_IMAGE, RULE).likeness == "somewhat unlike"


def test_without_intervals_nothing_is_said_of_them():
    assert fit_quality(cohort(5), [1]).assess(scores(0.9), TYPICAL, RULE).interval_statement is None


def test_contours_are_withheld_for_an_unlike_scan_and_absent_without_margins(quality):
    rule = ContourRule(0.9, 1.0)
    assert quality.assess(scores(0.9), TYPICAL, RULE, rule).contours is None  # as in older versions
    assert "contours" not in quality.to_json()
    rows = tuple(NeededMargins((1.0,) * 3, (2.0,) * 3) for _ in range(20))
    knowing = replace(quality, contours=Contours({1: rows}))
    margins = knowing.assess(scores(0.9), TYPICAL, RULE, rule).contours
    assert margins.each == {1: Margins(1.0, 2.0, 20)}
    assert knowing.assess(scores(0.9), STRANGE, RULE, rule).contours is None
    assert knowing.assess(scores(0.9), ODD_IMAGE, RULE, rule).contours is None  # they did not pass the rule
    assert Quality.from_json(knowing.to_json()) == knowing


def test_margins_are_fitted_to_scans_as_they_are_and_not_to_worsened_copies():
    cases = [
        replace(
            case,
            truth={
                1: replace(
                    case.truth[1], margins=NeededMargins((i + 100.0 * (not case.ordinary),) * 3, (0.0,) * 3)
                )
            },
        )
        for i, case in enumerate(cohort(12))
    ]
    rows = fit_quality(cases, [1]).contours.needed[1]
    assert sorted(row.outer[0] for row in rows) == [float(i) for i in range(0, 24, 2)]


def test_an_empty_prediction_needs_a_look_and_has_no_predicted_dice(quality):
    said = quality.assess(EMPTY, {"brightness": (0.0, 0.0, 0.0)}, RULE).structures[1]
    assert (said.verdict, said.predicted_dice, said.dice_interval) == ("needs a look", None, None)


@pytest.mark.parametrize(("subjects", "given"), [(28, False), (29, True)])
def test_confident_intervals_take_29_patients_and_hold_the_usual_ones(subjects, given):
    cases = [case for case in cohort(subjects) if case.ordinary]
    assessment = fit_quality(cases, [1]).assess(scores(0.9), TYPICAL, RULE)
    said = assessment.structures[1]
    assert (said.confident is not None) is given
    if not given:
        assert assessment.confident_statement == (
            "Intervals that hold for 95 % of calibration sets take at least 29 patients that have the "
            "structure; there are 28 patients."
        )
        return
    for wide, usual in (
        (said.confident.dice, said.dice_interval),
        (said.confident.volume_factors, said.volume_factors),
        (said.confident.border_mm, said.border_interval_mm),
    ):
        assert wide[0] <= usual[0] < usual[1] <= wide[1]
    line = fit_quality(cases, [1]).lines[1]["volume"]
    far = max(line.residuals)
    assert said.confident.volume_factors == pytest.approx(
        [math.exp(line.spread({})[0] - far), math.exp(line.spread({})[1] + far)]
    )
    assert "For 95 % of calibration sets" in assessment.confident_statement


def test_a_scan_with_an_odd_image_has_no_confident_interval_and_the_confidence_can_be_chosen(quality):
    cases = [case for case in cohort(29) if case.ordinary]
    fitted = fit_quality(cases, [1])
    odd = fitted.assess(scores(0.9), ODD_IMAGE, RULE)
    assert (odd.width, odd.structures[1].confident, odd.confident_statement) == ("widest", None, None)
    twenty = quality.assess(scores(0.9), TYPICAL, RULE, confidence=0.8)  # 1 - .9 ** 20 = .88
    assert twenty.structures[1].confident is not None
    assert "For 80 % of calibration sets" in twenty.confident_statement


@pytest.fixture(scope="module")
def constant():
    """Of scans that no score tells apart."""
    return fit_quality([replace(case, scores=scores(0.9)) for case in cohort(20)], [1])


def test_a_structure_that_was_not_found_has_no_interval_though_a_constant_would_give_one(constant):
    assert {line.line.score for line in constant.lines[1].values()} == {"constant"}
    usual = constant.assess(scores(0.9), TYPICAL, RULE).structures[1]
    assert None not in (usual.dice_interval, usual.volume_factors, usual.border_interval_mm)
    assert usual.no_interval is None
    missed = constant.assess(EMPTY, TYPICAL, RULE).structures[1]
    assert (missed.predicted_dice, missed.dice_interval, missed.volume_factors) == (None,) * 3
    assert (missed.verdict, missed.no_interval) == ("needs a look", "It was not found in this scan.")


SCORE = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 1)


@pytest.mark.parametrize("of", ["quality", "constant"])
@settings(max_examples=60, deadline=None)
@given(
    st.lists(SCORE, min_size=5, max_size=5),
    st.dictionaries(
        st.sampled_from(["brightness", "ensemble"]),
        st.lists(SCORE.filter(lambda v: v is not None), max_size=3),
    ),
)
def test_no_number_that_is_none_reaches_an_interval_or_a_verdict(request, of, values, numbers):
    fitted = request.getfixturevalue(of)
    scan = replace(scores(0.9), details={1: StructureScores(*values)})
    features = {name: tuple(own) for name, own in numbers.items()}
    assessment = fitted.assess(scan, features, RULE)
    said = assessment.structures[1]
    ends = [e for e in (said.dice_interval, said.volume_factors, said.border_interval_mm) if e is not None]
    assert not any(math.isnan(end) for interval in ends for end in interval)
    assert all(0 <= low <= high for low, high in ends)
    finite = [v for v in values if v is not None]
    if values[0] is None or not np.isfinite(finite).all():
        assert (ends, said.predicted_dice, said.verdict) == ([], None, "needs a look")
        assert said.no_interval
    if assessment.unlikeness.undefined:
        assert (ends, assessment.contours, said.verdict) == ([], None, "needs a look")
        assert assessment.interval_statement.startswith("No interval")


def test_calibration_scans_without_a_number_take_no_part_in_a_line():
    cases = cohort(20)
    broken = replace(
        cases[0],
        scores=scores(math.nan),
        truth={1: StructureTruth(math.nan, math.nan, math.inf)},
    )
    assert len(fit_quality([broken, *cases[1:]], [1]).lines[1]["volume"].held_out) == 19
    assert StructureTruth(0.5, math.nan, math.inf).targets() == {"dice": 0, "volume": None, "border": None}


@pytest.mark.parametrize("dice", [1.0, 0.9999, 0.0], ids=["perfect", "nearly", "wrong"])
def test_intervals_of_scans_that_are_all_alike_hold_the_next_one(dice):
    truth = StructureTruth(dice, 0.0 if dice == 0 else 30.0, 0.0)
    cases = [replace(case, truth={1: truth}) for case in cohort(12) if case.ordinary]
    said = fit_quality(cases, [1]).assess(scores(0.9), TYPICAL, RULE).structures[1]
    for (low, high), true in (
        (said.dice_interval, dice),
        (said.volume_factors, truth.volume_ratio),
        (said.border_interval_mm, 0.0),
    ):
        assert low <= true <= high
    assert said.dice_interval[dice > 0.5] == float(dice > 0.5)  # the end at the clip is open


@pytest.mark.parametrize("rule", [(0.005, 0.05), (0.999, 0.05), (0.8, 1.0)])
def test_a_limit_that_the_clip_cannot_tell_apart_is_refused(rule):
    with pytest.raises(SettingError, match=r"`fine_dice` must lie between 0\.005 and 0\.995"):
        FineRule(*rule)


def test_the_statement_says_exactly_what_is_bounded(quality):
    assert quality.assess(scores(0.9), TYPICAL, RULE).statement == (
        "Of scans like those of the 20 calibration subjects, at most 5 % have a structure that is called "
        '"probably fine" and has a Dice below 0.8. This holds for each structure by itself, on average over '
        "calibration sets."
    )


@pytest.mark.parametrize(
    ("subjects", "risk", "given"), [(18, 0.05, False), (19, 0.05, True), (12, 0.1, True)]
)
def test_the_verdict_is_withheld_where_too_few_subjects_allow_it(subjects, risk, given):
    assessment = fit_quality(cohort(subjects), [1]).assess(scores(0.9), TYPICAL, FineRule(0.8, risk))
    assert (assessment.structures[1].verdict is not None) is given
    assert (assessment.statement is not None) is given


def test_five_subjects_allow_the_excess_only_and_four_nothing():
    five = fit_quality(cohort(5), [1])
    assert (five.usual is not None, five.typical, five.lines) == (True, None, {1: {}})
    said = five.assess(scores(0.9), TYPICAL, RULE)
    assert (said.structures[1].predicted_dice, said.structures[1].verdict, said.unlikeness) == (None,) * 3
    assert fit_quality(cohort(4), [1]) is None


def test_bad_calibration_scans_raise_the_limit():
    cases = cohort(19, spread=0.15)  # Dice from .75 to 1
    line = fit_quality(cases, [1]).lines[1]["dice"]
    bad = [p for ((p, truth),) in line.held_out if truth < logit_dice(0.8)]
    assert fine_limit(line, RULE) == max(bad)  # 5 % of twenty: not one of the nineteen may pass
    assert fine_limit(line, FineRule(0.8, 0.1)) == sorted(bad)[-2]  # one may


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_over_all_choices_of_the_new_subject_bad_ones_are_called_fine_as_rarely_as_promised(seed):
    cases = cohort(12, seed=seed, spread=0.2)
    rule, wrong = FineRule(0.9, 0.15), 0
    for subject in {case.subject for case in cases}:
        new = next(case for case in cases if case.subject == subject and case.ordinary)
        fitted = fit_quality([case for case in cases if case.subject != subject], [1])
        fine = fitted.assess(new.scores, new.features, rule).structures[1].verdict == "probably fine"
        wrong += fine and new.truth[1].dice < rule.dice
    assert wrong <= 0.15 * 12


def test_it_survives_json_and_a_strange_document_is_refused(quality):
    again = Quality.from_json(quality.to_json())
    assert again == quality
    assert again.assess(scores(0.9), TYPICAL, RULE) == quality.assess(scores(0.9), TYPICAL, RULE)
    with pytest.raises(ModelError, match="must have structures and subjects"):
        Quality.from_json({"subjects": 3})


def test_a_structure_that_nobody_has_gives_no_row():
    cases = cohort(12)
    absent = [
        QualityCase(
            c.subject, c.ordinary, EMPTY, c.features, {1: StructureTruth(math.nan, None, None)}, c.rim
        )
        for c in cases
    ]
    assert fit_quality(absent, [1]).lines == {1: {}}


# --- what versions keep -----------------------------------------------------------------------------------


def written_by(schema):
    """A version whose Dice follows the members' agreement."""
    lines = [["pairwise_dice", 1.0, 0.0]] * 3
    line = {"line": lines[0], "without": lines[1:], "held_out": [[[0.0, 0.0]]] * 2}
    document = {"subjects": 2, "structures": {"1": {"dice": line}}}
    return document if schema is None else {**document, "schema": schema}


AGREEING = StructureScores(0.2, 0.05, 0.1, 0.9, 0.6, pooled_pairwise_dice=0.8)


@pytest.mark.parametrize(("schema", "agreement"), [(None, 0.8), (1, 0.8), (2, 0.6)])
def test_a_version_fitted_on_the_pooled_dice_goes_on_with_it(schema, agreement):
    line = Quality.from_json(written_by(schema)).lines[1]["dice"]
    predicted = [one.at(line_scores(AGREEING)) for one in (line.line, *line.without)]
    assert predicted == [pytest.approx(logit_dice(agreement))] * 3


def test_a_version_read_from_an_older_release_says_so_when_it_is_written():
    again = Quality.from_json(written_by(None)).to_json()
    assert Quality.from_json(again) == Quality.from_json(written_by(None))


def test_a_version_of_a_newer_release_is_refused():
    with pytest.raises(ModelError, match="must have the schema 1 or 2, got 3"):
        Quality.from_json(written_by(3))


def test_the_lines_of_the_shipped_version_mean_what_they_were_fitted_on():
    document = open_version(shipped_models_dir() / "hippocampus").calibration["quality"]
    old = document.get("schema", 1) == 1
    for value, fitted in document["structures"].items():
        for target, line in fitted.items():
            stored, read = line["line"][0], Quality.from_json(document).lines[int(value)][target].line.score
            assert read == ("pooled_pairwise_dice" if old and stored == "pairwise_dice" else stored)


def test_sizes_of_the_calibration_scans_complete_the_doubt():
    def sized(case, index):
        one = replace(case.scores.details[1], size=1000.0 + index)
        truth = {1: replace(case.truth[1], volume_ml=1.0)}
        return replace(case, scores=replace(case.scores, details={1: one}), truth=truth)

    quality = fit_quality([sized(case, i) for i, case in enumerate(cohort(12))], [1])
    assert quality.expected.unit == "mm3"
    assert quality.expected.sizes[1] == tuple(1000.0 + 2 * i for i in range(12))  # no worsened copies
    assert quality.completed(EMPTY).doubt == 1.0
    assert Quality.from_json(quality.to_json()).expected == quality.expected
    assert replace(quality, expected=None).completed(EMPTY) is EMPTY


def test_without_known_spacings_sizes_are_in_voxels():
    assert fit_quality(cohort(12), [1]).expected == ExpectedStructures({1: (None,) * 12}, "voxels")
