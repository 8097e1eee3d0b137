"""The logic of our Slicer module on Slicer's own libraries, rendered off-screen."""

import functools
import http.server
import importlib.util
import json
import sys
import threading
import types
import urllib.parse
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from segtrust.inference.prediction import BLIND_SPOT, RESEARCH_ONLY
from segtrust.report.scale import CHANCE_RANGE, chance_colours

MODULE = Path(__file__).parents[2] / "plugins" / "slicer" / "SegtrustUncertainty"
NAMES = {"a.nii.gz": "a", "heart.3 (rank 1 of 12, entropy 0.250).nrrd": "heart.3", "1.2.840": "1.2.840"}
# voxels of 2 x 1 x 3 mm whose first axis runs to the patient's left
AFFINE = np.array([[-2.0, 0, 0, 40], [0, 1, 0, -30], [0, 0, 3, 5], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def chances():
    """Slice 7 holds a large corner shape at 0.4, slice 2 a small one at 0.3, slice 4 only weak doubt."""
    values = np.zeros((30, 40, 10), np.float32)
    values[5:12, 8:12, 7], values[5:7, 8:25, 7] = 0.4, 0.4
    values[20:24, 30:33, 2] = 0.3
    values[:, :, 4] = 0.02
    return values


@pytest.fixture(scope="module")
def done(slicer_python, chances, tmp_path_factory, run_in_slicer):
    folder = tmp_path_factory.mktemp("overlay")
    noise = np.random.default_rng(0).uniform(100, 200, chances.shape).astype(np.float32)
    for name, values in (("scan", noise), ("map", chances)):
        nib.save(nib.Nifti1Image(values, AFFINE), folder / f"{name}.nii.gz")
    asked = {name: str(folder / f"{name}.nii.gz") for name in ("scan", "map")}
    asked |= {
        "module": str(MODULE),
        "threshold": 0.05,
        "names": list(NAMES),
        "picture": str(folder / "p.png"),
    }
    return run_in_slicer("render_overlay.py", asked, folder)


@pytest.mark.slow
@pytest.mark.viewers
class TestOverlay:
    """What Slicer's own libraries made of it."""

    def test_the_most_uncertain_slice_is_shown_first(self, done):
        assert done["axis"] == 2
        assert done["slices"] == [2, 7]  # Slicer turns this file's slices round: its 2 is the file's 7
        assert done["shown"] == 2
        assert done["overlay"]["middle"][2] == (AFFINE @ [0, 0, 7, 1])[2]

    def test_exactly_the_voxels_above_the_threshold_are_coloured(self, done, chances):
        count = int((chances[..., 7] >= 0.05).sum())
        assert done["overlay"]["mm2"] == pytest.approx(count * 2 * 1, rel=0.03)

    def test_they_are_coloured_where_they_lie_in_the_patient(self, done, chances):
        index = np.argwhere(chances[..., 7] >= 0.05).mean(axis=0)
        right, anterior, _, _ = AFFINE @ [*index, 7, 1]
        middle, centre = done["overlay"]["middle"], done["overlay"]["centre"]
        # the patient's left is on the right of an axial view, the front is up
        assert centre == pytest.approx([middle[0] - right, anterior - middle[1]], abs=0.3)

    def test_colours_range_and_threshold_are_fixed(self, done):
        assert done["window"] == list(CHANCE_RANGE)
        assert done["threshold"] == 0.05
        expected = chance_colours(np.linspace(*CHANCE_RANGE, 256, dtype=np.float32))[:, :3]
        assert np.abs(np.array(done["colours"]) - expected).max() <= 6  # eleven steps against 256

    def test_there_is_one_legend(self, done):
        assert done["legend"] == "Chance of a\nwrong label"
        assert done["same_legend"]
        assert done["legend_pixels"] > 2000  # seen at once, without touching anything

    def test_the_scans_id_is_read_from_the_volumes_name(self, done):
        assert dict(zip(NAMES, done["scan_ids"], strict=True)) == NAMES

    def test_the_examples_in_the_code_hold(self, done):
        assert done["doctests"] == {"failed": 0, "attempted": 2}


@pytest.fixture(scope="module")
def overlay():
    """The logic without Slicer's libraries: for what only talks to the server."""
    names = ("slicer", "vtk", "vtk.util", "vtk.util.numpy_support")
    stand_ins = {name: types.ModuleType(name) for name in names}
    stand_ins["vtk.util.numpy_support"].vtk_to_numpy = None
    with pytest.MonkeyPatch.context() as patch:
        for name, module in stand_ins.items():
            patch.setitem(sys.modules, name, module)
        file = MODULE / "SegtrustUncertaintyLib" / "overlay.py"
        spec = importlib.util.spec_from_file_location("segtrust_slicer_overlay", file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


def test_both_notices_stand_in_the_module(overlay):
    assert overlay.NOTICES == (BLIND_SPOT, RESEARCH_ONLY)


class _Refusing(http.server.BaseHTTPRequestHandler):
    """Answers as the server does: JSON with `detail`."""

    def do_POST(self):
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.asked.append((self.path, json.loads(urllib.parse.parse_qs(asked)["params"][0])))
        body = json.dumps({"detail": "no scan 'x' in the datastore"}).encode()
        self.send_response(404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nothing to the console."""


@pytest.fixture
def refusing():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Refusing) as server:
        server.asked = []
        thread = threading.Thread(target=functools.partial(server.serve_forever, 0.05))
        thread.start()
        yield server, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_what_the_server_says_reaches_the_user(overlay, refusing, tmp_path):
    server, address = refusing
    with pytest.raises(overlay.MapError, match="The server refused: no scan 'x' in the datastore"):
        overlay.fetch_map(address, "x y", "heart_uncertainty", tmp_path)
    ((path, params),) = server.asked
    assert path == "/infer/heart_uncertainty?image=x+y&output=image"
    assert params == {"result_dtype": "float32", "result_extension": ".nrrd", "map": "chance_of_error"}


def test_an_address_that_is_none_is_refused(overlay, tmp_path):
    with pytest.raises(overlay.MapError, match="must begin with http"):
        overlay.fetch_map("file:///etc", "x", "t", tmp_path)


def test_a_server_that_is_not_there_is_named(overlay):
    with pytest.raises(overlay.MapError, match="does not answer"):
        overlay.list_tasks("http://127.0.0.1:9")


def test_cmake_lists_every_file_of_the_module():
    listed = (MODULE / "CMakeLists.txt").read_text("utf-8").replace("${MODULE_NAME}", MODULE.name)
    files = [p.relative_to(MODULE) for p in MODULE.rglob("*") if p.suffix in {".py", ".png"}]
    assert len(files) == 4
    assert all(file.as_posix() in listed for file in files)
