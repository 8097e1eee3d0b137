"""Starting and ending a server, and reading what it answers."""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from segtrust.cli.demo import label_server
from segtrust.cli.demo.label_client import LabelClient
from segtrust.cli.demo.label_server import LabelServer, ServerError, sample_app

STUB = """
import http.server, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b'{"name": "stub"}')
print("stub starts", flush=True)
if "fail" in sys.argv: sys.exit("stub cannot start")
http.server.HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Answer).serve_forever()
"""


@pytest.fixture
def stub(tmp_path, monkeypatch):
    """A server that stands in for MONAI Label: a package of its name, first on the path."""
    package = tmp_path / "path" / "monailabel"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "main.py").write_text(STUB)
    app = tmp_path / "app-source"
    app.mkdir()
    (app / "main.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.setattr(label_server, "sample_app", lambda name: app)
    return lambda **options: LabelServer(
        "hippocampus", tmp_path, tmp_path / "work", log=tmp_path / "server.log", **options
    )


def test_server_answers_inside_and_has_ended_after(stub):
    with stub() as server:
        process = server._process
        assert server.info() == {"name": "stub"}
        assert (server.app / "main.py").is_file()
        assert process.poll() is None
    assert process.poll() is not None


def test_server_that_cannot_start_shows_its_last_lines(stub):
    with pytest.raises(ServerError, match="stub cannot start"), stub(conf=[("fail", "1")]):
        pass


def test_server_that_does_not_answer_in_time_is_ended(stub, monkeypatch):
    monkeypatch.setattr(label_server, "_START_SECONDS", 0.0)
    server, began = stub(), time.monotonic()
    with pytest.raises(ServerError, match="did not answer within"), server:
        pass
    assert server._process is None
    assert time.monotonic() - began < 10


def test_missing_sample_app_says_where_it_was_looked_for():
    with pytest.raises(ServerError, match=f"'no-such-app'.*{sys.prefix}"):
        sample_app("no-such-app")


@pytest.fixture
def client():
    class Answer(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path.startswith("/infer/broken"):
                self.reply(400, b'{"detail": "the scan is empty"}', "application/json")
            elif self.path.startswith("/infer"):
                parts = (
                    b'--X\r\nContent-Disposition: form-data; name="params"\r\n\r\n{"segtrust": {"a": 1}}\r\n'
                    b'--X\r\nContent-Disposition: form-data; name="image"; filename="f"\r\n\r\n'
                    b"\x00\r\n\xff\r\n--X--\r\n"
                )
                self.reply(200, parts, "multipart/form-data; boundary=X")
            else:
                self.reply(200, json.dumps({"id": "s1", "sent": body.decode()}).encode(), "application/json")

        def reply(self, status, body, kind):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield LabelClient(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
        thread.join()


def test_answer_is_taken_apart_without_changing_a_byte(client, tmp_path):
    answer = client.infer("hippocampus", "s1")
    assert answer.trust == {"a": 1}
    assert answer.save(tmp_path / "mask").read_bytes() == b"\x00\r\n\xff"


def test_error_of_the_server_is_told_in_its_own_words(client):
    with pytest.raises(ServerError, match=r"400.*the scan is empty"):
        client.infer("broken", "s1")


def test_next_scan_is_asked_for(client):
    assert client.next_scan("entropy") == {"id": "s1", "sent": "{}"}


def test_server_that_is_gone_is_an_error():
    with pytest.raises(ServerError, match="did not answer scoring/entropy"):
        LabelClient("http://127.0.0.1:9").score("entropy")
