"""The driver's options and their validation."""

import os
import re
import ssl
import urllib.parse

from oslo_config import cfg

from imsgate.errors import BadConfig
from imsgate.settings import Settings

OPTS = (
    cfg.StrOpt(
        "http_store_url",
        help="URL under which the images are stored: https://nexus.example.org/repository/images, "
        "for example. A WebDAV collection must exist. Two stores cannot share a URL.",
    ),
    cfg.StrOpt("http_store_user", help="User name for Basic authentication."),
    cfg.StrOpt("http_store_password", secret=True, help="Password of this user."),
    cfg.StrOpt(
        "http_store_token",
        secret=True,
        help="Bearer token, in place of a user name and a password.",
    ),
    cfg.StrOpt(
        "http_store_ca_file",
        default="",
        help="File with the CA certificates that verify the server's certificate. If empty, the "
        "system's CA certificates.",
    ),
    cfg.StrOpt(
        "http_store_cert_file",
        default="",
        help="File with the client certificate for the server. If empty, none is sent.",
    ),
    cfg.StrOpt(
        "http_store_key_file",
        default="",
        help="File with the private key of the client certificate. If empty, the key is in "
        "http_store_cert_file.",
    ),
    cfg.StrOpt(
        "http_store_move",
        default="auto",
        choices=["auto", "always", "never"],
        help="Write each image under a temporary name and rename it with WebDAV's MOVE when it "
        "is complete. auto asks the server at start whether it supports MOVE. Without MOVE, an "
        "incomplete image may be visible on the server under its final name; imsgate never "
        "serves it.",
    ),
    cfg.BoolOpt(
        "http_store_conditional_writes",
        default=True,
        help="Send If-None-Match with each upload, so that a server that supports it never "
        "overwrites a file. Set to false if the server refuses such requests.",
    ),
    cfg.IntOpt(
        "http_store_connections",
        default=64,
        min=1,
        help="Maximum number of connections to the server for uploads, and the same number for "
        "all other requests, per process.",
    ),
    cfg.IntOpt(
        "http_store_attempts",
        default=3,
        min=1,
        help="Maximum number of attempts for a request whose connection fails, including the "
        "first one. Uploads are sent once.",
    ),
    cfg.IntOpt(
        "http_store_connect_timeout",
        default=10,
        min=1,
        help="Timeout in seconds for connecting to the server, and for waiting for one of "
        "http_store_connections.",
    ),
    cfg.IntOpt(
        "http_store_read_timeout",
        default=60,
        min=1,
        help="Timeout in seconds for the next bytes of a response, and for the server to accept "
        "the next 256 KiB of an upload.",
    ),
    cfg.IntOpt(
        "http_store_commit_timeout",
        default=600,
        min=1,
        help="Timeout in seconds for the response after the last byte of an upload, and to MOVE "
        "and DELETE. Raise it if the server copies or scans large files at that moment.",
    ),
)

_PORTS = {"http": 80, "https": 443}


class HttpSettings(Settings, group="http", opts=OPTS):
    """The options of one HTTP store."""

    http_store_url: str | None
    http_store_user: str | None
    http_store_password: str | None
    http_store_token: str | None
    http_store_ca_file: str
    http_store_cert_file: str
    http_store_key_file: str
    http_store_move: str
    http_store_conditional_writes: bool
    http_store_connections: int
    http_store_attempts: int
    http_store_connect_timeout: int
    http_store_read_timeout: int
    http_store_commit_timeout: int


class Base:
    """The parts of http_store_url. ``path`` has no slash at its end."""

    def __init__(self, settings: HttpSettings) -> None:
        parts = urllib.parse.urlsplit(str(settings.http_store_url))
        self.scheme = parts.scheme
        self.host = str(parts.hostname)
        self.port = parts.port or _PORTS[parts.scheme]
        self.netloc = parts.netloc
        self.path = parts.path.rstrip("/")

    def path_of(self, name: str) -> str:
        """The path of a file; "" is the collection itself."""
        return f"{self.path}/{name}"

    def url_of(self, name: str) -> str:
        """The URL of a file, as MOVE has to name it."""
        return f"{self.scheme}://{self.netloc}{self.path_of(name)}"


def check(name: str, settings: HttpSettings) -> None:
    """Raises BadConfig, naming the option but never its value."""
    _check_url(f"[{name}] http_store_url", settings.http_store_url or "")
    if settings.http_store_token and settings.http_store_user:
        raise BadConfig(f"[{name}] http_store_token", "cannot be set beside http_store_user")
    for one, other in (("user", "password"), ("password", "user")):
        if getattr(settings, f"http_store_{one}") and not getattr(settings, f"http_store_{other}"):
            raise BadConfig(f"[{name}] http_store_{other}", f"must be set beside http_store_{one}")
    if ":" in (settings.http_store_user or ""):
        raise BadConfig(f"[{name}] http_store_user", "must not contain a colon")
    # The header is ASCII, and a line end in it would begin another header.
    if not re.fullmatch(r"[!-~]*", settings.http_store_token or ""):
        raise BadConfig(f"[{name}] http_store_token", "must be ASCII without spaces")
    for option in ("ca_file", "cert_file", "key_file"):
        path = getattr(settings, f"http_store_{option}")
        if path and not os.access(path, os.R_OK):
            raise BadConfig(f"[{name}] http_store_{option}", "is not a readable file")
    if settings.http_store_key_file and not settings.http_store_cert_file:
        raise BadConfig(f"[{name}] http_store_cert_file", "must be set beside http_store_key_file")
    tls_context(name, settings)


def tls_context(name: str, settings: HttpSettings) -> ssl.SSLContext | None:
    """The TLS settings, or None for plain HTTP. Raises BadConfig."""
    if not str(settings.http_store_url).startswith("https:"):
        return None
    try:
        context = ssl.create_default_context(cafile=settings.http_store_ca_file or None)
    except (OSError, ValueError):
        raise BadConfig(f"[{name}] http_store_ca_file", "contains no CA certificates") from None
    if settings.http_store_cert_file:
        try:
            context.load_cert_chain(
                settings.http_store_cert_file,
                settings.http_store_key_file or None,
                password=_no_password,
            )
        except (OSError, ValueError):
            problem = "contains no certificate with its unencrypted private key"
            raise BadConfig(f"[{name}] http_store_cert_file", problem) from None
    return context


def _no_password() -> str:
    """In place of a prompt on the terminal."""
    raise ValueError("the key is encrypted")


def _check_url(key: str, url: str) -> None:
    if not url:
        raise BadConfig(key, "must be set")
    try:
        parts = urllib.parse.urlsplit(url)
        valid = parts.scheme in _PORTS and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if not valid or not re.fullmatch(r"[!-~]+", url):
        raise BadConfig(key, "must be an http or https URL, percent-encoded where needed")
    if "@" in parts.netloc:
        raise BadConfig(key, "must not contain credentials: set http_store_user instead")
    if parts.query or parts.fragment:
        raise BadConfig(key, "must not contain a query or a fragment")
