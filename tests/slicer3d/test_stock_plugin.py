"""The stock plug-in of 3D Slicer against our server: its own client, its own segments, its own export."""

import json

import nibabel as nib
import numpy as np
import pytest

from copied_studies import running_server
from labelled_site import give_roles
from segtrust.inference import Predictor
from segtrust.models import find_models, open_version, shipped_models_dir
from segtrust.store import StateStore

pytestmark = [pytest.mark.server, pytest.mark.viewers, pytest.mark.slow]

EDGES = (0.05, 0.2, 1 / 3)
MODEL = "hippocampus"


@pytest.fixture(scope="module")
def scans(hippocampus_dir):
    names = json.loads((hippocampus_dir / "splits.json").read_text())["splits"]["test"][:2]
    return [hippocampus_dir / "images" / f"{name}.nii.gz" for name in names]


@pytest.fixture(scope="module")
def server(tmp_path_factory, scans, slicer_python, stock_plugin):
    """A server whose scans are scored: the first to be served has a rank, again and again."""
    folder = tmp_path_factory.mktemp("slicer-server")
    names = [path.name.split(".")[0] for path in scans]
    give_roles(StateStore(folder / "state" / "state.sqlite"), {name: (name, "train") for name in names})
    conf = {"state_dir": folder / "state", "lease_minutes": 0.0001}
    with running_server(folder, scans, conf=conf) as running:
        assert running.post("/scoring/entropy?run_sync=true", json={}).status_code == 200
        yield running


@pytest.fixture(scope="module")
def expected(scans):
    """Scan -> prediction of a direct call of the library, the least sure scan first."""
    predictor = Predictor(open_version(find_models(shipped_models_dir())[MODEL]))
    found = {path.name.split(".")[0]: predictor.predict(path) for path in scans}
    return dict(sorted(found.items(), key=lambda item: -item[1].scores.entropy))


@pytest.fixture
def plugin(run_in_slicer, server, stock_plugin, tmp_path):
    """``plugin(step, ...)`` connects and does the steps; what the last one showed comes back."""

    def do(*steps):
        asked = {"plugin": str(stock_plugin), "server": server.url, "steps": [["connect", ""], *steps]}
        found = run_in_slicer("stock_plugin.py", asked, tmp_path)
        return found[1:]

    return do


def counts_of(volume, names):
    """Voxels of each named value, from 1."""
    return {name: int((volume == value).sum()) for value, name in enumerate(names, start=1)}


def structures(prediction):
    return [label.name for label in prediction.spec.labels]


def bands(server):
    return list(server.get("/info/").json()["models"][f"{MODEL}_uncertainty"]["labels"])


def test_1_the_next_scan_tells_its_rank_and_is_opened_with_all_segments_empty_or_filled_by_one_run(
    plugin, server, expected
):
    (shown,) = plugin(["next", ""])
    scan, prediction = next(iter(expected.items()))
    assert shown["said"] == []
    assert shown["volume"] == f"{scan} (rank 1 of 2, entropy {prediction.scores.entropy:.3f}).nii.gz"
    assert list(shown["voxels"]) == server.get("/info/").json()["labels"]
    # the plug-in runs by itself the first model that has the first label: the bands
    assert shown["model"] == f"{MODEL}_uncertainty"
    filled = {name: count for name, count in shown["voxels"].items() if count}
    assert filled == counts_of(prediction.bands(EDGES), bands(server))


def test_2_a_view_without_whole_structures_cannot_be_submitted(plugin, server, expected):
    _, combined, refused = plugin(["next", ""], ["run", f"{MODEL}_with_uncertainty"], ["submit", ""])
    prediction = next(iter(expected.values()))
    names = server.get("/info/").json()["models"][f"{MODEL}_with_uncertainty"]["labels"]
    filled = {name: count for name, count in combined["voxels"].items() if count}
    assert filled == counts_of(prediction.mask_with_bands(EDGES), names)
    assert sum(filled[name] for name in names if "sure part" in name) < (prediction.mask > 0).sum()
    assert "Failed to save Label" in refused["said"][0]
    assert "structures without their uncertain voxels" in refused["said"][0]
    assert server.get("/datastore/").json()["completed"] == 0


def test_3_mask_bands_and_sure_parts_lie_side_by_side_and_the_mask_is_stored_whole(
    plugin, server, expected, tmp_path
):
    scan, prediction = next(iter(expected.items()))
    *_, shown, submitted = plugin(
        ["next", ""], ["run", f"{MODEL}_with_uncertainty"], ["run", MODEL], ["submit", ""]
    )
    mask = counts_of(prediction.mask, structures(prediction))
    assert {name: shown["voxels"][name] for name in mask} == mask
    band_counts = counts_of(prediction.bands(EDGES), bands(server))
    assert {name: shown["voxels"][name] for name in band_counts} == band_counts
    assert submitted["voxels"] == shown["voxels"]
    (answer,) = submitted["said"]
    assert answer["segtrust"]["model"] == MODEL
    assert set(answer["segtrust"]["removed"]) <= set(bands(server))
    assert np.array_equal(stored_label(server, scan, tmp_path), prediction.mask)


def test_4_bands_made_after_the_structures_may_have_cut_them_and_are_refused(plugin, server):
    # the user deletes the empty segments of the bands: the next run puts them behind the structures
    *_, shown, refused = plugin(
        ["next", ""],
        ["run", MODEL],
        ["remove", "chance of error"],
        ["run", f"{MODEL}_uncertainty"],
        ["submit", ""],
    )
    assert list(shown["voxels"])[-3:] == bands(server)
    assert "lie over" in refused["said"][0]
    assert "may have cut it" in refused["said"][0]
    assert server.get("/datastore/").json()["completed"] == 1


def test_5_the_buttons_start_a_training_with_its_defaults_and_stop_it(plugin, server):
    (started,) = plugin(["train", MODEL])
    assert started["said"] == []
    status = server.get("/train/").json()
    assert status["status"] in {"SUBMITTED", "RUNNING"}, status
    assert status["request"]["model"] == MODEL
    assert status["request"]["loss"] == "dice_ce"  # the first of the list that the table shows
    (stopped,) = plugin(["stop", ""])
    assert stopped["said"] == []
    assert server.get("/train/").json()["status"] == "STOPPED"


def stored_label(server, scan, tmp_path):
    path = tmp_path / "stored.nii.gz"
    path.write_bytes(server.get("/datastore/label", params={"label": scan, "tag": "final"}).content)
    return np.asanyarray(nib.load(path).dataobj)
