"""Nothing leaves the machine: not at start, not at inference, not in the scoring process."""

import os
import subprocess
import sys

from live_server import ROOT


def test_the_guard_of_this_test_does_refuse(tmp_path):
    log = tmp_path / "log"
    code = "import socket; socket.create_connection(('192.0.2.1', 9), timeout=1)"
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "tests" / "server" / "guard"),
        "SEGTRUST_CONNECTION_LOG": str(log),
    }
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert ended.returncode != 0
    assert b"PermissionError" in ended.stderr
    assert "192.0.2.1" in log.read_text()


def test_no_connection_leaves_the_machine(server, scan_id):
    assert server.infer("hippocampus", scan_id, output="json").status_code == 200
    assert server.post("/activelearning/random", json={}).status_code == 200
    assert server.post("/scoring/entropy?run_sync=true", json={}).status_code == 200
    assert server.connections.read_text() == ""
