"""Bad input on every route of a served app: a reason as JSON, and never 500."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attacks.files import send_flipped_files
from attacks.routes import make_requests_up, send_bad_requests
from copied_studies import running_server
from flipped_files import FORMATS
from phantoms import make_blob, write_scan

SECONDS = 20  # longer than any request here may take


@pytest.fixture(scope="module")
def attacked(tmp_path_factory, tiny_model_original):
    """A server that nobody else uses, with scans that may be changed."""
    folder = tmp_path_factory.mktemp("attacked")
    scans = [write_scan(make_blob(seed=n), folder / f"scan-{n}.nii.gz") for n in range(3)]
    conf = {"models_dir": tiny_model_original.parent, "models": "tiny", "auto_score": "false"}
    with running_server(folder / "server", scans, conf=conf) as running:
        yield running


@pytest.mark.slow
def test_every_route_refuses_every_kind_of_bad_input_in_words(tmp_path):
    counts = send_bad_requests(tmp_path / "site", every=2)
    assert counts["requests"] > 2500
    assert counts["wrong"] == {}
    assert counts["server_lives"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_that_schemathesis_makes_up_from_the_description_is_an_error_of_the_server(tmp_path):
    counts = make_requests_up(tmp_path / "site", examples=60)
    assert counts["operations"] > 25
    assert counts["errors_of_the_server"] == {}
    assert counts["server_lives"]


@pytest.mark.slow
def test_files_with_flipped_bytes_are_segmented_or_refused_in_words(tmp_path):
    counts = send_flipped_files(tmp_path / "site", flips=40)
    for kind in FORMATS:
        assert counts[kind]["wrong"] == {}, kind
        assert counts[kind]["slowest_s"] < SECONDS
    assert counts["memory_grown_mb"] < 1500
    assert counts["server_lives"]


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
