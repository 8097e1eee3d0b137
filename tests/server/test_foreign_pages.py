"""Pages of other servers, against the running server: MONAI Label's own permission for all is gone."""

import pytest

FOREIGN = "https://elsewhere.example"


@pytest.mark.parametrize("page", [FOREIGN, "null"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/info/"),
        ("GET", "/datastore/?output=all"),
        ("DELETE", "/datastore/image?id=nobody"),
        ("GET", "/ohif/"),
        ("GET", "/static/"),
        ("OPTIONS", "/datastore/image"),
    ],
)
def test_another_page_is_refused_everywhere_and_gets_no_permission(server, method, path, page):
    asks = {"Access-Control-Request-Method": "DELETE"} if method == "OPTIONS" else {}
    answer = server.request(method, path, headers={"Origin": page, **asks})
    assert (answer.status_code, answer.json()["code"]) == (403, "origin")
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_a_name_of_somebody_else_is_refused(server):
    answer = server.get("/info/", headers={"Host": "elsewhere.example:8000"})
    assert (answer.status_code, answer.json()["code"]) == (400, "host")


def test_our_own_page_and_programs_are_answered(server):
    assert server.get("/info/", headers={"Origin": server.url}).status_code == 200
    assert server.get("/info/").status_code == 200
