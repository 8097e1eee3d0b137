"""Tokens of an OpenID Connect provider: one of our own for attacks, and a certified one."""

import base64
import http.server
import json
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from live_server import ended, free_port, until
from segtrust.label.login.accounts import Account
from segtrust.label.login.openid import OpenidRules, Provider, ProviderError
from segtrust.label.settings import AppSettings

HELPERS = Path(__file__).parents[2] / "helpers"
KEYS = {"one": rsa.generate_private_key(65537, 2048), "curve": ec.generate_private_key(ec.SECP256R1())}
STRANGER = rsa.generate_private_key(65537, 2048)


class _Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        body = self.server.documents.get(self.path)
        self.send_response(200 if body is not None else 404)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *args):
        pass


def public(name, kind):
    return {**kind.to_jwk(KEYS[name].public_key(), as_dict=True), "kid": name, "use": "sig"}


@pytest.fixture
def site():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        server.issuer = f"http://127.0.0.1:{server.server_port}/realm"
        server.asked = []
        document = {"issuer": server.issuer, "jwks_uri": f"{server.issuer}/keys"}
        keys = [public("one", RSAAlgorithm), public("curve", ECAlgorithm), {"kty": "unknown", "kid": "x"}]
        server.documents = {
            "/realm/.well-known/openid-configuration": document,
            "/realm/keys": {"keys": keys},
        }
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def provider(site):
    return Provider(rules(site.issuer), Clock())


def rules(issuer, **changes):
    settings = AppSettings()
    options = {
        "issuer": issuer,
        "audience": "segtrust",
        "name_claim": settings.openid_name_claim,
        "role_claim": settings.openid_role_claim,
        "roles": settings.openid_roles,
    }
    return OpenidRules(**options | changes)


def token(site, *, key=None, algorithm="RS256", kid="one", headers=None, **changes):
    claims = {
        "iss": site.issuer,
        "aud": "segtrust",
        "sub": "7",
        "exp": time.time() + 100,
        "preferred_username": "otto",
        "realm_access": {"roles": ["segtrust-annotator", "other"]},
    } | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key or KEYS["one"], algorithm, {"kid": kid, **(headers or {})})


def test_a_good_token_is_its_user_with_the_highest_of_their_roles(site, provider):
    assert provider.account(token(site)) == Account("otto", "annotator", "openid")
    roles = {"roles": ["segtrust-reader", "segtrust-administrator", "segtrust-annotator"]}
    assert provider.account(token(site, realm_access=roles)).rank == "administrator"
    assert provider.account(token(site, key=KEYS["curve"], algorithm="ES256", kid="curve")).name == "otto"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "http://127.0.0.1:1/realm"},
        {"aud": "another"},
        {"aud": None},
        {"exp": 1},
        {"exp": None},
        {"nbf": time.time() + 1000},
        {"sub": None},
        {"preferred_username": None},
        {"preferred_username": "a:b"},
        {"preferred_username": 7},
        {"realm_access": None},
        {"realm_access": "segtrust-administrator"},
        {"realm_access": {"roles": ["administrator"]}},
        {"realm_access": {"roles": {"segtrust-administrator": 1}, "other": 2}, "exp": 1},
        {"key": STRANGER},
        {"kid": "curve"},
        {"kid": "nobody"},
        {"kid": "x"},
    ],
    ids=str,
)
def test_any_other_token_is_nobody(site, provider, changes):
    assert provider.account(token(site, **changes)) is None


def test_no_algorithm_and_the_public_key_as_a_secret_are_nobody(site, provider):
    good = token(site)
    head, body, signature = good.split(".")
    for algorithm in ("none", "None", "HS256", "RS256 "):
        forged = base64.urlsafe_b64encode(json.dumps({"alg": algorithm, "kid": "one"}).encode()).rstrip(b"=")
        for end in ("", signature):
            assert provider.account(f"{forged.decode()}.{body}.{end}") is None
    pem = KEYS["one"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    import hashlib  # noqa: PLC0415
    import hmac  # noqa: PLC0415

    forged = (
        base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": "one"}).encode()).rstrip(b"=").decode()
    )
    mac = hmac.new(pem, f"{forged}.{body}".encode(), hashlib.sha256).digest()
    assert provider.account(f"{forged}.{body}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}") is None
    for text in ("", ".", "..", "a.b.c", f"{head}.{body}", f"{head}.{body}.", good[:-4], f"{good}x"):
        assert provider.account(text) is None


def test_a_nonce_must_be_repeated(site, provider):
    assert provider.account(token(site, nonce="n"), "n").name == "otto"
    assert provider.account(token(site, nonce="m"), "n") is None
    assert provider.account(token(site), "n") is None


def test_keys_are_asked_for_once_and_again_for_a_new_one_but_not_for_every_made_up_name(site, provider):
    for _ in range(5):
        provider.account(token(site))
    assert len(site.asked) == 2
    for number in range(5):
        provider.account(token(site, kid=f"made up {number}"))
    assert len(site.asked) == 2
    provider.clock.now += 31
    site.documents["/realm/keys"]["keys"] = [public("one", RSAAlgorithm) | {"kid": "new"}]
    assert provider.account(token(site, kid="new")).name == "otto"
    assert provider.account(token(site, kid="one")) is None


def test_a_provider_that_is_away_or_another_is_said(site):
    away = Provider(rules("http://127.0.0.1:1"))
    with pytest.raises(ProviderError, match="cannot be asked"):
        away.account(token(site))
    site.documents["/realm/.well-known/openid-configuration"]["issuer"] = "http://elsewhere"
    with pytest.raises(ProviderError, match="must call itself"):
        Provider(rules(site.issuer)).account(token(site))
    site.documents["/realm/.well-known/openid-configuration"] = {
        "issuer": site.issuer,
        "jwks_uri": "http://10.0.0.1/keys",
    }
    with pytest.raises(ProviderError, match="must be https"):
        Provider(rules(site.issuer)).account(token(site))


def test_a_role_may_stand_at_the_top_of_a_token(site):
    flat = rules(site.issuer, role_claim="groups", roles=("/readers=reader",))
    assert flat.rank_of({"groups": ["/readers"]}) == "reader"
    assert flat.rank_of({"groups": "/readers"}) == "reader"
    assert flat.rank_of({"groups": [7, None]}) is None
    assert flat.rank_of({}) is None


@pytest.mark.slow
def test_tokens_of_a_certified_provider_are_taken(tmp_path):
    packages = Path(os.environ.get("SEGTRUST_OIDC_PROVIDER", "/opt/oidc-provider")) / "node_modules"
    if shutil.which("node") is None or not (packages / "oidc-provider").is_dir():
        pytest.skip(f"needs node and `npm install oidc-provider@9` in {packages.parent}")
    # a module finds its packages above its own place
    (tmp_path / "node_modules").symlink_to(packages)
    script = Path(shutil.copy(HELPERS / "oidc_provider.mjs", tmp_path))
    port, log = free_port(), tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["node", script, str(port), "a secret of the test"], stdout=out, stderr=out
        )
    with ended(process):
        until(lambda: b"listening" in log.read_bytes(), 60, log.read_text)
        issuer = f"http://127.0.0.1:{port}"
        answer = requests.post(
            f"{issuer}/token",
            data={"grant_type": "client_credentials"},
            auth=("machine", "a secret of the test"),
            timeout=30,
        )
        given = answer.json()["access_token"]
        assert Provider(rules(issuer, audience="urn:segtrust")).account(given) == Account(
            "otto", "reviewer", "openid"
        )
        assert Provider(rules(issuer)).account(given) is None
