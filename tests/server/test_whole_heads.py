"""The task for whole heads over HTTP: found on a template, refused on a crop, silent on an abdomen."""

import shutil
from pathlib import Path

import nibabel as nib
import nilearn
import numpy as np
import pytest

from copied_studies import running_server
from segtrust.label.names import NOT_SEEN

pytestmark = pytest.mark.slow

TEMPLATE = Path(nilearn.__file__).parent / "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"


@pytest.fixture(scope="module")
def heads_server(tmp_path_factory, hippocampus_scans, model_folder):
    folder = tmp_path_factory.mktemp("heads-server")
    head = shutil.copyfile(TEMPLATE, folder / "head.nii.gz")
    noise = np.random.default_rng(0).normal(100, 20, (90, 100, 80)).astype(np.float32)
    nib.save(nib.Nifti1Image(noise, np.diag([2.0, 2.0, 2.0, 1.0])), folder / "noise.nii.gz")
    scans = [head, folder / "noise.nii.gz", hippocampus_scans[0]]
    with running_server(folder, scans, conf={"models_dir": model_folder.parent}) as running:
        yield running


def volume(answer, tmp_path):
    assert answer.status_code == 200, answer.text
    path = tmp_path / "answer.nii.gz"
    path.write_bytes(answer.content)
    image = nib.load(path)
    return np.asanyarray(image.dataobj), image.affine


def test_both_hippocampi_of_a_template_lie_where_they_are_known_to_lie(heads_server, tmp_path):
    params = heads_server.infer("hippocampus-heads", "head", output="json").json()["segtrust"]
    assert [place["name"] for place in params["looked_at"]] == ["left hippocampus", "right hippocampus"]
    values, affine = volume(heads_server.infer("hippocampus-heads", "head", output="image"), tmp_path)
    template = nib.load(TEMPLATE)
    assert values.shape == template.shape
    assert np.allclose(affine, template.affine, atol=1e-5)
    for side, x in ((0, -26), (1, 26)):
        voxels = np.argwhere((values > 2 * side) & (values <= 2 * side + 2))
        centre = affine @ np.append(voxels.mean(axis=0), 1)
        # hippocampi of this space lie about 26 mm beside the middle, 21 mm behind and 14 mm below its zero
        assert np.linalg.norm(centre[:3] - (x, -21, -14)) < 8


def test_bands_say_where_nobody_looked(heads_server, tmp_path):
    models = heads_server.get("/info/").json()["models"]
    labels = models["hippocampus-heads_uncertainty"]["labels"]
    assert labels[NOT_SEEN] == 4
    assert models["hippocampus-heads_uncertainty"]["label_colors"][NOT_SEEN] == [128, 128, 128]
    values, _ = volume(heads_server.infer("hippocampus-heads_uncertainty", "head", output="image"), tmp_path)
    assert (values == labels[NOT_SEEN]).mean() > 0.9
    assert (values != labels[NOT_SEEN]).any()


def test_a_map_as_floats_is_minus_one_where_nobody_looked(heads_server, tmp_path):
    answer = heads_server.infer(
        "hippocampus-heads_uncertainty", "head", output="image", result_dtype="float32", map="entropy"
    )
    values, _ = volume(answer, tmp_path)
    seen = values[values != -1]
    assert 0 < seen.size < 0.1 * values.size
    assert 0 <= seen.min() <= seen.max() <= 1


def test_noise_is_no_head_and_the_answer_says_so(heads_server, tmp_path):
    params = heads_server.infer("hippocampus-heads", "noise", output="json").json()["segtrust"]
    assert params["looked_at"] == []
    assert {flag["code"] for flag in params["flags"]} == {"not_found"}
    values, _ = volume(heads_server.infer("hippocampus-heads", "noise", output="image"), tmp_path)
    assert not values.any()


def test_a_crop_is_refused_with_the_name_of_the_other_task(heads_server, hippocampus_scans):
    scan = hippocampus_scans[0].name.split(".")[0]
    answer = heads_server.infer("hippocampus-heads", scan, output="json")
    assert answer.status_code == 422
    assert "Ask the task 'hippocampus' for it" in answer.json()["detail"]


def test_whole_heads_are_neither_scored_nor_trained(heads_server):
    info = heads_server.get("/info/").json()
    assert not [name for name in (*info["trainers"], *info["scoring"]) if "heads" in name]
    assert "hippocampus-heads" in [m["name"] for m in heads_server.get("/segtrust/models").json()["models"]]
