"""The helper itself: what else is tested here depends on it."""

import subprocess

import pytest
import requests


def test_the_pacs_is_seen_from_inside_only(pacs):
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{pacs.dicomweb}/studies", timeout=5)
    command = [*pacs.network.command_prefix, "cat", "/proc/net/dev"]
    devices = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[2:]
    assert [line.split(":")[0].strip() for line in devices] == ["lo"]


def test_the_server_answers(server):
    assert server.get("/info/").json()["datastore"]["total"] > 0
