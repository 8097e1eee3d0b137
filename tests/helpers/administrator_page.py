"""What `docs/how-to/administrator.md` prints, and nginx as the page sets it up."""

import contextlib
import re
import shutil
import socket
import ssl
import subprocess
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path

import pytest

from live_server import ended, until

__all__ = ["HOST", "Proxy", "block", "configuration", "running_nginx"]

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "administrator.md"
HOST = "segtrust.example.org"
_FRAME = """
daemon off;
pid nginx.pid;
error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include segtrust.conf;
}
"""


def block(language, word):
    """The page's only block of this language that holds ``word``."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
    (found,) = [text for text in blocks if word in text]
    return found


@dataclass
class Proxy:
    port: int
    certificate: Path

    def ask(self, method, path, body=None, headers=None):
        """Send one request over TLS and return status, headers and body."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        context.check_hostname = False  # the certificate is for HOST, which no name server knows
        connection = HTTPSConnection("127.0.0.1", self.port, context=context, timeout=300)
        with contextlib.closing(connection):
            connection.request(method, path, body, {"Host": HOST} | (headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()


def configuration(folder, port, backend):
    """Write the page's certificate and configuration with other ports and paths; return nginx's command."""
    for program in ("nginx", "openssl"):
        if shutil.which(program) is None:
            pytest.skip(f"needs the program {program}: apt-get install nginx-light openssl")
    places = {"/etc/ssl/certs": str(folder), "/etc/ssl/private": str(folder)}
    places |= {"listen 443": f"listen 127.0.0.1:{port}", "127.0.0.1:8000": f"127.0.0.1:{backend}"}

    def moved(text):
        for old, new in places.items():
            text = text.replace(old, new)
        return text

    make_certificate = moved(block("sh", "openssl req"))
    subprocess.run(make_certificate, shell=True, check=True, capture_output=True, cwd=folder)
    (folder / "segtrust.conf").write_text(moved(block("nginx", "server {")))
    (folder / "nginx.conf").write_text(_FRAME)
    return ["nginx", "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"]


@contextlib.contextmanager
def running_nginx(folder, port, backend, *, change=lambda text: text):
    """Start nginx with the page's configuration; end exactly this process."""
    command = configuration(folder, port, backend)
    own = folder / "segtrust.conf"
    own.write_text(change(own.read_text()))
    process = subprocess.Popen(command)

    def is_up():
        if process.poll() is not None:
            pytest.fail("nginx ended; its complaint stands above")
        with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), 5):
            return True
        return False

    with ended(process):
        until(is_up, 60, lambda: "nginx did not start")
        yield Proxy(port, folder / "segtrust.pem")
