"""Whether a server asks for a log-in, and when it does not start."""

import pytest
from monailabel.config import settings as platform

from segtrust.errors import SettingError
from segtrust.label.login.policy import gate_for, users_file
from segtrust.label.settings import AppSettings


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "segtrust.example.org"])
def test_a_server_that_others_can_reach_does_not_start_without_users(tmp_path, host):
    with pytest.raises(
        SettingError, match=r"segtrust users add .* --login off|segtrust users add"
    ) as refused:
        gate_for(AppSettings(), tmp_path, host)
    for way in ("segtrust users add", "--host 127.0.0.1", "--conf login off"):
        assert way in str(refused.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.9.9.9"])
def test_on_this_machine_alone_nobody_is_asked_until_there_are_users(tmp_path, host):
    gate = gate_for(AppSettings(), tmp_path, host)
    assert (gate.is_required, gate.may_be_open) == (False, False)
    users_file(tmp_path).add("anna", "reader", None)
    assert gate_for(AppSettings(), tmp_path, host).is_required


def test_it_starts_for_others_with_users_or_without_a_log_in_if_somebody_says_so(tmp_path, caplog):
    gate = gate_for(AppSettings(login="off"), tmp_path, "0.0.0.0")
    assert (gate.is_required, gate.may_be_open) == (False, True)
    assert "NO LOG-IN" in caplog.text
    users_file(tmp_path).add("anna", "reader", None)
    assert gate_for(AppSettings(), tmp_path, "0.0.0.0").is_required


def test_a_log_in_that_is_wanted_needs_somebody(tmp_path):
    with pytest.raises(SettingError, match="there are no users"):
        gate_for(AppSettings(login="on"), tmp_path, "127.0.0.1")
    openid = AppSettings(openid_issuer="https://id.example.org", openid_audience="segtrust")
    assert gate_for(openid, tmp_path, "127.0.0.1").is_required


def test_a_damaged_file_of_users_stops_the_start(tmp_path):
    (tmp_path / "users.json").write_text("{")
    (tmp_path / "users.json").chmod(0o600)
    with pytest.raises(SettingError, match="Nobody can log in"):
        gate_for(AppSettings(), tmp_path, "127.0.0.1")


def test_the_log_in_of_monai_label_is_not_taken_for_one(tmp_path, monkeypatch):
    monkeypatch.setattr(platform, "MONAI_LABEL_AUTH_ENABLE", True)
    with pytest.raises(SettingError, match="lets nobody in"):
        gate_for(AppSettings(), tmp_path, "127.0.0.1")


@pytest.mark.parametrize(
    "conf",
    [{"login": "perhaps"}, {"login_hours": "0"}, {"user_requests_at_once": "0"}],
)
def test_bad_settings_are_refused(conf):
    with pytest.raises(SettingError):
        AppSettings.from_conf(conf)


@pytest.mark.parametrize(
    "conf",
    [
        {"openid_issuer": "http://id.example.org", "openid_audience": "x"},
        {"openid_issuer": "https://id.example.org"},
        {"openid_issuer": "https://id.example.org", "openid_audience": "x", "openid_roles": "a=king"},
    ],
)
def test_a_provider_that_cannot_be_trusted_stops_the_start(tmp_path, conf):
    with pytest.raises(SettingError, match="openid"):
        gate_for(AppSettings.from_conf(conf), tmp_path, "127.0.0.1")
