"""nginx as the administrator's page sets it up, in front of a server that only counts."""

import http.server
import json
import subprocess
import threading
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from monailabel.endpoints.user import auth

from administrator_page import HOST, configuration, running_nginx
from live_server import free_port

MEGABYTE = 1 << 20


class Counting(http.server.BaseHTTPRequestHandler):
    """Answers every request with what arrived, and redirects as MONAI Label does."""

    def answer(self):
        left, crc = int(self.headers.get("Content-Length") or 0), 0
        received = left
        while left > 0:
            part = self.rfile.read(min(left, MEGABYTE))
            crc += sum(part[:: 1 << 12])
            left -= len(part)
        self.server.seen.append((self.command, self.path))
        body = json.dumps({"bytes": received, "sum": crc, "headers": dict(self.headers)}).encode()
        self.send_response(307 if self.path == "/info" else 200)
        if self.path == "/info":
            self.send_header("Location", f"http://{self.headers['Host']}/info/")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = answer  # noqa: N815 -- names of the standard library

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def backend():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Counting) as server:
        server.seen = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def proxy(backend, tmp_path_factory):
    with running_nginx(tmp_path_factory.mktemp("nginx"), free_port(), backend.server_port) as running:
        yield running


def megabytes(count):
    return (bytes([number]) * MEGABYTE for number in range(count))


def upload(proxy, count):
    headers = {"Content-Length": str(count * MEGABYTE)}
    return proxy.ask("PUT", "/datastore/image?image=a", megabytes(count), headers)


@pytest.mark.viewers
def test_nginx_accepts_the_printed_configuration(tmp_path):
    command = configuration(tmp_path, free_port(), 8000)
    done = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr


@pytest.mark.viewers
def test_info_passes_and_the_server_learns_who_asked_and_how(proxy):
    status, _, body = proxy.ask("GET", "/info/")
    headers = json.loads(body)["headers"]
    assert status == 200
    assert (headers["Host"], headers["X-Forwarded-Proto"]) == (HOST, "https")
    assert headers["X-Forwarded-For"] == "127.0.0.1"


@pytest.mark.viewers
def test_an_upload_of_100_megabytes_arrives_whole(proxy):
    status, _, body = upload(proxy, 100)
    assert status == 200
    assert json.loads(body)["bytes"] == 100 * MEGABYTE
    assert json.loads(body)["sum"] == sum(range(100)) * (MEGABYTE >> 12)


@pytest.mark.viewers
def test_without_its_line_for_uploads_nginx_refuses_two_megabytes(backend, tmp_path):
    def change(text):
        return text.replace("client_max_body_size 2g;", "")

    with running_nginx(tmp_path, free_port(), backend.server_port, change=change) as proxy:
        headers = {"Content-Length": str(2 * MEGABYTE)}
        assert proxy.ask("PUT", "/datastore/image?image=a", b"", headers)[0] == 413


@pytest.mark.viewers
def test_nothing_of_an_upload_stays_in_the_folders_of_nginx(proxy):
    assert upload(proxy, 20)[0] == 200
    assert [p for p in (proxy.certificate.parent / "body").rglob("*") if p.is_file()] == []


@pytest.mark.viewers
def test_a_redirect_stays_encrypted(proxy):
    status, headers, _ = proxy.ask("GET", "/info")
    assert (status, headers["Location"]) == (307, f"https://{HOST}/info/")


@pytest.mark.viewers
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/reload"),
        ("POST", "//reload"),
        ("GET", "/logs/?lines=9"),
        ("PUT", "/model/hippocampus"),
        ("DELETE", "/datastore/image?id=a"),
        ("DELETE", "/%64atastore/label?id=a&tag=final"),
    ],
)
def test_what_the_page_closes_does_not_reach_the_server(proxy, backend, method, path):
    before = len(backend.seen)
    assert proxy.ask(method, path)[0] == 403
    assert len(backend.seen) == before


@pytest.mark.viewers
@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (f"https://{HOST}", 200),
        ("https://elsewhere.example", 403),
        (f"https://{HOST}.elsewhere.example", 403),
        ("null", 403),
    ],
)
def test_only_our_own_web_pages_may_ask(proxy, origin, status):
    assert proxy.ask("POST", "/infer/hippocampus", headers={"Origin": origin})[0] == status


@pytest.mark.viewers
def test_an_address_that_is_not_named_does_not_get_in(backend, tmp_path):
    def change(text):
        return text.replace("allow 127.0.0.1;", "")

    with running_nginx(tmp_path, free_port(), backend.server_port, change=change) as proxy:
        assert proxy.ask("GET", "/info/")[0] == 403


def test_log_in_of_monai_label_refuses_a_good_token(monkeypatch):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    monkeypatch.setattr(auth.settings, "MONAI_LABEL_AUTH_ENABLE", True)
    monkeypatch.setattr(auth, "get_public_key", lambda realm: public)
    claims = {"preferred_username": "a", "exp": time.time() + 100}
    token = jwt.encode(claims | {"realm_access": {"roles": ["monailabel-user"]}}, key, algorithm="RS256")
    assert jwt.decode(token, public, algorithms=["RS256"])["preferred_username"] == "a", "the token is good"
    with pytest.raises(jwt.InvalidTokenError, match="algorithms"):
        auth.from_token(token)
