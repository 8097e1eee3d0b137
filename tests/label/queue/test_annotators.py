"""Who asks for a scan."""

import pytest
from monailabel.endpoints.user.auth import User

from segtrust.errors import SettingError
from segtrust.label.login.identity import SignedIn
from segtrust.label.queue.annotators import annotator

NOBODY = User(username="admin", email="", name="", roles=[])
LOGGED_IN = SignedIn(username="ann@site", rank="reader")


@pytest.mark.parametrize(
    ("params", "name"),
    [({"client_id": " ann "}, "ann"), ({"client_id": "user-xyz"}, ""), ({}, ""), ({"client_id": None}, "")],
    ids=["a name", "the name in Slicer's settings", "OHIF", "nothing"],
)
def test_without_logins_the_client_says_its_name(params, name):
    assert annotator(params, NOBODY) == name


def test_a_login_is_believed_and_not_the_client():
    assert annotator({"client_id": "somebody else"}, LOGGED_IN) == "ann@site"


@pytest.mark.parametrize("name", [["ann"], {"a": 1}, 7, True, "n" * 201, "a\nb", "\u202e"], ids=repr)
def test_what_is_no_name_is_refused(name):
    with pytest.raises(SettingError, match="`client_id` must be a name of at most 200"):
        annotator({"client_id": name}, NOBODY)
