"""Which patient a scan belongs to: tables as people write them, and what is refused with the row's number."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrust.adapters import find_cases
from segtrust.cli import main
from segtrust.errors import SettingError
from segtrust.files.subjects import read_subject_table
from segtrust.release.cohort import subjects_of
from segtrust.training.cases import read_subjects
from volume_folders import write_cohort

PLAIN = "case,subject\nh007,S1\nh008,S1\nh017,S2\n"
SCANS = ("h007", "h008", "h017")
OWNERS = {"h007": "S1", "h008": "S1", "h017": "S2"}


def table(folder, content, encoding="utf-8"):
    path = folder / "subjects.csv"
    path.write_bytes(content.encode(encoding))
    return path


def by_conf(path, scans):
    return subjects_of(scans, rule=str(path))


def by_data_folder(path, scans):
    (path.parent / "images").mkdir()
    for scan in scans:
        (path.parent / "images" / f"{scan}.nii.gz").touch()
    return read_subjects(path.parent)


def by_labels(path, scans):
    pred, labels = path.parent / "pred", path.parent / "labels"
    pred.mkdir()
    labels.mkdir()
    for scan in scans:
        (labels / f"{scan}.nii.gz").touch()
        (pred / f"{scan}.nii.gz").touch()
    cases = find_cases([pred], labels, subjects=read_subject_table(path)).cases
    return {files.id: files.subject for files in cases}


DOORS = pytest.mark.parametrize("door", [by_conf, by_data_folder, by_labels])


@DOORS
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"], ids=["comma", "semicolon", "tab", "bar"])
def test_every_door_reads_what_spreadsheets_write(door, encoding, delimiter, tmp_path):
    path = table(tmp_path, PLAIN.replace(",", delimiter).replace("\n", "\r\n"), encoding)
    assert door(path, SCANS) == OWNERS


@DOORS
def test_a_name_in_windows_own_encoding_is_read(door, tmp_path):
    path = table(tmp_path, "case;subject\nh007;Müller\nh008;Müller\nh017;Éva\n", "cp1252")
    assert door(path, SCANS) == {"h007": "Müller", "h008": "Müller", "h017": "Éva"}


@DOORS
@pytest.mark.parametrize(
    "text",
    [
        " Case , SUBJECT \nh007,S1\nh008, S1\nh017 ,S2 \n",
        'sep=,\n"case","subject"\n"h007","S1"\n"h008","S1"\n"h017","S2"\n',
        "nr,subject,site,case\n1,S1,x,h007\n2,S1,x,h008\n3,S2,x,h017\n",
        "\ncase,subject\nh007,S1\n\nh008,S1\nh017,S2\n\n",
        "case,subject\nh007.nii.gz,S1\nh008.NII.GZ,S1\nh017.nii,S2\n",
        "case,subject\nimages/h007.nii.gz,S1\nC:\\data\\h008.nrrd,S1\nh017_0000.nii.gz,S2\n",
        "case,subject,\nh007,S1,\nh008,S1,\nh017,S2\n",
    ],
    ids=["spaces", "Excel's own line", "other columns", "blank lines", "endings", "paths", "empty column"],
)
def test_every_door_takes_what_people_write(door, text, tmp_path):
    assert door(table(tmp_path, text), SCANS) == OWNERS


@DOORS
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case,subject\nh007,\nh008,\nh017,\n", r"row 2 of subjects\.csv must have a subject, got ''"),
        ("case,subject\nh007,S1\nh008,nan\nh017,S2\n", r"row 3 .* must have a subject, got 'nan'"),
        ("case,subject\nh007\nh008\nh017\n", r"row 2 of subjects\.csv must have a subject"),
        ("case,subject\nh007,S1\n\n,S1\nh017,S2\n", r"row 4 of subjects\.csv must have a case"),
        ("case,subject\nh007,S1\nh008,S1\n,\nh017,S2\n", r"row 4 of subjects\.csv must have a case"),
        (PLAIN + "h007,S9\n", r"once, got 'h007' in rows 2 and 5"),
        (PLAIN + "h007.nii.gz,S1\n", r"once, got 'h007\.nii\.gz' in rows 2 and 5"),
        (PLAIN + "h007_0000,S1\n", r"once, got 'h007_0000' in rows 2 and 5"),
        ("case,subject\nh007,Doe, Ann\nh008,S1\nh017,S2\n", r"row 2 .* must have 2 cells .* got 3"),
        (
            "case,subject\nh007,S1\nh8,S1\nh017,S2\n",
            r"no scan has the id of row 3 \('h8'\).*no row for 'h008'",
        ),
        ("case,subject\nH007,S1\nh008,S1\nh017,S2\n", r"no scan has the id of row 2 \('H007'\)"),
        ("scan,patient\nh007,S1\n", r"columns case and subject, each once, got 'scan, patient'"),
        ("case,subject,case\nh007,S1,x\n", r"columns case and subject, each once"),
        ("case,subject\n", r"must have a row for each scan"),
        ("", r"got an empty file"),
        ('case,subject\nh007,"S1\nh008,S1\n', r"must be a table .* but line 3"),
        ("PK\x03\x04\x00\x00", r"Is it a workbook\?"),
    ],
    ids=[
        "no subjects",
        "subject nan",
        "short rows",
        "no case",
        "empty row",
        "id twice",
        "id twice, once with its ending",
        "id twice, once as nnU-Net has it",
        "separator in a name",
        "id of no scan",
        "id in capitals",
        "other columns",
        "column twice",
        "no rows",
        "empty",
        "open quote",
        "workbook",
    ],
)
def test_every_door_refuses_what_could_mix_patients_up(door, text, message, tmp_path):
    with pytest.raises(SettingError, match=message):
        door(table(tmp_path, text), SCANS)


@DOORS
def test_a_table_of_the_whole_archive_serves_a_part_of_it(door, tmp_path):
    assert door(table(tmp_path, PLAIN + "h023,S3\n"), SCANS) == OWNERS


@DOORS
def test_a_scan_whose_patient_is_not_known_needs_no_row(door, tmp_path):
    assert "S3" not in door(table(tmp_path, PLAIN), (*SCANS, "h099")).values()


def test_what_the_table_leaves_open_is_said(tmp_path):
    assert read_subject_table(table(tmp_path, PLAIN)).remarks((*SCANS, "h099")) == (
        "subjects.csv has no row for 'h099': each counts as a subject of its own.",
    )
    assert read_subject_table(tmp_path / "subjects.csv").remarks(SCANS[:2]) == (
        "1 of 3 rows of subjects.csv name scans that are not here.",
    )


def test_ids_that_are_uids_keep_all_their_digits(tmp_path):
    uids = ("1.2.840.10", "1.2.840.100", "1.2.840")
    path = table(tmp_path, "case,subject\n" + "".join(f"{uid},S{k}\n" for k, uid in enumerate(uids)))
    assert read_subject_table(path).owners(uids) == {uid: f"S{k}" for k, uid in enumerate(uids)}


def test_letters_that_macos_takes_apart_are_the_same(tmp_path):
    path = table(tmp_path, "case,subject\nMu\u0308ller,S1\n")
    assert read_subject_table(path).owners(["M\u00fcller"]) == {"M\u00fcller": "S1"}


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SettingError, match=r"there must be a CSV file .*none\.csv"):
        read_subject_table(tmp_path / "none.csv")


NO_SUBJECT = ("nan", "none", "null", "n/a", "#n/a")


@given(
    st.dictionaries(
        st.from_regex(r"[a-z0-9][a-z0-9._-]{0,12}[a-z0-9]", fullmatch=True).filter(
            lambda name: not name.endswith((".nii", ".nrrd", ".hdr", ".img", ".mha", "_0000"))
        ),
        st.text(st.characters(codec="cp1252", categories=("L", "N", "P")), min_size=1, max_size=8),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_what_was_written_is_what_is_read(tmp_path_factory, owners, delimiter, encoding):
    owners = {case: name for case, name in owners.items() if name.strip("\ufeff").lower() not in NO_SUBJECT}
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows([("case", "subject"), *owners.items()])
    path = table(tmp_path_factory.mktemp("t"), text.getvalue(), encoding)
    assert read_subject_table(path).owners(owners) == owners


@pytest.mark.parametrize("name", ["blanksubj", "short", "twice"])
def test_the_collected_faults_are_refused(name, cases_dir):
    with pytest.raises(SettingError, match=r"row"):
        read_subject_table(cases_dir / "13-subjects-csv" / f"{name}.csv").owners(["h007", "h008"])


def test_collected_ids_with_endings_mean_their_scans(cases_dir):
    scans = ("h007", "h008", "h017", "h023", "h024", "h039")
    folder = cases_dir / "13-subjects-csv"
    right = read_subject_table(folder / "ok.csv").owners(scans)
    assert len(right) == len(scans)
    assert read_subject_table(folder / "ext.csv").owners(scans) == right


@pytest.mark.parametrize("command", ["evaluate", "calibrate", "flag"])
def test_the_command_line_names_the_row(command, tmp_path, capsys):
    pred, labels = write_cohort(tmp_path, 2)
    path = table(tmp_path, "case,subject\nscan00,S1\nscan1,S1\n")
    words = [command, "--pred", str(pred), "--labels", str(labels), "--subjects", str(path)]
    assert main([*words, "--out", str(tmp_path / "out")]) == 1
    assert "row 3 ('scan1')" in capsys.readouterr().err
