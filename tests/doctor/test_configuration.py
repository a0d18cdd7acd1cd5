"""What the server would refuse, and what has no effect, with what to do about it."""

import pytest

from tests.doctor.conftest import wrong

FILE = "enabled_backends = fast:file\n"


@pytest.mark.parametrize(
    ("text", "where", "advice"),
    [
        ("[snif]\naccept_qcow = false\n", "[snif]", "Write [sniff]"),
        ("[zebra]\na = 1\n", "[zebra]", "neither a part nor a store"),
        ("[sniff]\naccept_qcow3 = false\n", "[sniff] accept_qcow3", "Write 'accept_qcow'"),
        ("[sniff]\nlease = 9\n", "[sniff] lease", "Move it to [upload]"),
        ("[sniff]\nzebra = 9\n", "[sniff] zebra", "no such option"),
        ("[aksk]\nclock_window = 9\n", "[aksk]", "does not have the filter aksk"),
        ("[forward]\nconnections = 9\n", "[forward]", "do not need it"),
        ("[s3]\ns3_store_bucket = b\n", "[s3]", "The stores are: file"),
        ("[keystone_authtoken]\nauth_type = password\n", "[keystone_authtoken]", "authtoken reads"),
        (
            f"[DEFAULT]\n{FILE}[fast]\nfilesystem_store_datadri = /x\n",
            "[fast] filesystem_store_datadri",
            "Write 'filesystem_store_datadir'",
        ),
    ],
)
def test_what_has_no_effect(examine, text, where, advice):
    found = [each for each in examine(text, "configuration") if each.severity == "warning"]
    assert [each.check for each in found] == ["configuration.unread"]
    assert found[0].message.endswith(f".conf: {where} has no effect.")
    assert advice in found[0].advice


@pytest.mark.parametrize(
    ("text", "option", "why"),
    [
        ("[jobs]\nqueue = q\n", "[jobs] queue", "[jobs] engine"),
        ("[webhooks]\ntimeout = 3\n", "[webhooks] timeout", "[webhooks] urls"),
        ("[ims_buckets]\nallowed = *:*\n", "[ims_buckets] allowed", "[ims_buckets] driver"),
        ("[cors]\nmax_age = 3\n", "[cors] max_age", "[cors] allowed_origin"),
        ("[metrics]\nenabled = no\ndirectory = /x\n", "[metrics] directory", "[metrics] enabled"),
        (
            "[DEFAULT]\nenabled_import_methods = [glance-direct]\n[web_download]\ntimeout = 3\n",
            "[web_download] timeout",
            "[DEFAULT] enabled_import_methods",
        ),
        ("[tokens]\ndelay_auth_decision = no\n", "[tokens] delay_auth_decision", "the Paste file"),
    ],
)
def test_what_another_option_overrides(examine, text, option, why):
    found = [each for each in examine(text, "configuration") if each.severity == "warning"]
    assert [each.check for each in found] == ["configuration.ineffective"]
    assert f": {option} has no effect" in found[0].message
    assert why in found[0].message


def test_what_the_server_would_refuse(examine):
    findings = examine(
        "[sniff]\nmax_ratio = -1\n[upload]\nlease = long\n[snif]\na = 1\n", "configuration"
    )
    assert wrong(findings) == [("configuration", "error")] * 2
    assert "[sniff] max_ratio" in findings[0].message + findings[1].message
    assert findings[-1].severity == "skipped"


def test_no_secret_is_shown(examine):
    text = "[database]\nconnection = postgresql+psycopg://me:hush@127.0.0.1:1/images\n"
    findings = examine(text, tables=False)
    assert ("database.connection", "error") in wrong(findings)
    assert "hush" not in "".join(each.message + each.advice for each in findings)
