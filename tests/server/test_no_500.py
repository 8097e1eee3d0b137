"""Bad input on every route of a served app: a reason as JSON, and never 500."""

import json
import random

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from http_attacks import bad_requests, why_not_refused
from phantoms import make_blob, write_scan
from server.conftest import running_server

SECONDS = 20  # longer than any request here may take


@pytest.fixture(scope="module")
def attacked(tmp_path_factory, tiny_model_original):
    """A server that nobody else uses, with scans that may be changed."""
    folder = tmp_path_factory.mktemp("attacked")
    scans = [write_scan(make_blob(seed=n), folder / f"scan-{n}.nii.gz") for n in range(3)]
    conf = {"models_dir": tiny_model_original.parent, "models": "tiny", "auto_score": "false"}
    with running_server(folder / "server", scans, conf=conf) as running:
        yield running


def sent(session, server, attack):
    request = requests.Request(attack.method, f"{server.url}{attack.path}", **attack.options)
    return session.send(session.prepare_request(request), timeout=SECONDS)


@pytest.mark.slow
def test_every_route_refuses_every_kind_of_bad_input_in_words(attacked):
    attacks = list(bad_requests("scan-0", "tiny"))
    random.Random(12).shuffle(attacks)
    wrong = {}
    with requests.Session() as session:
        for attack in attacks[::2]:
            answer = sent(session, attacked, attack)
            kind = answer.headers.get("content-type", "")
            if reason := why_not_refused(attack, answer.status_code, kind, answer.content):
                wrong[attack.name] = reason
    assert not wrong
    assert attacked.stays_up()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_that_schemathesis_makes_up_from_the_description_is_an_error_of_the_server(attacked):
    schema = schemathesis.openapi.from_url(f"{attacked.url}/openapi.json")
    wrong = []
    for result in schema.get_all_operations():
        operation = result.ok()
        if (operation.method, operation.path) in NEVER:
            continue

        @seed(12)
        @settings(
            max_examples=60,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case):
            answer = case.call(timeout=SECONDS)
            if answer.status_code >= 500 and answer.status_code not in {503, 507}:
                wrong.append((case.method, case.path, answer.status_code, answer.text[:200]))

        ask()
    assert not wrong
    assert attacked.stays_up()


NEVER = {("post", "/train/{model}")}  # would train; its parameters are attacked above


@given(
    st.dictionaries(
        st.sampled_from(["model", "seed", "map", "flag", "contours", "structure", "device", "result_dtype"])
        | st.text(max_size=8),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
            ),
            max_leaves=8,
        ),
        max_size=4,
    )
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.slow
def test_params_of_any_shape_are_used_or_refused(attacked, params):
    text = json.dumps(params)
    for answer in (
        attacked.post("/infer/tiny?image=scan-1&output=json", data={"params": text}),
        attacked.post("/activelearning/entropy", data=text, headers={"Content-Type": "application/json"}),
        attacked.put("/datastore/image/info?image=scan-1", data={"info": text}),
    ):
        assert answer.status_code < 500, answer.text
