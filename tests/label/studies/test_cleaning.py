"""Submitted labels: the situations that were measured with 3D Slicer's plug-in, and what else may come."""

import itk
import nibabel as nib
import numpy as np
import pytest

from segtrust.files import Grid, Reordering
from segtrust.files.label import read_label_file
from segtrust.label.failures import LabelError
from segtrust.label.studies.cleaning import clean_label, cleaned_file

SPLEEN = {"abdomen": {"spleen": 1}}
BANDS = (
    "chance of error 1 in 20 to 1 in 5",
    "chance of error 1 in 5 to 1 in 3",
    "chance of error above 1 in 3",
)


def ball(shape=(40, 40, 20), centre=(20, 20, 10), voxels=3551):
    """The `voxels` voxels nearest to `centre`: the size of the structure that was measured."""
    grid = np.indices(shape).reshape(3, -1).T
    near = np.argsort(((grid - np.array(centre) + 0.01) ** 2).sum(axis=1), kind="stable")[:voxels]
    mask = np.zeros(int(np.prod(shape)), bool)
    mask[near] = True
    return mask.reshape(shape)


def segments(*names):
    return [{"name": name, "idx": index} for index, name in enumerate(names, start=1)]


def export(order, masks):
    """What Slicer's export makes of overlapping segments: the later one wins."""
    label = np.zeros((40, 40, 20), np.int16)
    for index, name in enumerate(order, start=1):
        label[masks[name]] = index
    return label, segments(*order)


MASKS = {
    "spleen": ball(),
    BANDS[0]: ball(voxels=6338) & ~ball(voxels=2900),
    BANDS[1]: ball(voxels=2900) & ~ball(voxels=1500),
    BANDS[2]: ball(voxels=1500) & ~ball(voxels=495),
}


def test_a_structure_above_the_bands_keeps_its_3551_voxels_and_gets_its_own_value():
    label, info = export([*BANDS, "spleen"], MASKS)
    cleaned, report = clean_label(label, info, SPLEEN)
    assert np.array_equal(cleaned == 1, MASKS["spleen"])
    assert (cleaned > 0).sum() == 3551
    assert report.values[4] == 1


def test_bands_that_may_have_cut_a_structure_are_refused():
    label, info = export(["spleen", *BANDS], MASKS)
    assert (label == 1).sum() < 3551
    with pytest.raises(LabelError, match=r"lie over 'spleen' and may have cut it\. Move 'spleen' below"):
        clean_label(label, info, SPLEEN)


@pytest.mark.parametrize("order", [["spleen", BANDS[0]], [BANDS[0], "spleen"]], ids=["before", "after"])
def test_bands_apart_from_the_structure_are_stripped_in_either_order(order):
    corner = np.zeros((40, 40, 20), bool)
    corner[:3, :3, :3] = True
    cleaned, _ = clean_label(*export(order, {"spleen": ball(), BANDS[0]: corner}), SPLEEN)
    assert (cleaned == 1).sum() == 3551 == (cleaned > 0).sum()


@pytest.mark.parametrize("order", [["spleen", *BANDS], [*BANDS, "spleen"]], ids=["before", "after"])
def test_empty_bands_change_nothing_in_either_order(order):
    none = np.zeros((40, 40, 20), bool)
    cleaned, _ = clean_label(*export(order, {"spleen": ball(), **dict.fromkeys(BANDS, none)}), SPLEEN)
    assert (cleaned == 1).sum() == 3551


def test_names_decide_and_not_the_order():
    names = {"hippocampus": {"anterior": 1, "posterior": 2}}
    cleaned, _ = clean_label(np.array([0, 1, 2]), segments("Posterior ", "anterior"), names)
    assert cleaned.tolist() == [0, 2, 1]


def test_a_segment_nobody_knows_is_refused_by_name():
    with pytest.raises(LabelError, match=r"\['my notes'\] are none of \['spleen'\]"):
        clean_label(np.array([0, 1, 2]), segments("spleen", "my notes"), SPLEEN)


def test_a_segment_nobody_knows_does_not_matter_where_it_is_empty():
    cleaned, _ = clean_label(np.array([0, 1]), segments("spleen", "my notes"), SPLEEN)
    assert cleaned.tolist() == [0, 1]


@pytest.mark.parametrize("second", ["posterior", "posterior_1", "Posterior_2"])
def test_segments_with_the_name_of_one_structure_are_united(second):
    names = {"hippocampus": {"anterior": 1, "posterior": 2}}
    info = segments("posterior", "anterior", second)
    cleaned, _ = clean_label(np.array([0, 1, 2, 3]), info, names)
    assert cleaned.tolist() == [0, 2, 1, 2]


def test_a_structure_whose_own_name_ends_in_a_number_is_no_copy():
    names = {"lungs": {"lobe": 1, "lobe_1": 2}}
    cleaned, _ = clean_label(np.array([1, 2]), segments("lobe_1", "lobe"), names)
    assert cleaned.tolist() == [2, 1]


@pytest.mark.parametrize("value", [256, 300, 65535])
def test_values_above_255_survive(value):
    names = {"body": {"bone": value}}
    cleaned, _ = clean_label(np.array([0, 1]), segments("bone"), names)
    assert cleaned.tolist() == [0, value]


def segmentation(path, names, values=(1, 2)):
    """A label as 3D Slicer saves it, with the names of its segments in the header."""
    lines = ["NRRD0004", "type: unsigned char", "dimension: 3", "sizes: 2 1 1", "encoding: raw"]
    lines += ["space: left-posterior-superior", "space directions: (1,0,0) (0,1,0) (0,0,1)"]
    for number, (name, value) in enumerate(zip(names, values, strict=True)):
        lines += [
            f"Segment{number}_{key}:={text}"
            for key, text in (("Name", name), ("LabelValue", value), ("Layer", 0))
        ]
    path.write_bytes("\n".join([*lines, "", ""]).encode() + bytes([1, 2]))
    return path


PARTS = {"hippocampus": {"anterior": 1, "posterior": 2}}


def test_names_in_the_header_of_the_file_count(tmp_path):
    path = segmentation(tmp_path / "a.seg.nrrd", ["posterior", "anterior"])
    with cleaned_file(path, None, PARTS) as (file, report):
        label = read_label_file(file)
    assert label.values.ravel().tolist() == [2, 1]
    assert not label.names  # they named the values that were
    assert report.values == {1: 2, 2: 1}


def test_names_of_the_client_must_not_contradict_the_file(tmp_path):
    path = segmentation(tmp_path / "a.seg.nrrd", ["posterior", "anterior"])
    sent, words = segments("anterior", "posterior"), "must name the segments as the file does"
    with pytest.raises(LabelError, match=words), cleaned_file(path, sent, PARTS):
        pass


def test_a_label_in_another_voxel_order_is_turned_onto_its_scan(tmp_path):
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4) % 2
    affine = np.array([[0, 0, -2.0, 5], [-1, 0, 0, 6], [0, 3, 0, 7], [0, 0, 0, 1]])
    grid = Grid((2, 3, 4), affine, (1.0, 3.0, 2.0))
    stored = Reordering((2, 0, 1), (True, False, True))
    path = tmp_path / "label.nii.gz"
    nib.save(nib.Nifti1Image(np.ascontiguousarray(stored.apply(values)), stored.grid(grid).affine), path)
    with cleaned_file(path, None, SPLEEN, scan=("scan", grid)) as (file, _):
        turned = nib.load(file)
        assert np.array_equal(np.asarray(turned.dataobj), values)
        np.testing.assert_allclose(turned.affine, affine, atol=1e-5)


def test_a_label_that_lies_elsewhere_is_refused(tmp_path):
    path = tmp_path / "label.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((2, 3, 4), np.uint8), np.diag([1, 1, 2.0, 1])), path)
    grid = Grid((2, 3, 4), np.eye(4), (1.0, 1.0, 1.0))
    with pytest.raises(LabelError) as refused, cleaned_file(path, None, SPLEEN, scan=("scan", grid)):
        pass
    assert grid.describe() in str(refused.value)
    assert "2 x 3 x 4 voxels of 1 x 1 x 2 mm" in str(refused.value)


def test_only_segments_nobody_knows_are_refused():
    with pytest.raises(LabelError, match=r"no segment has the name of a structure; got \['Segment_1'\]"):
        clean_label(np.array([0, 1]), segments("Segment_1"), SPLEEN)


@pytest.mark.parametrize("names", [BANDS[:1], [*BANDS[:1], "spleen"]], ids=["alone", "empty structure"])
def test_a_label_whose_voxels_are_all_in_bands_is_refused(names):
    # it would be stored as an empty final label, and so as a scan without the structure
    with pytest.raises(LabelError, match="must hold a structure or be empty"):
        clean_label(np.array([0, 1, 1]), segments(*names), SPLEEN)


def test_an_empty_label_is_a_label():
    for names in ((), ("spleen",), (*BANDS, "spleen")):
        assert clean_label(np.zeros(3), segments(*names), SPLEEN)[0].tolist() == [0, 0, 0]
    assert clean_label(np.zeros(3), None, SPLEEN)[0].tolist() == [0, 0, 0]


def test_a_value_without_a_name_is_refused():
    with pytest.raises(LabelError, match=r"but \[7\] are not"):
        clean_label(np.array([0, 1, 7]), segments("spleen"), SPLEEN)


def test_without_names_the_values_must_be_those_of_a_model():
    assert clean_label(np.array([0.0, 1.0]), None, SPLEEN)[0].tolist() == [0, 1]
    with pytest.raises(LabelError, match=r"values \[4\] that no model uses"):
        clean_label(np.array([0, 4]), None, SPLEEN)


@pytest.mark.parametrize("bad", [[0.5], [-1], [np.nan], [70000]], ids=str)
def test_numbers_that_are_no_labels_are_refused(bad):
    with pytest.raises(LabelError, match="whole numbers from 0 to 65535"):
        clean_label(np.array([0, *bad]), segments("spleen"), SPLEEN)


TWO = {"heart": {"RV": 1, "wall": 2}, "hippocampus": {"anterior": 1, "posterior": 2}}


def test_the_model_is_found_by_its_names():
    cleaned, report = clean_label(np.array([1, 2]), segments("wall", "RV"), TWO)
    assert (cleaned.tolist(), report.model) == ([2, 1], "heart")


def test_structures_of_two_models_in_one_label_are_refused():
    with pytest.raises(LabelError, match="must belong to one model"):
        clean_label(np.array([1, 2]), segments("RV", "anterior"), TWO)


def test_one_name_with_two_values_is_refused():
    with pytest.raises(LabelError, match="must belong to one model"):
        clean_label(np.array([1]), segments("wall"), {"a": {"wall": 1}, "b": {"rim": 1, "wall": 2}})


@pytest.mark.parametrize("info", [[{"idx": 1}], ["spleen"], [{"name": "spleen", "idx": "one"}]], ids=str)
def test_a_list_of_segments_in_another_form_is_refused(info):
    with pytest.raises(LabelError, match="must be a list of"):
        clean_label(np.array([0, 1]), info, SPLEEN)


def write(path, array, *, oblique=True):
    image = itk.image_from_array(np.ascontiguousarray(array))
    image.SetSpacing((0.5, 1.5, 3.0))
    image.SetOrigin((-10.0, 20.0, 5.5))
    if oblique:
        c, s = np.cos(0.3), np.sin(0.3)
        image.SetDirection(itk.matrix_from_array(np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])))
    itk.imwrite(image, str(path))
    return image


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd"])
def test_a_cleaned_file_has_exactly_the_same_geometry(tmp_path, suffix):
    path = tmp_path / f"label{suffix}"
    label, info = export([*BANDS, "spleen"], MASKS)
    write(path, label)
    before = itk.imread(str(path))
    with cleaned_file(path, info, SPLEEN) as (file, _):
        after = itk.imread(str(file))
        assert (itk.array_view_from_image(after) == 1).sum() == 3551
        for get in ("GetSpacing", "GetOrigin"):
            assert list(getattr(after, get)()) == list(getattr(before, get)())
        assert np.array_equal(
            itk.array_from_matrix(after.GetDirection()), itk.array_from_matrix(before.GetDirection())
        )


def test_a_file_that_needs_no_change_is_handed_on(tmp_path):
    path = tmp_path / "label.nrrd"
    write(path, ball().astype(np.uint8))
    with cleaned_file(path, segments("spleen"), SPLEEN) as (file, report):
        assert file == path
        assert not report.changes


def test_a_file_that_was_cut_off_is_refused(tmp_path):
    path = tmp_path / "label.nii.gz"
    write(path, ball().astype(np.uint8))
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(LabelError, match="cut off"), cleaned_file(path, None, SPLEEN):
        pass


def test_a_file_of_another_type_is_refused(tmp_path):
    with pytest.raises(LabelError, match="must be one of"), cleaned_file(tmp_path / "x.xml", None, SPLEEN):
        pass


SURE = "spleen sure part - do not measure"


def test_a_structure_without_its_uncertain_voxels_is_refused():
    masks = {**MASKS, SURE: ball(voxels=495)}
    label, info = export([*BANDS, SURE], masks)
    with pytest.raises(LabelError, match=r"spleen sure part - do not measure.*must not be kept"):
        clean_label(label, info, SPLEEN)


def test_an_empty_segment_with_such_a_name_does_not_matter():
    # Slicer makes an empty segment for every name of the app, and the whole structure covers its sure part
    masks = {**MASKS, SURE: ball(voxels=495)}
    label, info = export([SURE, *BANDS, "spleen"], masks)
    cleaned, _ = clean_label(label, info, SPLEEN)
    assert (cleaned > 0).sum() == 3551
