"""The doctor finds what proxies break: each fault by its name, and none where there is none.

A fault is a change of the configuration in doc/operators.md, as operators make it.
"""

import dataclasses
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from imsgate.client.credentials import TokenCredentials
from imsgate.cmd import main
from imsgate.doctor import way_in
from imsgate.doctor.diagnosis import Diagnosis, Severity
from imsgate.doctor.way_in import bodies
from imsgate.doctor.way_in.site import OCTETS, Site
from tests.functional import proxies
from tests.functional.gateway import HOST, Gateway, eventually, free_port, serving
from tests.functional.proxies import APACHE, HAPROXY, NGINX, Proxy

CONFIG = "[oslo_middleware]\nenable_proxy_headers_parsing = true\n"

#: Probes that run with every fault, to show that they are not confused by it.
CONTROLS = {"links", "chunked"}


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("behind")
    with serving(Gateway(directory, config=CONFIG, workers=1)) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return proxies.certificate(tmp_path_factory.mktemp("tls"))


def examine(
    gateway: Gateway, url: str, tls: pathlib.Path | None = None, **options: Any
) -> dict[str, Diagnosis]:
    """The findings by the names of their checks; afterwards, no record is left."""
    verify = True if tls is None else str(tls / "cert.pem")
    credentials = TokenCredentials(url, gateway.token(), verify=verify)
    options = {"patience": 60, "held": 60, "quiet": 0.1, **options}
    findings = {finding.check: finding for finding in way_in.checks(credentials, **options)}
    assert gateway.call("GET", "/v2/images").json["images"] == []
    gateway.check_log()
    return findings


def wrong(findings: dict[str, Diagnosis]) -> set[str]:
    return {
        check.removeprefix("way-in.")
        for check, finding in findings.items()
        if finding.severity is not Severity.OK
    }


@pytest.mark.parametrize("proxy", [NGINX, HAPROXY], ids=lambda proxy: proxy.program)
def test_no_false_alarm(
    proxy: Proxy,
    behind: Gateway,
    tls: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command, with the configuration of doc/operators.md."""
    monkeypatch.setenv("OS_CACERT", str(tls / "cert.pem"))
    with proxies.running(proxy, proxy.text(), behind.port, tls) as port:
        words = ["--check", "way-in", "--public-url", f"https://{HOST}:{port}", "--json"]
        words += ["--os-token", behind.token(), "--patience", "60", "--quiet", "0.1"]
        status = main.main(["doctor", *words])
    entries = json.loads(capsys.readouterr().out)
    assert [entry for entry in entries if entry["severity"] != "ok"] == []
    assert status == 0
    assert len(entries) == 1 + len(way_in.PROBES)
    assert behind.call("GET", "/v2/images").json["images"] == []


@dataclasses.dataclass(frozen=True)
class Fault:
    """``old`` becomes ``new`` in the proxy's configuration. ``found`` are the checks that say so,
    with these ``words``."""

    proxy: Proxy
    old: str
    new: str
    found: str
    words: str
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


#: Where one more rule goes.
SERVER = "    location / {"
RULES = "    default_backend imsgate"
HOSTED = "</VirtualHost>"

#: A probe that waits for something that must not come waits this long, in seconds.
SOON = {"held": 1}

CUTTING = "backend cutting\n    timeout server 1s\n    server one 127.0.0.1:9292\n"

FAULTS = {
    "nginx buffers bodies": Fault(
        NGINX, "buffering off", "buffering on", "buffering", "sees nothing", SOON
    ),
    "nginx speaks HTTP/1.0": Fault(
        NGINX, "proxy_http_version 1.1;", "", "buffering", "a body with chunks", SOON
    ),
    "nginx limits bodies": Fault(
        NGINX, "max_body_size 0", "max_body_size 1m", "body-limit", "refused with 413"
    ),
    "nginx keeps a connection": Fault(
        NGINX, "keepalive_timeout 0;", "", "kept-connection", "the next request is lost"
    ),
    "nginx does not linger": Fault(
        NGINX, SERVER, f"lingering_close off; {SERVER}", "refusals", "did not reach"
    ),
    "nginx normalizes paths": Fault(NGINX, ":9292;", ":9292/;", "paths", "does not arrive"),
    "nginx compresses": Fault(
        NGINX, SERVER, f"gzip on; gzip_types *; {SERVER}", "compression", "(gzip)"
    ),
    "nginx caches": Fault(
        NGINX,
        "server {",
        "proxy_cache_path {home}/cache keys_zone=c:1m; proxy_cache c; proxy_cache_valid any 1h;\n"
        "server {",
        "caching",
        "from a cache",
    ),
    "nginx limits the rate": Fault(
        NGINX,
        "server {",
        # Other requests than those of the check are free, and the records can be removed.
        "limit_req_zone $arg_limit zone=z:1m rate=1r/m; limit_req zone=z burst=30 nodelay;\n"
        "server {",
        "rate",
        "503",
    ),
    "nginx changes the host": Fault(
        NGINX, "proxy_set_header Host $http_host;", "", "links", "links lead to"
    ),
    "nginx does not set the scheme": Fault(
        NGINX, "Proto $scheme", 'Proto ""', "links", "http: instead of https:"
    ),
    "nginx lets a host be forged": Fault(
        NGINX, 'proxy_set_header X-Forwarded-Host "";', "", "forged", "X-Forwarded-Host"
    ),
    "nginx cuts quiet uploads": Fault(
        NGINX,
        SERVER,
        "location ~ /file$ { client_body_timeout 1s; proxy_pass http://127.0.0.1:9292; "
        f"proxy_http_version 1.1; proxy_request_buffering off; }}\n{SERVER}",
        "quiet",
        "pauses for 60 s",
        {"quiet": 60},
    ),
    "HAProxy cuts quiet uploads": Fault(
        HAPROXY,
        "frontend images\n",
        # Only for uploads: no other request depends on how fast this machine is.
        f"{CUTTING}frontend images\n    use_backend cutting if METH_PUT\n",
        "quiet",
        "gets 504 from a proxy",
        {"quiet": 60},
    ),
    "HAProxy limits bodies": Fault(
        HAPROXY,
        RULES,
        "http-request deny deny_status 413 if { req.hdr(content-length) -m int gt 1000000 }\n"
        + RULES,
        "body-limit",
        "refused with 413",
    ),
    "HAProxy drops Expect": Fault(
        HAPROXY, RULES, f"http-request del-header Expect\n{RULES}", "expect", "nobody", SOON
    ),
    "HAProxy drops a header of Glance": Fault(
        HAPROXY,
        RULES,
        f"http-request del-header X-Image-Meta-Store\n{RULES}",
        "headers",
        "removes or changes X-Image-Meta-Store",
    ),
    "HAProxy drops headers of responses": Fault(
        HAPROXY,
        RULES,
        f"http-response del-header Upload-\n http-response del-header Upload-Offset\n{RULES}",
        "headers",
        "removes or changes Upload-Offset",
    ),
    "HAProxy drops Tus-Resumable": Fault(
        HAPROXY,
        RULES,
        f"http-request del-header Tus-Resumable\n{RULES}",
        "headers",
        "removes or changes Tus-Resumable",
    ),
    "HAProxy drops Range": Fault(
        HAPROXY, RULES, f"http-request del-header Range\n{RULES}", "ranges", "gets 200, not 206"
    ),
    "HAProxy drops Content-Encoding": Fault(
        HAPROXY,
        RULES,
        f"http-request del-header Content-Encoding\n{RULES}",
        "coded-uploads",
        "is not decompressed",
    ),
    "HAProxy refuses chunks": Fault(
        HAPROXY,
        RULES,
        "http-request deny deny_status 501 if { req.hdr(transfer-encoding) -m found }\n" + RULES,
        "chunked",
        "gets 501 from a proxy",
    ),
    "HAProxy refuses a method": Fault(
        HAPROXY, RULES, f"http-request deny if {{ method PATCH }}\n{RULES}", "caching", "403"
    ),
    "HAProxy drops the request id": Fault(
        HAPROXY,
        RULES,
        f"http-response del-header X-Openstack-Request-Id\n{RULES}",
        "reachable",
        "removes X-Openstack-Request-Id",
    ),
    "HAProxy has no server": Fault(
        HAPROXY, "127.0.0.1:9292", f"127.0.0.1:{free_port()}", "reachable", "503"
    ),
    "Apache cuts quiet uploads": Fault(
        APACHE,
        HOSTED,
        f"RequestReadTimeout body=1\n{HOSTED}",
        "quiet",
        "pauses for 60 s",
        {"quiet": 60},
    ),
    "Apache refuses escaped slashes": Fault(
        APACHE, "AllowEncodedSlashes NoDecode", "", "paths", "404 from a proxy"
    ),
    "Apache passes refusals on late": Fault(APACHE, "", "", "buffering", "last byte", SOON),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named(name: str, behind: Gateway, tls: pathlib.Path) -> None:
    fault = FAULTS[name]
    text = fault.proxy.text()
    assert fault.old in text
    changed = text.replace(fault.old, fault.new, 1) if fault.old else text
    with proxies.running(fault.proxy, changed, behind.port, tls) as port:
        names = {fault.found} if "quiet" in fault.options else {fault.found, *CONTROLS}
        findings = examine(behind, f"https://{HOST}:{port}", tls, names=names, **fault.options)
    assert wrong(findings) == {fault.found}
    finding = findings[f"way-in.{fault.found}"]
    assert fault.words.lower() in finding.message.lower()
    assert finding.advice


def test_what_became_of_an_upload_without_an_answer(behind: Gateway) -> None:
    """That it reached imsgate, or was refused by it, shows whether the body is buffered."""
    site = Site(TokenCredentials(behind.url, behind.token()), patience=60, held=60, quiet=0)

    def found(image_id: str) -> tuple[Severity, str]:
        problem = bodies.why_unanswered(site, image_id, "chunks")
        return problem.severity, problem.message

    with site.image() as image_id:
        severity, message = found(image_id)
        assert severity is Severity.ERROR
        assert "sees nothing" in message
    with site.image() as image_id:
        resumable = {"Upload-Complete": "?0"}
        refused = behind.upload(image_id, bodies.HOSTILE + bytes(512), headers=resumable)
        assert refused.outcome == (415, "image_refused")
        severity, message = found(image_id)
        assert severity is Severity.WARNING
        assert "only after the last byte" in message
    with site.image() as image_id, site.open() as exchange:
        site.begin(exchange, "PUT", f"/v2/images/{image_id}/file", OCTETS, length=512)
        eventually(lambda: behind.status(image_id) == "saving", "the upload has begun")
        severity, message = found(image_id)
        assert severity is Severity.SKIPPED
        assert "does not refuse" in message


def test_credentials_that_may_create_nothing(behind: Gateway) -> None:
    credentials = TokenCredentials(behind.url, behind.token("readers", ("reader",)))
    (finding,) = way_in.checks(credentials, patience=60, quiet=0)
    assert finding.severity is Severity.ERROR
    assert "POST /v2/images with 403 (forbidden)" in finding.message


class Interrupted(TokenCredentials):
    """Ctrl-C comes with this request."""

    remaining = 0

    def __call__(self, request: Any) -> Any:
        self.remaining -= 1
        if self.remaining == 0:
            raise KeyboardInterrupt
        return super().__call__(request)


@pytest.mark.parametrize("request_number", [2, 4, 9, 14])
def test_nothing_is_left_after_ctrl_c(behind: Gateway, request_number: int) -> None:
    credentials = Interrupted(behind.url, behind.token())
    credentials.remaining = request_number
    with pytest.raises(KeyboardInterrupt):
        list(way_in.checks(credentials, patience=60, held=60, quiet=0))
    assert json.loads(behind.call("GET", "/v2/images").body)["images"] == []


def test_nothing_is_left_if_the_caller_stops(behind: Gateway) -> None:
    findings = way_in.checks(
        TokenCredentials(behind.url, behind.token()), patience=60, held=60, quiet=0
    )
    next(findings)
    next(findings)
    findings.close()
    assert behind.call("GET", "/v2/images").json["images"] == []
