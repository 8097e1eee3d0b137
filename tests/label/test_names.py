"""Names that a reader sees."""

import pytest

from segtrust.errors import SettingError
from segtrust.label.failures import LabelError
from segtrust.label.names import (
    app_labels,
    band_colours,
    band_labels,
    band_texts,
    combined_labels,
    contour_labels,
    is_band,
    refuse_partial,
)

EDGES = (0.05, 0.2, 1 / 3)


def test_bands_are_said_as_a_radiologist_reads_them():
    assert band_texts(EDGES) == ("1 in 20 to 1 in 5", "1 in 5 to 1 in 3", "above 1 in 3")


def test_an_edge_that_is_no_round_share_keeps_one_digit():
    assert band_texts((0.1, 0.3, 0.4)) == ("1 in 10 to 1 in 3.3", "1 in 3.3 to 1 in 2.5", "above 1 in 2.5")


def test_band_values_are_contiguous_from_one():
    assert list(band_labels(EDGES).values()) == [1, 2, 3]


def test_names_of_two_models_differ():
    assert not set(band_labels(EDGES, "heart")) & set(band_labels(EDGES, "hippocampus"))


@pytest.mark.parametrize("model", ["", "heart"])
def test_every_band_is_known_as_one_also_in_other_case(model):
    assert all(is_band(name) and is_band(f" {name.upper()}") for name in band_labels(EDGES, model))
    assert not is_band("anterior")


def test_bands_come_before_structures():
    labels = app_labels([{"band": 1}], [{"anterior": 1, "posterior": 2}, {"anterior": 1}])
    assert labels == ["band", "anterior", "posterior"]


def test_colours_get_darker_with_the_chance():
    light, middle, dark = (sum(rgb) for rgb in band_colours(band_labels(EDGES)).values())
    assert light > middle > dark


STRUCTURES = {"front": 1, "back": 2}


def test_values_of_the_combined_view_are_contiguous():
    labels = combined_labels(STRUCTURES, band_labels(EDGES))
    assert list(labels.values()) == [1, 2, 3, 4, 5]
    assert [is_band(name) for name in labels] == [False, False, True, True, True]


@pytest.mark.parametrize("write", [str, str.upper, "{}_1".format], ids=["as is", "upper case", "numbered"])
def test_a_sure_part_is_refused_however_a_viewer_wrote_it(write):
    sure = next(iter(combined_labels(STRUCTURES, {})))
    with pytest.raises(LabelError, match=r"without their uncertain voxels.*Delete them"):
        refuse_partial(["back", write(sure)])


def test_structures_and_bands_are_no_sure_parts():
    refuse_partial([*STRUCTURES, *band_labels(EDGES)])


def test_more_labels_than_ohif_can_number_are_refused():
    many = [{f"structure {k}": k for k in range(256)}]
    assert len(app_labels([], [{f"structure {k}": k for k in range(255)}])) == 255
    with pytest.raises(SettingError, match=r"may have 255 labels, got 256"):
        app_labels([], many)


def test_the_parts_of_contours_are_numbered_by_structure_and_taken_out_of_labels_like_bands():
    labels = contour_labels({"front": 1, "back": 2})
    assert list(labels.values()) == [1, 2, 3, 4, 5, 6]
    assert labels["conformal contour back: inside inner"] == 4
    assert all(is_band(name) for name in labels)
