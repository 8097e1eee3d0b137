"""Paired differences of two sets of records."""

import math

import pytest

from measured import made_record, made_set
from segtrust.errors import SettingError
from segtrust.evaluate.compare import compare_records, comparison_table


def differences(a, b, **options):
    return {(d.figure, d.where): d for d in compare_records(a, b, **options).differences}


def test_nll_difference_by_hand():
    # the same in every scan: two voxels of .9 against .8 among 20
    a, b = (made_set([made_record(i, p) for i in range(30)]) for p in (0.9, 0.8))
    found = differences(a, b)["nll", "volume"]
    assert found.difference.value == pytest.approx(2 * (math.log(0.9) - math.log(0.8)) / 20, abs=1e-6)
    # alike in all subjects: no spread
    assert found.difference.low == pytest.approx(found.difference.high, abs=1e-9)


def test_dice_difference_by_hand():
    # predicted 2 and 3 in both; labelled 2 and 3 (Dice 1) against 2 and 19 (Dice 1/2) in the second scan
    a = made_set([made_record(0, 0.9), made_record(1, 0.9)])
    b = made_set([made_record(0, 0.9), made_record(1, 0.9, reference=(2, 19))])
    assert differences(a, b)["dice", "front"].difference.value == pytest.approx(-0.25)


def test_a_set_does_not_differ_from_itself_in_any_order():
    records = [made_record(i, 0.5 + 0.1 * (1 + i % 4)) for i in range(30)]
    for d in compare_records(made_set(records), made_set(records[::-1])).differences:
        assert (d.difference.value, d.difference.low, d.difference.high) == (0, 0, 0)


def test_swapping_the_sets_turns_every_difference():
    a = made_set([made_record(i, 0.6 + 0.1 * (i % 4)) for i in range(30)])
    b = made_set([made_record(i, 0.55 + 0.1 * (i % 3)) for i in range(30)])
    forth, back = differences(a, b), differences(b, a)
    for key, d in forth.items():
        other = back[key].difference
        assert d.difference.value == pytest.approx(-other.value, abs=1e-12)
        assert d.difference.low == pytest.approx(-other.high, abs=1e-12)


def test_both_sets_see_the_same_draw_of_subjects():
    # scans differ a lot from each other, and the sets by little: unpaired intervals would be wide
    a = made_set([made_record(i, 0.6 + 0.1 * (i % 4)) for i in range(30)])
    b = made_set([made_record(i, 0.61 + 0.1 * (i % 4)) for i in range(30)])
    found = differences(a, b)["nll", "volume"].difference
    assert found.high < 0


def test_another_protocol_is_refused():
    a = made_set([made_record(0, 0.9)])
    with pytest.raises(SettingError, match="must be of one protocol, got aaaaaaaaaaaa and bbbbbbbbbbbb"):
        compare_records(a, made_set([made_record(0, 0.9)], protocol="b" * 64))


def test_other_scans_are_refused_and_named():
    a = made_set([made_record(0, 0.9), made_record(1, 0.9)])
    with pytest.raises(SettingError, match=r"same scans of the same subjects, got 2 and 1 .* in 1: scan1"):
        compare_records(a, made_set([made_record(0, 0.9)]))


def test_other_subjects_are_refused():
    a, b = made_set([made_record(0, 0.9)]), made_set([made_record(0, 0.9, subject="x")])
    with pytest.raises(SettingError, match="same scans of the same subjects"):
        compare_records(a, b)


def test_an_unknown_system_is_named_with_the_known_ones():
    a = made_set([made_record(0, 0.9)])
    with pytest.raises(SettingError, match="one of ensemble, got 'best'"):
        compare_records(a, a, systems=("best", None))


def test_regions_of_other_size_are_pointed_out():
    a, b = made_set([made_record(0, 0.9)]), made_set([made_record(0, 0.4)])  # nothing predicted: no band
    comparison = compare_records(a, b)
    assert comparison.other_voxels == ("band", "outside")
    assert "Not the same voxels in both sets: band, outside." in comparison_table(comparison)


def test_the_table_marks_what_leaves_out_zero():
    a, b = (made_set([made_record(i, p) for i in range(30)]) for p in (0.9, 0.8))
    table = comparison_table(compare_records(a, b))
    assert "| nll, nats | volume | 0.0105 | 0.0223 | +0.0118 (+0.0118 to +0.0118)* |" in table
    assert "| dice | mean | 1.0000 | 1.0000 | +0.0000 (+0.0000 to +0.0000) |" in table


def test_too_few_subjects_leave_a_difference_without_interval_or_mark():
    a, b = (made_set([made_record(i, p) for i in range(29)]) for p in (0.9, 0.8))
    table = comparison_table(compare_records(a, b))
    assert "| nll, nats | volume | 0.0105 | 0.0223 | +0.0118 (n too small) |" in table
    assert "*" not in table.split("\n", 1)[1]


def test_surfaces_by_hand():
    # predicted 2 and 3; labelled 2 and 3, against 2 and 19: the way back is 0 and 16, 95th percentile 15.2 mm
    a = made_set([made_record(0, 0.9), made_record(1, 0.9)])
    b = made_set([made_record(0, 0.9), made_record(1, 0.9, reference=(2, 19))])
    found = differences(a, b)
    assert found["hd95", "front"].difference.value == pytest.approx(15.2 / 2)
    assert found["surface_dice", "mean"].difference.value == pytest.approx(-0.25 / 2)
    assert "| hd95, mm | front | 0.0000 | 7.6000 | +7.6000 (" in comparison_table(compare_records(a, b))


def test_surfaces_are_compared_in_scans_where_both_sets_have_a_number():
    a = made_set([made_record(0, 0.9), made_record(1, 0.9), made_record(2, 0.9)])
    b = made_set([made_record(0, 0.9), made_record(1, 0.4), made_record(2, 0.9, spacing=None)])
    found = differences(a, b)
    assert ("hd95", "front, n = 1") in found  # the second has no prediction, the third no millimetres
    assert found["surface_dice", "front, n = 2"].difference.value == pytest.approx(-0.5)
    nothing = made_set([made_record(0, 0.9, spacing=None)])
    assert not [name for name, _ in differences(nothing, nothing) if name in ("hd95", "surface_dice")]
