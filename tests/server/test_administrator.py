"""The steps of the administrator's page, as they are printed, with a real server behind a real nginx."""

import gc
import json
import os
import shutil
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from monailabel.client import MONAILabelClient

from administrator_page import HOST, block, running_nginx
from live_server import free_port, running_server

pytestmark = [pytest.mark.viewers, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def data(tmp_path_factory, hippocampus_scans):
    """Stands for the page's folder `/data`: one scan, and a folder for the state."""
    folder = tmp_path_factory.mktemp("administrator") / "data"
    (folder / "studies").mkdir(parents=True)
    shutil.copy2(hippocampus_scans[1], folder / "studies" / "scan-2.nii.gz")
    return folder


@pytest.fixture(scope="module")
def site(data, tmp_path_factory, model_folder):
    """nginx and server, started as the page says."""
    conf = {"models_dir": model_folder.parent, "state_dir": data / "state"}
    conf |= {"allowed_hosts": HOST, "allowed_origins": f"https://{HOST}"}
    folder = tmp_path_factory.mktemp("site")
    with running_server(folder / "server", data / "studies", conf=conf) as server:
        (folder / "nginx").mkdir()
        with running_nginx(folder / "nginx", free_port(), int(server.url.rpartition(":")[2])) as proxy:
            yield proxy, server


@pytest.fixture(scope="module")
def asked(site, tmp_path_factory, hippocampus_scans):
    """Folder in which the page's curl lines ran; curl was told where the host is and how it signs."""
    proxy, _ = site
    folder = tmp_path_factory.mktemp("curl")
    (folder / ".curlrc").write_text(
        f'connect-to = "{HOST}:443:127.0.0.1:{proxy.port}"\ncacert = "{proxy.certificate}"\n'
    )
    shutil.copy2(hippocampus_scans[0], folder / "scan.nii.gz")
    lines = block("sh", "curl").replace("\\\n", " ")
    done = subprocess.run(
        ["sh", "-ec", lines],
        cwd=folder,
        env=os.environ | {"CURL_HOME": str(folder)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "answers").write_bytes(done.stdout)
    return folder


def test_the_lines_with_curl_give_numbers_mask_map_and_the_stored_label(asked):
    numbers = json.loads((asked / "numbers.json").read_text())
    assert {s["name"] for s in numbers["segtrust"]["structures"]}
    mask, label = nib.load(asked / "mask.nii.gz"), nib.load(asked / "label.nii.gz")
    assert np.any(mask.dataobj)
    assert np.array_equal(mask.dataobj, label.dataobj)
    chance = np.asanyarray(nib.load(asked / "chance.nii.gz").dataobj)
    assert chance.dtype == np.float32
    assert 0 <= chance.min() < chance.max() <= 1


def test_the_setting_for_foreign_web_pages_stops_the_start_of_monai_label(tmp_path):
    command = [sys.executable, "-m", "monailabel.main", "start_server", "--dryrun"]
    command += ["--app", str(tmp_path), "--studies", str(tmp_path)]
    variables = os.environ | {"MONAI_LABEL_CORS_ORIGINS": f'["https://{HOST}"]'}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode != 0
    assert "AnyHttpUrl is not JSON serializable" in done.stderr


def test_the_page_s_own_name_is_answered_and_other_names_and_pages_are_not(site):
    proxy, server = site
    own = {"Origin": f"https://{HOST}", "Sec-Fetch-Site": "same-origin"}
    assert proxy.ask("GET", "/info/", headers=own)[0] == 200
    assert server.get("/info/", headers={"Host": "elsewhere.example"}).status_code == 400
    assert server.get("/info/", headers={"Origin": "https://elsewhere.example"}).status_code == 403


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_viewers_connect_and_slicer_s_client_does_not_ask_who_signed_the_certificate(site):
    proxy, server = site
    client = MONAILabelClient(f"https://127.0.0.1:{proxy.port}")
    assert list(client.info()["models"]) == list(server.get("/info/").json()["models"])
    status, headers, _ = proxy.ask("GET", "/ohif/")
    assert (status, headers.get_content_type()) == (200, "text/html")
    gc.collect()  # the client leaves its sockets to the collector: let their warnings fall into this test


def test_a_back_up_that_is_moved_elsewhere_has_labels_and_needs_no_scoring(
    asked, site, data, tmp_path, model_folder
):
    _, server = site
    before = server.get("/datastore/").json()
    assert before["completed"] == 1
    server.process.terminate()
    server.process.wait(60)
    pack, unpack = block("sh", "-czf"), block("sh", "-xzf")
    new = tmp_path / "elsewhere"
    subprocess.run(["sh", "-ec", pack.replace("/data", str(data))], cwd=tmp_path, check=True)
    subprocess.run(["sh", "-ec", unpack.replace("/data", str(new))], cwd=tmp_path, check=True)
    shutil.move(data, data.with_name("gone"))
    conf = {"models_dir": model_folder.parent, "state_dir": new / "state"}
    with running_server(tmp_path / "server", new / "studies", conf=conf) as moved:
        after = moved.get("/datastore/").json()
        assert (after["total"], after["completed"]) == (before["total"], 1)
        label = moved.get("/datastore/label", params={"label": "scan-1", "tag": "final"})
        assert label.content == (asked / "label.nii.gz").read_bytes()
        scored = moved.post("/scoring/entropy?run_sync=true", json={}).json()
        assert (scored["scores"], scored["failed"]) == ({}, {})
        assert scored["skipped"] == 1
