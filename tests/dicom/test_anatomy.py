"""Codes of structures and body parts."""

import pytest

from segtrust.dicom import anatomy, structure_codes


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("spleen", "78961009", None),
        ("Liver", "10200004", None),
        ("anterior hippocampus", "5366008", "Anterior"),
        ("posterior hippocampus", "5366008", "Posterior"),
    ],
)
def test_names_that_leave_no_doubt_have_standard_codes(name, value, part):
    got = structure_codes(name)
    assert (got.type.scheme_designator, got.type.value) == ("SCT", value)
    assert (got.modifier and got.modifier.meaning) == part


@pytest.mark.parametrize(
    "name", ["back", "front", "anterior", "posterior", "left kidney", "lesion", "Ödem", "x" * 80]
)
def test_other_names_get_private_codes_that_fit(name):
    code = structure_codes(name).type
    assert code.scheme_designator == "99SEGTRUST"
    assert 1 <= len(code.value) <= 16
    assert code.meaning == name[:64]


def test_long_names_that_begin_alike_have_different_codes():
    first, second = (structure_codes(f"a long name of a structure, part {k}").type.value for k in (1, 2))
    assert first != second


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("BRAIN", {"12738006"}),
        ("ABDOMEN", {"113345001", "818981001"}),  # DICOM 2020 took another concept
        ("CHEST", {"51185008", "816094009"}),
        ("SPLEEN", {"78961009"}),
    ],
)
def test_regions_have_the_code_of_the_edition_of_dicom_that_is_installed(word, values):
    code = anatomy.anatomic_region(word)
    assert code.value in values
    assert code.meaning.upper() == word
