"""What the doctor sends, and to where."""

import re

import pytest

from imsgate.client.credentials import AccessKey, TokenCredentials
from imsgate.doctor import way_in
from imsgate.doctor.diagnosis import Severity
from imsgate.doctor.way_in import bodies
from imsgate.doctor.way_in.site import Site
from tests.functional.gateway import ROOT, free_port


def site(url, **made):
    credentials = TokenCredentials(url, "secret", **made)
    return Site(credentials, patience=60, held=60, quiet=0)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://images.example/v2", "images.example"),
        ("https://images.example:8443", "images.example:8443"),
        ("http://[::1]:9292/image/", "[::1]:9292"),
    ],
)
def test_the_host_is_that_of_the_public_url(url, host):
    assert dict(site(url).fields("GET", "/v2/images", {}))["Host"] == host


def test_requests_have_the_token_unless_it_is_left_out():
    made = site("http://images.example")
    assert dict(made.fields("GET", "/", {}))["X-Auth-Token"] == "secret"
    assert "X-Auth-Token" not in dict(made.fields("GET", "/", {}, authorized=False))


def test_requests_can_be_signed():
    credentials = AccessKey("http://images.example", "access", "secret")
    made = Site(credentials, patience=60, held=60, quiet=0)
    assert "Access=access" in dict(made.fields("GET", "/v2/images", {}))["Authorization"]


@pytest.mark.parametrize("url", ["images.example", "ftp://images.example", "http://", "http://x:y"])
def test_an_invalid_public_url_is_one_finding(url):
    (finding,) = way_in.checks(TokenCredentials(url, "secret"))
    assert finding.check == "way-in.reachable"
    assert finding.severity is Severity.ERROR
    assert "The public URL cannot be used" in finding.message


def test_a_certificate_that_cannot_be_read_is_one_finding(tmp_path):
    credentials = TokenCredentials("https://x", "secret", verify=str(tmp_path / "missing.pem"))
    (finding,) = way_in.checks(credentials)
    assert "No such file" in finding.message


def test_nobody_listens_is_one_finding():
    (finding,) = way_in.checks(TokenCredentials(f"http://127.0.0.1:{free_port()}", "secret"))
    assert (finding.check, finding.severity) == ("way-in.reachable", Severity.ERROR)
    assert "refused" in finding.message


def test_no_pause_is_no_problem():
    (problem,) = bodies.quiet(site("http://images.example"))
    assert problem.severity is Severity.SKIPPED


def test_probes_have_names_of_their_own():
    names = [probe.name for probe in way_in.PROBES]
    assert len(set(names)) == len(names)


def test_the_page_has_every_probe():
    page = (ROOT / "doc/operators.md").read_text()
    shown = re.findall(r"^\| `way-in\.([a-z-]+)` \|", page, re.M)
    assert shown == ["reachable", *(probe.name for probe in way_in.PROBES), "cleanup"]
