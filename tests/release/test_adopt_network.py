"""Networks of other programs answer as they do there, or nothing at all is published."""

import json
import warnings

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segtrust import cli
from segtrust.adapters.bundle import read_bundle
from segtrust.errors import ModelError
from segtrust.inference.predictor import Predictor
from segtrust.inference.stored import open_predictor
from segtrust.models import open_version
from segtrust.release.adopt_network import adopt_networks
from tiny_bundles import GRID, NETWORK, monai_answer, write_auto3dseg, write_bundle
from tiny_nnunet import dataset, plans, write_results, write_scan

TURNED = nib.affines.from_matvec([[0, -1.1, 0], [0, 0, 1.9], [1.4, 0, 0]], [10, -20, 5])
WINDOW = {
    "_target_": "ScaleIntensityRanged",
    "a_min": 100,
    "a_max": 500,
    "b_min": 0,
    "b_max": 1,
    "clip": True,
}
NONZERO = {"_target_": "NormalizeIntensityd", "nonzero": True}
FLAT = {"_target_": "SliceInferer", "roi_size": [16, 16], "spatial_dim": 2, "sw_batch_size": 4}
GAUSSIAN = {
    "_target_": "SlidingWindowInferer", "roi_size": [24, 24, 24], "overlap": 0.25, "mode": "gaussian",
    "padding_mode": "replicate",
}  # fmt: skip
KINDS = {
    "window": ([*GRID, WINDOW], {}),
    "z-score of what is not 0, then least and largest": (
        [*GRID, NONZERO, {"_target_": "ScaleIntensityd", "minv": -1}],
        {"inferer": GAUSSIAN},
    ),
    "foreground": ([*GRID, WINDOW, {"_target_": "CropForegroundd", "source_key": "image"}], {}),
    "slices, as stored": (
        [{"_target_": "ScaleIntensityd"}],
        {"inferer": FLAT, "network": {**NETWORK, "spatial_dims": 2}},
    ),
}  # fmt: skip


@pytest.fixture
def adopt(tmp_path):
    def run(*words):
        return cli.main(["adopt", *map(str, words), "--models-dir", str(tmp_path / "models")])

    return run


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_mask_is_that_of_the_bundle_run_by_monai(tmp_path, adopt, kind):
    steps, options = kind
    steps = [{**step, "keys": "image"} for step in steps]
    folder = write_bundle(tmp_path / "tiny", steps, **options)
    scan = write_scan(tmp_path / "scans", shape=(30, 26, 22), affine=TURNED)[0]
    assert adopt(folder) == 0
    mask = Predictor(open_version(tmp_path / "models" / "tiny")).predict(scan).mask
    theirs = monai_answer(folder, scan)
    assert len(np.unique(theirs)) > 1
    # probabilities are interpolated twice: where two of them are equal to 1e-6, rounding decides
    assert (mask != theirs).mean() < 1e-3


def test_members_of_a_bundle_are_safetensors(tmp_path, adopt, capsys):
    folder = write_bundle(tmp_path / "tiny", [{**WINDOW, "keys": "image"}], members=3)
    assert adopt(folder) == 0
    version = open_version(tmp_path / "models" / "tiny")
    assert [path.suffix for path in version.members] == [".safetensors"] * 3
    assert Predictor(version).predict(write_scan(tmp_path / "scans")[0]).members == 3
    assert "3 members" in capsys.readouterr().out


def test_work_folder_of_auto3dseg_is_a_model(tmp_path, adopt, capsys):
    assert adopt(write_auto3dseg(tmp_path / "work"), "--name", "a3") == 0
    version = open_version(tmp_path / "models" / "a3")
    scan = write_scan(tmp_path / "scans", shape=(30, 26, 22), margin=2)[0]
    prediction = Predictor(version).predict(scan)
    assert prediction.members == 2
    assert {s.name for s in prediction.structures} == {"front", "back"}
    assert version.card["remarks"][0] in capsys.readouterr().out


def test_network_in_torchscript_is_a_model(tmp_path, adopt):
    from monai.networks.nets import UNet  # noqa: PLC0415  # of this test alone

    torch.manual_seed(0)
    network = UNet(3, 1, 3, (4, 8), (2,)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TorchScript is going out of use
        torch.jit.trace(network, torch.rand(1, 1, 16, 16, 16)).save(str(tmp_path / "net.pt"))
    labels = [{"name": name, "value": k, "source_value": k} for k, name in ((1, "front"), (2, "back"))]
    (tmp_path / "spec.json").write_text(json.dumps({"labels": labels, "patch": [16, 16, 16]}))
    assert adopt(tmp_path / "net.pt", "--spec", tmp_path / "spec.json") == 0
    version = open_version(tmp_path / "models" / "net")
    assert version.members[0].suffix == ".pt2"
    assert Predictor(version).predict(write_scan(tmp_path / "scans")[0]).members == 1


def test_folder_of_probabilities_is_a_model(tmp_path, adopt):
    scan = write_scan(tmp_path / "scans")[0]
    volumes = tmp_path / "volumes"
    volumes.mkdir()
    probs = np.random.default_rng(0).dirichlet([1, 1, 1], (20, 14, 16)).astype(np.float32)
    nib.save(nib.Nifti1Image(probs, np.eye(4)), volumes / "case.nii.gz")
    labels = [{"name": name, "value": k, "source_value": k} for k, name in ((1, "front"), (2, "back"))]
    (tmp_path / "spec.json").write_text(json.dumps({"labels": labels, "patch": [16, 16, 16]}))
    assert adopt(volumes, "--spec", tmp_path / "spec.json", "--name", "theirs") == 0
    version = open_version(tmp_path / "models" / "theirs")
    assert np.array_equal(open_predictor(version).predict(scan).mask, probs.argmax(-1))


def test_member_that_is_not_there_is_named(tmp_path):
    spec = read_bundle(write_bundle(tmp_path / "b", [{**WINDOW, "keys": "image"}]), name="b").spec
    with pytest.raises(ModelError, match="there must be a file"):
        adopt_networks(spec, [tmp_path / "none.pt2"], tmp_path / "other", source="test")
    assert not (tmp_path / "other").exists()


def test_network_that_would_fetch_weights_is_built_without(tmp_path):
    network = {"_target_": "Transchex", "in_channels": 1}
    spec = read_bundle(
        write_bundle(tmp_path / "b", [{**WINDOW, "keys": "image"}], network=NETWORK), name="b"
    ).spec
    hostile = type(spec).from_json(
        {**spec.to_json(), "network": {**network, "_target_": "monai.networks.nets.Transchex"}}
    )
    with pytest.raises(ModelError, match="would read path_or_repo_id from elsewhere"):
        adopt_networks(hostile, [tmp_path / "b/models/model.pt"], tmp_path / "other", source="test")


def tree(folder):
    """Every file with its content, and every folder."""
    return {p.relative_to(folder): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    root = tmp_path_factory.mktemp("sources")
    steps = [{**WINDOW, "keys": "image"}]
    return {
        "bundle": write_bundle(root / "bundle", steps, members=2),
        "auto3dseg": write_auto3dseg(root / "auto3dseg"),
        "nnunet": write_results(root / "nnunet", plans(), dataset()).parent,
    }


@pytest.mark.slow
@settings(max_examples=12)
@given(data=st.data())
def test_whatever_is_wrong_with_a_folder_the_models_stay_what_they_were(sources, tmp_path_factory, data):
    import shutil  # noqa: PLC0415  # of this test alone

    work = tmp_path_factory.mktemp("broken")
    kind = data.draw(st.sampled_from(sorted(sources)))
    broken = work / kind
    shutil.copytree(sources[kind], broken)
    files = sorted(path for path in broken.rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(files))
    change = data.draw(st.sampled_from(["missing", "empty", "cut", "noise", "folder"]))
    content = path.read_bytes()
    path.unlink()
    if change == "folder":
        path.mkdir()
    elif change != "missing":
        cut = data.draw(st.integers(0, len(content) - 1))
        path.write_bytes({"empty": b"", "cut": content[:cut], "noise": content[:cut] + b"\xff{" * 9}[change])
    models = work / "models"
    (models / "other").mkdir(parents=True)
    (models / "other" / "spec.json").write_text("{}")
    before = tree(models)
    status = cli.main(["adopt", str(broken), "--models-dir", str(models), "--name", "new"])
    if status:
        assert tree(models) == before
    else:  # what was broken is not needed: a fold or a member less, or a file that nobody reads
        assert open_version(models / "new").members
