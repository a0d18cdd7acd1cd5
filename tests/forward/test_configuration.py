"""Options that cannot work, and TLS."""

import datetime
import ipaddress
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from imsgate.errors import BadConfig
from imsgate.forward.application import Forward
from imsgate.forward.settings import ForwardSettings
from imsgate.spool.factory import app_factory
from imsgate.testing import servers
from tests.forward.conftest import request, served, upload
from tests.forward.scripted import OK, scripted
from tests.functional.gateway import free_port

INVALID = {
    "upstream": [
        {"upstream": None},
        {"upstream": "ftp://a"},
        {"upstream": "http://"},
        {"upstream": "http://a:x"},
        {"upstream": "http://user:pa55word@a"},
        {"upstream": "http://a?b"},
        {"upstream": "http://a#b"},
        {"upstream": "http://\xe4"},
    ],
    "upstream_names": [{"upstream_names": ["glance"]}],
    "requests": [{"requests": "("}],
    "token_file": [
        {"token_file": "/does/not/exist"},
        {"token_file": "/x", "access_key": "a", "secret_key": "b"},
    ],
    "access_key": [{"secret_key": "secret"}],
    "secret_key": [{"access_key": "a"}],
    "ca_file": [{"ca_file": "/does/not/exist", "upstream": "https://a"}, {"ca_file": "/x"}],
    "cert_file": [{"cert_file": "/does/not/exist", "upstream": "https://a"}, {"cert_file": "/x"}],
    "key_file": [{"key_file": "/x", "upstream": "https://a"}, {"key_file": "/x"}],
}


@pytest.mark.parametrize(
    ("option", "values"), [(name, each) for name, rows in INVALID.items() for each in rows]
)
def test_it_does_not_start(option, values):
    with pytest.raises(BadConfig) as caught:
        Forward(ForwardSettings(**{"upstream": "http://a"} | values))
    assert caught.value.key == f"[forward] {option}"
    assert "pa55word" not in str(caught.value)


@pytest.mark.parametrize(
    ("mode", "accepted"), [(0o600, True), (0o640, True), (0o644, False), (0o602, False)]
)
def test_a_token_is_not_for_everybody_on_the_host(tmp_path, mode, accepted):
    """Its group may renew it."""
    file = tmp_path / "token"
    file.write_text("token")
    file.chmod(mode)
    settings = ForwardSettings(upstream="http://a", token_file=str(file))
    if accepted:
        Forward(settings).pool.close()
        return
    with pytest.raises(BadConfig, match="owner and its group") as caught:
        Forward(settings)
    assert caught.value.key == "[forward] token_file"


def test_the_factory_reads_the_configuration(tmp_path):
    conf = tmp_path / "imsgate.conf"
    conf.write_text("[forward]\nupstream = http://a\n")
    assert isinstance(app_factory({"config_file": str(conf)}).app, Forward)
    with pytest.raises(BadConfig) as caught:
        app_factory({"config_file": str(conf)}, upstrem="x")
    assert caught.value.key == "forward.upstrem"


def test_a_file_makes_it_read_only(tmp_path):
    conf, file = tmp_path / "imsgate.conf", tmp_path / "read-only"
    conf.write_text(f"[forward]\nupstream = http://127.0.0.1:{free_port()}\n")
    made = app_factory({"config_file": str(conf), "state_path": str(tmp_path)})

    def ask(method):
        environ = servers.environ(PATH_INFO="/v2/images", REQUEST_METHOD=method)
        answer = servers.serve(made, environ)
        return answer.code, answer.reason

    passed_on = (502, "upstream_failed")  # nobody listens there
    assert [ask("GET"), ask("POST")] == [passed_on, passed_on]
    file.touch()
    assert [ask("GET"), ask("POST")] == [passed_on, (503, "service_read_only")]
    made.app.pool.close()


class Authority:
    """Issues certificates for 127.0.0.1, as PEM files with their keys."""

    def __init__(self, directory, name):
        self.directory = directory
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.file = self._write(name, self._sign(self.name, self.key, ca=True))

    def _sign(self, subject, key, *, ca):
        now = datetime.datetime.now(datetime.UTC)
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        return (
            x509.CertificateBuilder(self.name, subject, key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def _write(self, name, certificate, key=None):
        path = self.directory / f"{name}.pem"
        text = certificate.public_bytes(serialization.Encoding.PEM)
        if key:
            text += key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        path.write_bytes(text)
        return str(path)

    def issue(self, name):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        return self._write(name, self._sign(subject, key, ca=False), key)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"), "ours")


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("other"), "other")


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def tls(request, authority):
    """A server that requires a client certificate. With TLS 1.3, it sends session tickets, which
    make the socket readable without a response."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = request.param
    context.load_cert_chain(authority.issue("server"))
    context.load_verify_locations(authority.file)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def test_tls(forwards, authority, tls):
    data = bytes(range(256)) * (1 << 14)
    with scripted(
        lambda peer: peer.head().send(b"HTTP/1.1 100 Continue\r\n\r\n").body().send(OK),
        lambda peer: [peer.head().respond("200 OK", data) for _ in range(2)],
        tls=tls,
    ) as upstream:
        files = {"ca_file": authority.file, "cert_file": authority.issue("client")}
        app = forwards(upstream, **files)
        assert served(app, upload(data)).code == 204
        app.pool.close()
        assert [served(app, request()).body == data for _ in range(2)] == [True, True]
        app.pool.close()
    assert upstream.peers[0].received == data
    assert len(upstream.peers) == 2


def test_tls_early_response(forwards, authority, tls):
    """Seen while the body is being sent, although upstream reads no more of it."""
    with scripted(
        lambda peer: (
            peer.head()
            .send(b"HTTP/1.1 100 Continue\r\n\r\n")
            .body(1000)
            .respond("413 Too Large", b"too large")
            .wait()
        ),
        tls=tls,
    ) as upstream:
        files = {"ca_file": authority.file, "cert_file": authority.issue("client")}
        answer = served(forwards(upstream, **files), upload(bytes(1 << 24)), upstream)
    assert (answer.code, answer.body) == (413, b"too large")


@pytest.mark.parametrize("files", ["another authority", "no certificate"])
def test_tls_is_refused(files, forwards, authority, other, tls):
    with scripted(lambda peer: peer.head().respond("200 OK"), tls=tls) as upstream:
        app = forwards(
            upstream,
            **(
                {"ca_file": authority.file}
                if files == "no certificate"
                else {"ca_file": other.file, "cert_file": authority.issue("client")}
            ),
        )
        answer = served(app, request(HTTP_X_AUTH_TOKEN="secret"))
    assert (answer.code, answer.reason) == (502, "upstream_failed")
    assert all("x-auth-token" not in peer.headers for peer in upstream.peers)


def test_tls_end_without_notice_is_an_error(forwards, authority, tls):
    """Anybody on the way can end a TCP connection; a response without a length ends with TLS."""
    head = b"HTTP/1.0 200 OK\r\nContent-Type: application/octet-stream\r\n\r\nabc"
    with scripted(lambda peer: peer.head().send(head), tls=tls) as upstream:
        files = {"ca_file": authority.file, "cert_file": authority.issue("client")}
        app = forwards(upstream, **files)
        with pytest.raises(Exception, match="closed the connection"):
            served(app, request())
