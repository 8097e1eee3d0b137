"""Which scans a round uses: patients told apart, bad scans left out and why, no patient in two roles."""

import re

import nibabel as nib
import numpy as np
import pytest

from labelled_site import BALLS_AS_STORED, label_ball
from segtrust.errors import SettingError, TrainingError
from segtrust.release.cohort import describe_subjects, gather, subjects_of


def ids(scans):
    return [scan.id for scan in scans]


def relabel(scan, change):
    image = nib.load(scan.label)
    nib.save(nib.Nifti1Image(change(np.asarray(image.dataobj)), image.affine), scan.label)
    return scan


# --- patients ----------------------------------------------------------------------------------------------


def test_a_scan_of_which_nothing_is_known_is_a_patient_of_its_own():
    assert subjects_of(["a", "b"]) == {"a": "a", "b": "b"}


def test_dicom_says_whose_scan_it_is_where_it_can():
    assert subjects_of(["a", "b"], patient_of={"a": "ann"}.get) == {"a": "ann", "b": "b"}


def test_the_setting_wins_over_dicom_since_an_archive_may_call_everybody_the_same():
    found = subjects_of(["s1_a", "s1_b", "x"], rule=r"(s\d+)_", patient_of=lambda _: "ANON")
    assert found == {"s1_a": "s1", "s1_b": "s1", "x": "ANON"}


def test_a_csv_file_says_whose_scan_it_is(tmp_path):
    table = tmp_path / "subjects.csv"
    table.write_text("case,subject\na,ann\nb,ann\n")
    assert subjects_of(["a", "b", "c"], rule=str(table)) == {"a": "ann", "b": "ann", "c": "c"}


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("(", "CSV file or a regular expression"),
        ("abc", "must have a group"),
        ("no.csv", r"CSV file no\.csv with the col"),
    ],
    ids=["no expression", "no group", "no file"],
)
def test_a_rule_that_cannot_be_used_is_refused(rule, text):
    with pytest.raises(SettingError, match=text):
        subjects_of(["a"], rule=rule)


def test_a_csv_file_with_other_columns_is_refused(tmp_path):
    (tmp_path / "s.csv").write_text("id,patient\na,ann\n")
    with pytest.raises(SettingError, match="columns case and subject"):
        subjects_of(["a"], rule=str(tmp_path / "s.csv"))


def test_one_scan_one_patient_is_said_with_what_to_set():
    assert describe_subjects({"a": "a", "b": "b"}) == (
        "2 scans of 2 patients: one scan counts as one patient. "
        "If patients have several, say so with `subjects`."
    )
    assert describe_subjects({"a": "x", "b": "x", "c": "y"}) == "3 scans of 2 patients."


def test_an_archive_that_calls_everybody_the_same_is_noticed():
    said = describe_subjects({f"s{i}": "ANON" if i else "ann" for i in range(9)})
    assert said.startswith(
        "9 scans of 2 patients, 8 of them of one. If the archive calls different patients the"
    )


# --- scans -------------------------------------------------------------------------------------------------


def test_scans_are_sorted_by_role_and_volunteered_ones_are_trained_on(tmp_path):
    scans = [label_ball(tmp_path, name, name) for name in ("test", "calibration", "train", "volunteered")]
    cohort = gather(scans, BALLS_AS_STORED, {})
    assert [ids(part) for part in (cohort.train, cohort.calibration, cohort.test)] == [
        ["train", "volunteered"],
        ["calibration"],
        ["test"],
    ]
    assert (cohort.labels, cohort.left_out) == (4, {})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda label: label[:-1], r"has 10 x 9 x 8 voxels .* the label has 9 x 9 x 8 voxels"),
        (lambda label: label * 3, r"must hold 0 and \[1\], got \[3\] as well"),
        (lambda label: label * 0, "must mark a structure to be learnt from, got background only"),
    ],
    ids=["another size", "unknown value", "all background"],
)
def test_a_label_that_cannot_be_used_is_left_out_with_the_reason(tmp_path, change, reason):
    good, bad = label_ball(tmp_path, "good"), relabel(label_ball(tmp_path, "bad"), change)
    cohort = gather([good, bad], BALLS_AS_STORED, {})
    assert ids(cohort.train) == ["good"]
    assert list(cohort.left_out) == ["bad"]
    assert re.search(reason, cohort.left_out["bad"])


@pytest.mark.parametrize("which", ["image", "label"])
def test_a_file_that_is_cut_off_or_gone_is_left_out_with_the_reason(tmp_path, which):
    cut, gone = label_ball(tmp_path, "cut"), label_ball(tmp_path, "gone")
    getattr(cut, which).write_bytes(getattr(cut, which).read_bytes()[:100])
    getattr(gone, which).unlink()
    cohort = gather([cut, gone], BALLS_AS_STORED, {})
    assert "cannot be read" in cohort.left_out["cut"]
    assert "does not exist" in cohort.left_out["gone"]


def test_a_patient_in_two_roles_stays_in_the_one_that_was_learnt(tmp_path):
    roles = {"a": "volunteered", "b": "calibration", "c": "test"}
    scans = [label_ball(tmp_path, name, role, subject="ann") for name, role in roles.items()]
    cohort = gather(scans, BALLS_AS_STORED, {})
    assert (ids(cohort.train), cohort.calibration, cohort.test) == (["a"], (), ())
    assert set(cohort.left_out.values()) == {"its patient has scans in volunteered"}
    without = gather(scans[1:], BALLS_AS_STORED, {})
    assert (ids(without.calibration), without.test) == (["b"], ())
    assert without.left_out == {"c": "its patient has scans in calibration"}


def test_who_was_learnt_earlier_calibrates_no_more(tmp_path):
    scans = [label_ball(tmp_path, name, "calibration") for name in ("old", "new")]
    cohort = gather(scans, BALLS_AS_STORED, {"old": "an earlier version was trained on its patient"})
    assert ids(cohort.calibration) == ["new"]
    assert cohort.left_out == {"old": "an earlier version was trained on its patient"}


def test_a_scan_that_is_given_twice_is_refused(tmp_path):
    scan = label_ball(tmp_path, "a")
    with pytest.raises(TrainingError, match="given once"):
        gather([scan, scan], BALLS_AS_STORED, {})
