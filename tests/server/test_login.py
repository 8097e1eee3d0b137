"""A server with a log-in: what the stock clients carry, what each role may do, and what never gets in."""

import gc
import importlib.util
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import requests

from copied_studies import running_server
from live_server import ROOT, free_port
from segtrust.label.login.access import ACCESS, ANYONE, listed_rank
from segtrust.label.login.accounts import RANKS, UsersFile

pytestmark = pytest.mark.filterwarnings(
    "ignore:'cgi' is deprecated", "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)

PASSWORDS = {rank: f"{rank}'s own words" for rank in RANKS}
NAMES = {"reader": "Renée", "annotator": "anna", "reviewer": "roberta", "administrator": "ada"}


@pytest.fixture(scope="module")
def users(tmp_path_factory):
    return UsersFile(tmp_path_factory.mktemp("users") / "users.json")


@pytest.fixture(scope="module")
def key(users):
    for rank in RANKS:
        users.add(NAMES[rank], rank, PASSWORDS[rank])
    return users.add_key("anna", note="a program")


@pytest.fixture(scope="module")
def server(tmp_path_factory, hippocampus_scans, model_folder, users, key):
    folder = tmp_path_factory.mktemp("login-server")
    conf = {"models_dir": model_folder.parent, "users_file": users.path, "user_inferences_at_once": 2}
    with running_server(folder, hippocampus_scans, conf=conf) as running:
        yield running
        gc.collect()


def basic(rank):
    return NAMES[rank].encode(), PASSWORDS[rank].encode()


@pytest.fixture(scope="module")
def plugin_module():
    file = Path(sys.prefix) / "monailabel/plugins/slicer/MONAILabel/MONAILabelLib/client.py"
    if not file.is_file():
        pytest.skip(f"no plug-in for 3D Slicer at {file}")
    spec = importlib.util.spec_from_file_location("slicer_plugin_client", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def use(client, scan_id):
    """What 3D Slicer does with a client: connect, segment, ask for the next scan, submit."""
    assert "hippocampus" in client.info()["models"]
    file, _ = client.infer("hippocampus", scan_id, {"result_extension": ".nii.gz"})
    client.next_sample("uniform", {})
    client.save_label(scan_id, file, "final", {"comment": "fine"})
    return client.datastore()


def test_nobody_gets_anything_without_a_log_in(server):
    pages = [
        "/",
        "/info/",
        "/openapi.json",
        "/docs",
        "/static/",
        "/ohif/",
        "/datastore/?output=all",
        "/logs/",
    ]
    for path in [*pages, "/nothing", "/INFO/", "//info/", "/%69nfo/", "/info/../info/", "/info%2F", "/info"]:
        answer = server.get(path, allow_redirects=False)
        assert (answer.status_code, answer.json()["code"]) == (401, "login"), path
        assert answer.headers["WWW-Authenticate"].startswith("Basic")


def test_the_stock_plug_in_of_slicer_logs_in_by_its_own_dialog(server, plugin_module, scan_id, tmp_path):
    client = plugin_module.MONAILabelClient(server.url, str(tmp_path), "user-xyz")
    assert client.auth_enabled()
    assert not client.auth_valid_token()
    with pytest.raises(plugin_module.MONAILabelClientException):
        client.auth_token("anna", "a wrong password")
    client.update_auth(client.auth_token("anna", PASSWORDS["annotator"]))
    assert client.auth_valid_token()
    use(client, scan_id)
    info = server.get(
        "/datastore/label/info", params={"label": scan_id, "tag": "final"}, auth=basic("reader")
    )
    assert (info.json()["author"], info.json()["client_id"]) == ("anna", "anna")


def test_the_stock_client_works_below_the_address_of_a_key_and_the_log_never_has_it(
    server, plugin_module, scan_id, tmp_path, key
):
    client = plugin_module.MONAILabelClient(f"{server.url}/u/{key}", str(tmp_path), "someone-else")
    assert not client.auth_enabled()  # so the plug-in opens no dialog
    use(client, scan_id)
    led = server.get(f"/u/{key}/info", allow_redirects=False)
    assert led.headers["Location"] == f"{server.url}/u/{key}/info/"
    server.get(f"/u/{key}/nothing")
    server.get(f"/u/{key}/info/", headers={"Host": "elsewhere.example"})
    secret = key.split("_", 2)[2]
    logs = [server.log, *server.log.parent.rglob("*.log")]
    assert not any(secret in file.read_text("utf-8", "replace") for file in logs)


def test_a_browser_is_not_let_in_by_an_address_with_a_key(server, key):
    for header in ({"Referer": server.url}, {"Origin": server.url}, {"Sec-Fetch-Mode": "navigate"}):
        answer = server.get(f"/u/{key}/info/", headers=header)
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
        assert key not in answer.text


def test_a_browser_s_log_in_reaches_the_viewer_its_files_and_its_calls(server):
    start = server.get("/ohif/", auth=basic("reader"))
    assert start.status_code == 200
    assert start.headers["Referrer-Policy"] == "same-origin"
    for path in re.findall(r'(?:src|href)="(/ohif/[^"]+)"', start.text)[:20]:
        assert server.get(path, auth=basic("reader")).status_code == 200, path
        assert server.get(path).status_code == 401, path
    own = {"Origin": server.url, "Sec-Fetch-Site": "same-origin"}
    answer = server.get("/info/", auth=basic("reader"), headers=own)
    assert answer.status_code == 200
    foreign = {"Origin": "https://elsewhere.example"}
    assert server.get("/info/", auth=basic("administrator"), headers=foreign).status_code == 403


@pytest.mark.parametrize("rank", RANKS)
def test_each_role_reaches_its_routes_and_no_others(server, rank):
    for least, method, paths in ACCESS:
        for path in paths:
            if least == ANYONE or path in ("/scoring/", "/train/", "/train/{model}"):
                continue  # the latter start work
            address = re.sub(r"\{.*?\}", "nobody", path)
            answer = server.request(method, address, auth=basic(rank), headers={"Content-Length": "0"})
            let_in = RANKS.index(rank) >= RANKS.index(least)
            text = answer.text[:200]
            assert answer.status_code != 401, (method, path)
            assert ("needs the role" in text) != let_in, (method, path, answer.status_code, text)


def test_a_reader_keeps_nothing_and_an_annotator_approves_nothing(server, scan_id):
    params = {"params": json.dumps({"save_label": True, "label_tag": "auto"})}
    kept = server.post(f"/infer/hippocampus?image={scan_id}", data=params, auth=basic("reader"))
    assert (kept.status_code, kept.json()["code"]) == (403, "forbidden")
    stored = {"params": json.dumps({"store_in_pacs": "mask"})}
    assert (
        server.post(f"/infer/hippocampus?image={scan_id}", data=stored, auth=basic("reader")).status_code
        == 403
    )
    review = {"info": json.dumps({"segmentationMeta": {"status": "approved"}})}
    path = f"/datastore/label/info?label={scan_id}&tag=final"
    assert server.put(path, data=review, auth=basic("annotator")).status_code == 403
    assert server.put(path, data=review, auth=basic("reviewer")).status_code == 200


def test_a_client_cannot_submit_or_take_a_scan_under_another_name(server, hippocampus_scans, key):
    scan_id = hippocampus_scans[1].name.split(".")[0]
    mask = np.zeros(nib.load(hippocampus_scans[1]).shape, np.uint8)
    mask[10, 10, 10] = 1
    file = io.BytesIO(nib.Nifti1Image(mask, nib.load(hippocampus_scans[1]).affine).to_bytes())
    bearer = {"Authorization": f"Bearer {key}"}
    answer = server.put(
        f"/datastore/label?image={scan_id}",
        files={"label": ("label.nii", file)},
        data={"params": json.dumps({"client_id": "roberta"})},
        headers=bearer,
    )
    assert answer.status_code == 200, answer.text
    info = server.get(f"/datastore/label/info?label={scan_id}&tag=final", headers=bearer).json()
    assert (info["author"], info["client_id"]) == ("anna", "anna")
    server.post("/activelearning/uniform", json={"client_id": "roberta"}, auth=basic("administrator"))
    images = server.get("/datastore/?output=all", headers=bearer).text
    assert '"client_id":"roberta"' not in images.replace(" ", "")


def test_two_headers_bad_base64_and_endless_passwords_are_refused_in_words(server):
    host, port = server.url.removeprefix("http://").split(":")
    lines = b"GET /info/ HTTP/1.1\r\nHost: %b:%b\r\n" % (host.encode(), port.encode())
    twice = b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n"
    with socket.create_connection((host, int(port)), 30) as connection:
        connection.sendall(lines + twice + b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")
    # an absolute address, as a proxy gets it, leads nowhere else
    with socket.create_connection((host, int(port)), 30) as connection:
        connection.sendall(lines.replace(b"GET /info/", b"GET %b/info/" % server.url.encode()) + b"\r\n")
        assert connection.recv(100).split(b"\r\n")[0].split()[1] in {b"400", b"401"}
    for value in ("Basic", "Basic !!!", "Basic YQ==", "Digest x", "Bearer", "Bearer " + "x" * 20_000):
        assert server.get("/info/", headers={"Authorization": value}).status_code in {400, 401}, value[:20]
    assert server.get("/info/", auth=("ada", "x" * 8000)).status_code == 401


def test_a_socket_of_the_web_is_refused(server):
    host, port = server.url.removeprefix("http://").split(":")
    lines = ["GET /info/ HTTP/1.1", f"Host: {host}:{port}", "Upgrade: websocket", "Connection: Upgrade"]
    lines += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13", "", ""]
    with socket.create_connection((host, int(port)), 30) as connection:
        connection.sendall("\r\n".join(lines).encode())
        assert connection.recv(100).split()[1] in {b"401", b"403", b"404"}


def test_every_route_of_the_running_server_is_in_the_table(server):
    described = server.get("/openapi.json", auth=basic("reader")).json()["paths"]
    routes = [(method.upper(), path) for path, methods in described.items() for method in methods]
    assert len(routes) > 30
    missing = [(m, p) for m, p in routes if listed_rank(m, re.sub(r"\{.*?\}", "name", p)) is None]
    assert missing == []


def test_a_server_for_a_whole_network_does_not_start_without_users_and_says_why(tmp_path, model_folder):
    (tmp_path / "studies").mkdir()
    app = shutil.copytree(ROOT / "apps" / "uncertainty", tmp_path / "app")
    words = ["--app", app, "--studies", tmp_path / "studies", "--host", "0.0.0.0", "--port", free_port()]
    words += ["--conf", "models_dir", model_folder.parent]
    command = [sys.executable, "-m", "monailabel.main", "start_server", *map(str, words)]
    variables = os.environ | {"PYTHONPATH": str(ROOT / "lib"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, env=variables, cwd=tmp_path, capture_output=True, text=True, timeout=480, check=False
    )
    assert done.returncode != 0
    said = done.stdout + done.stderr
    for way in ("segtrust users add NAME --role administrator", "--host 127.0.0.1", "--conf login off"):
        assert way in said


def test_a_removed_user_is_out_at_the_next_request_and_a_wrong_password_costs_time(server, users):
    users.add("gone", "administrator", "gone tomorrow")
    token = server.post("/auth/token", data={"username": "gone", "password": "gone tomorrow"}).json()
    bearer = {"Authorization": f"Bearer {token['access_token']}"}
    assert server.get("/info/", headers=bearer).status_code == 200
    users.add("gone", "administrator", "another word")
    assert server.get("/info/", headers=bearer).status_code == 401
    assert server.get("/info/", auth=("gone", "another word")).status_code == 200
    users.remove("gone")
    assert server.get("/info/", auth=("gone", "another word")).status_code == 401
    answers = [server.get("/info/", auth=("gone", f"guess {n}")) for n in range(8)]
    assert [a.status_code for a in answers[-2:]] == [429, 429]
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert requests.get(f"{server.url}/info/", auth=basic("reader"), timeout=60).status_code == 200
