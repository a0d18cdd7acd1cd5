"""Reverse proxies in front of a gateway: nginx, HAProxy and Apache, as doc/operators.md configures
them."""

import contextlib
import dataclasses
import functools
import pathlib
import re
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Iterator

from tests.functional.conftest import needs_program
from tests.functional.gateway import HOST, ROOT, eventually, free_port, read_answer

#: Where the page says that certificate and key are.
_TLS_FILES = {
    "/etc/ssl/private/images-with-key.pem": "both.pem",
    "/etc/ssl/private/images.key": "key.pem",
    "/etc/ssl/images.pem": "cert.pem",
}


def example(first_line: str) -> str:
    """The example of doc/operators.md that begins with this line."""
    page = (ROOT / "doc/operators.md").read_text()
    blocks: list[str] = re.findall(r"^```\n(.*?)^```$", page, re.M | re.S)
    return next(block for block in blocks if block.startswith(first_line))


@dataclasses.dataclass(frozen=True)
class Proxy:
    """A program. ``first_line`` is that of its example, which ``wrap`` completes to a
    configuration; ``command`` runs it in the foreground."""

    program: str
    first_line: str
    wrap: Callable[[pathlib.Path, str], str]
    command: Callable[[str, pathlib.Path], list[str]]

    def text(self) -> str:
        return example(self.first_line)


def _nginx(directory: pathlib.Path, server: str) -> str:
    places = "".join(
        f"{name}_temp_path {directory}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return (
        f"daemon off; master_process off; pid {directory}/pid; error_log stderr;\n"
        f"events {{}}\nhttp {{ access_log off; {places}\n{server}}}\n"
    )


_APACHE_MODULES = (
    "mpm_event authz_core headers proxy proxy_http ssl socache_shmcb setenvif reqtimeout filter "
    "deflate"
)


def _apache(directory: pathlib.Path, host: str) -> str:
    modules = "".join(
        f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"
        for name in _APACHE_MODULES.split()
    )
    return (
        f"{modules}ServerRoot {directory}\nServerName {HOST}\nPidFile {directory}/pid\n"
        f"DefaultRuntimeDir {directory}\nErrorLog /dev/stderr\nMutex posixsem\n"
        # One process, which is small and ends at once.
        "StartServers 1\nServerLimit 1\nThreadsPerChild 16\nMaxRequestWorkers 16\n"
        f"{host}"
    )


NGINX = Proxy(
    "nginx",
    "server {",
    _nginx,
    lambda program, conf: [program, "-c", str(conf), "-p", str(conf.parent)],
)
HAPROXY = Proxy(
    "haproxy",
    "defaults",
    lambda directory, text: text,
    lambda program, conf: [program, "-f", str(conf), "-db"],
)
APACHE = Proxy(
    "apache2",
    "Listen 443",
    _apache,
    lambda program, conf: [program, "-f", str(conf), "-X"],
)


def plain(proxy: Proxy, text: str) -> str:
    """The configuration without TLS."""
    if proxy is NGINX:
        return re.sub(r" *ssl_certificate.*\n", "", text).replace("443 ssl;", "443;")
    return re.sub(r" ssl crt \S+| *SSL.*\n", "", text)


@contextlib.contextmanager
def running(
    proxy: Proxy, text: str, upstream: int, tls: pathlib.Path | None = None
) -> Iterator[int]:
    """Run a proxy with this configuration; yields the port on which it serves. ``tls`` is the
    directory of a certificate."""
    program, port = needs_program(proxy.program), free_port()
    with tempfile.TemporaryDirectory() as home:
        directory = pathlib.Path(home)
        directory.chmod(0o755)  # Apache serves as another user
        text = text.replace("127.0.0.1:9292", f"{HOST}:{upstream}")
        text = re.sub(r"(?<!\d)(\*?:)?443\b", f"{HOST}:{port}", text).replace("{home}", home)
        for path, name in _TLS_FILES.items():
            text = text.replace(path, f"{tls}/{name}")
        conf, log = directory / "conf", directory / "log"
        conf.write_text(proxy.wrap(directory, text))
        with open(log, "wb") as output:
            process = subprocess.Popen(proxy.command(program, conf), stdout=output, stderr=output)
        try:
            eventually(functools.partial(_serves, process, port, tls, log), proxy.program)
            yield port
        finally:
            process.terminate()
            process.wait()


def _serves(
    process: "subprocess.Popen[bytes]", port: int, tls: pathlib.Path | None, log: pathlib.Path
) -> bool:
    assert process.poll() is None, log.read_text()
    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        connection = stack.enter_context(socket.create_connection((HOST, port), timeout=10))
        if tls is not None:
            context = ssl.create_default_context(cafile=f"{tls}/cert.pem")
            connection = stack.enter_context(context.wrap_socket(connection, server_hostname=HOST))
        connection.sendall(b"GET /healthcheck HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return read_answer(connection).status > 0  # also of a proxy whose gateway is away
    return False


def certificate(directory: pathlib.Path) -> pathlib.Path:
    """Make a certificate for 127.0.0.1 there."""
    key, cert = directory / "key.pem", directory / "cert.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1".split()
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert]
    subprocess.run([needs_program("openssl"), *command[1:]], check=True, capture_output=True)
    (directory / "both.pem").write_bytes(cert.read_bytes() + key.read_bytes())
    return directory
