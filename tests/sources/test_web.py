"""Downloads from real servers, and every way round the rules."""

import contextlib
import errno
import hashlib
import itertools
import socket
import ssl
import subprocess
import threading
import types
from importlib import metadata

import pytest

from imsgate import errors
from imsgate.config import Config
from imsgate.http.rate import Rate
from imsgate.sources import deadline, uris, web
from imsgate.sources.download_request import DownloadRequest, parse_digest
from imsgate.sources.downloads import Downloads
from tests.functional.conftest import needs
from tests.sources import web_server
from tests.sources.web_server import DATA, chunked, cut, redirect, serving, whole


@pytest.fixture
def server():
    with serving() as one:
        yield one


def settings(tmp_path, text=""):
    path = tmp_path / "imsgate.conf"
    path.write_text(text)
    config = Config([str(path)], state_path=str(tmp_path))
    return (
        config.read(uris.UriSettings),
        config.read(web.WebSettings),
    )


@pytest.fixture
def opened(tmp_path):
    """Make a Web. By default it may go to 127.0.0.1, any port, and nowhere else that is private."""

    def make(*, filters="allowed_ports = []", own="allowed_networks = 127.0.0.1/32", resolve=None):
        text = f"[import_filtering_opts]\n{filters}\n[web_download]\n{own}\n"
        more = {"resolve": resolve} if resolve else {}
        return web.Web(*settings(tmp_path, text), **more)

    return make


def no_wait(seconds):
    pass


def fetch(opened_web, uri, digest=None, size=100_000, check=lambda: None):
    request = DownloadRequest(uris=(uri,), digest=parse_digest(digest))
    downloads = Downloads(web=opened_web)
    with downloads.open(request, attempt=0, wait=no_wait, check=check) as download:
        return b"".join(iter(lambda: download.read(size), b""))


def found_at(*addresses):
    """A resolver that answers every name with these addresses, as a hostile DNS may."""

    def resolve(host, port, type=0):
        places = []
        for text in addresses:
            family = socket.AF_INET6 if ":" in text else socket.AF_INET
            place = (text, port, 0, 0) if ":" in text else (text, port)
            places.append((family, socket.SOCK_STREAM, 0, "", place))
        return places

    return resolve


# What comes in


def test_a_read_is_as_large_as_asked_however_the_data_arrives(server, opened):
    """A TLS record has 16 KiB, and each chunk costs hand-overs between threads."""
    server.routes["/image"] = chunked()
    uri, opened_web = f"{server.url}/image", opened()
    deadline = opened_web.deadline(lambda: None)
    with contextlib.closing(opened_web.download(uri, deadline, no_wait)) as download:
        sizes = [len(download.read(250_000)) for _ in range(len(DATA) // 250_000)]
    assert set(sizes) == {250_000}


@pytest.mark.parametrize("route", [whole(), chunked()], ids=["length", "chunked"])
def test_download(server, opened, route):
    server.routes["/image"] = route
    assert fetch(opened(), f"{server.url}/image?x=1") == DATA
    ((path, headers),) = server.seen
    assert path == "/image?x=1"
    assert headers["Host"] == f"127.0.0.1:{server.port}"
    assert headers["Accept-Encoding"] == "identity"


def test_host_header_is_the_name_that_was_asked_for(server, opened):
    server.routes["/"] = whole()
    one = opened(resolve=found_at("127.0.0.1"))
    assert fetch(one, f"http://Mirror.Example:{server.port}") == DATA
    assert server.seen[0][1]["Host"] == f"mirror.example:{server.port}"


def test_proxies_of_the_environment_are_not_used(server, opened, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    server.routes["/image"] = whole()
    assert fetch(opened(), f"{server.url}/image") == DATA


@pytest.mark.parametrize("algorithm", ["md5", "sha256", "sha512"])
def test_digest(server, opened, algorithm):
    server.routes["/image"] = whole()
    right = hashlib.new(algorithm, DATA).hexdigest()
    assert fetch(opened(), f"{server.url}/image", f"{algorithm}:{right.upper()}") == DATA
    wrong = hashlib.new(algorithm, DATA + b"x").hexdigest()
    with pytest.raises(errors.DigestMismatch):
        fetch(opened(), f"{server.url}/image", f"{algorithm}:{wrong}")


@pytest.mark.parametrize("text", ["", "sha256", "sha256:", "sha256:xyz", "crc32:00000000"])
def test_invalid_digest(text):
    with pytest.raises(errors.BadRequest):
        parse_digest(text)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_followed(server, opened, status):
    server.routes |= {"/a": redirect("/b?c#d", status), "/b": whole()}
    assert fetch(opened(), f"{server.url}/a") == DATA
    assert [path for path, _ in server.seen] == ["/a", "/b?c"]


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/x/../image", "/image"),
        ("/x/./y/..//image", "/x//image"),
        ("/../..", "/"),
        ("/x/.", "/x/"),
        ("/.x/..y/...?a=/../b", "/.x/..y/...?a=/../b"),
        ("/x/%2e%2E/image", "/x/%2e%2E/image"),
    ],
)
@pytest.mark.parametrize("redirected", [False, True])
def test_dot_segments_are_resolved(server, opened, path, sent, redirected):
    """As curl does; servers refuse them."""
    server.routes |= {"/a": redirect(f"{server.url}{path}"), sent.partition("?")[0]: whole()}
    server.routes[sent] = whole()
    assert fetch(opened(), f"{server.url}{'/a' if redirected else path}") == DATA
    assert server.seen[-1][0] == sent


def test_redirects_have_an_end(server, opened):
    server.routes["/a"] = redirect("/a")
    with pytest.raises(errors.SourceFailed, match="too many"):
        fetch(opened(own="allowed_networks=127.0.0.1\nmax_redirects = 3"), f"{server.url}/a")
    assert len(server.seen) == 4


def test_a_server_that_ignores_ranges_is_read_again(server, opened):
    server.routes["/image"] = cut(1000, 500, 300_000, ignore_range=True)
    right = hashlib.sha256(DATA).hexdigest()
    assert fetch(opened(), f"{server.url}/image", f"sha256:{right}") == DATA


@pytest.mark.parametrize(
    ("own", "agent"),
    [("", f"imsgate/{metadata.version('imsgate')}"), ("user_agent = Fetcher (x; y)/2", None)],
)
def test_downloads_say_who_they_are(server, opened, own, agent):
    server.routes["/image"] = whole()
    fetch(opened(own=f"allowed_networks = 127.0.0.1\n{own}"), f"{server.url}/image")
    ((_, headers),) = server.seen
    assert headers["User-Agent"] == (agent or "Fetcher (x; y)/2")


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/a b?c d", "/a%20b?c%20d"),
        ("  /b  ", "/b"),
        ("/b\u00fc", "/b%C3%BC"),
        ("/b%20c", "/b%20c"),
        ("/b\r\n\t?c", "/b%20?c"),
        ("?c#d e", "/a?c"),
    ],
    ids=ascii,
)
def test_redirects_that_are_no_uris(server, opened, location, path):
    def route(handler):
        if handler.path != "/a":
            whole()(handler)
            return
        handler.wfile.write(b"HTTP/1.1 302\r\nContent-Length: 0\r\nLocation: ")
        handler.wfile.write(location.encode() + b"\r\n\r\n")

    server.routes = dict.fromkeys(("/a", path.partition("?")[0]), route)
    assert fetch(opened(), f"{server.url}/a") == DATA
    assert server.seen[1][0] == path


@pytest.mark.parametrize(
    "addresses",
    [("127.0.0.1", "::1"), ("::1", "127.0.0.1")],
    ids=",".join,
)
def test_addresses_are_tried_in_order(server, opened, monkeypatch, addresses):
    """IPv6 first, where nobody listens, or which this host does not have."""
    server.routes["/"] = whole()
    tried = []
    here = threading.get_ident()  # threads of other tests may open sockets meanwhile

    class Opened(socket.socket):
        def __init__(self, family=-1, *more, fileno=None):
            if fileno is None and threading.get_ident() == here:
                tried.append(family)
                if family == socket.AF_INET6:
                    raise OSError(errno.EAFNOSUPPORT, "no IPv6")
            super().__init__(family, *more, fileno=fileno)

    monkeypatch.setattr(web.socket, "socket", Opened)
    one = opened(own="allowed_networks = 127.0.0.1, ::1/128", resolve=found_at(*addresses))
    assert fetch(one, f"http://mirror.example:{server.port}/") == DATA
    assert tried[:2] == [socket.AF_INET6, socket.AF_INET]


LENGTH = b"Content-Length: %d\r\n" % len(DATA)
HEADS = {
    "103": (b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 200 OK\r\n" + LENGTH, True),
    "102 and 100": (
        b"HTTP/1.1 102 P\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 199\r\n\r\nHTTP/1.1 200 OK\r\n"
        + LENGTH,
        True,
    ),
    "no reason": (b"HTTP/1.1 200\r\n" + LENGTH, True),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n" + LENGTH, True),
    "203": (b"HTTP/1.1 203 Non-Authoritative\r\n" + LENGTH, True),
    "folded": (b"HTTP/1.1 200 OK\r\nX-Long: a\r\n b\r\n" + LENGTH, True),
    "150 fields": (b"HTTP/1.1 200 OK\r\n" + b"Set-Cookie: a=b\r\n" * 150 + LENGTH, True),
    "long field": (
        b"HTTP/1.1 200 OK\r\nContent-Security-Policy: " + b"x" * 99_000 + b"\r\n" + LENGTH,
        True,
    ),
    "folded, not needed": (b"HTTP/1.1 200 OK\r\nX: a\r\n\tContent-Length: 5\r\n" + LENGTH, True),
    "needed and folded": (b"HTTP/1.1 200 OK\r\nContent-Length:\r\n %d\r\n" % len(DATA), True),
    "103 with 150 fields": (
        b"HTTP/1.1 103 E\r\n" + b"Link: <x>\r\n" * 150 + b"\r\nHTTP/1.1 200 OK\r\n" + LENGTH,
        True,
    ),
    "equal lengths": (b"HTTP/1.1 200 OK\r\n" + LENGTH + LENGTH, True),
    "one list": (b"HTTP/1.1 200 OK\r\nContent-Length: %d, %d\r\n" % ((len(DATA),) * 2), True),
    "gzip file": (b"HTTP/1.1 200 OK\r\nContent-Encoding: x-gzip\r\n" + LENGTH, True),
    "aws-chunked": (b"HTTP/1.1 200 OK\r\nContent-Encoding: aws-chunked\r\n" + LENGTH, True),
    "different lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + LENGTH, False),
    "no digits": (b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n", False),
    "101": (b"HTTP/1.1 101 Switching\r\n\r\nHTTP/1.1 200 OK\r\n" + LENGTH, False),
    "gzip coding": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n" + LENGTH, False),
    "brotli": (b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n" + LENGTH, False),
}


@pytest.mark.parametrize("eol", [b"\r\n", b"\n"], ids=["CRLF", "LF"])
@pytest.mark.parametrize(("head", "taken"), HEADS.values(), ids=HEADS)
def test_what_servers_really_send(server, opened, head, taken, eol):
    server.routes["/image"] = lambda handler: handler.wfile.write(
        (head + b"\r\n").replace(b"\r\n", eol) + DATA
    )
    with contextlib.nullcontext() if taken else pytest.raises(errors.SourceFailed):
        assert fetch(opened(), f"{server.url}/image") == DATA


@pytest.mark.parametrize("digest", [True, False])
def test_a_digest_tells_the_end(server, opened, digest):
    server.routes["/image"] = lambda handler: handler.answer(200, {}, DATA)
    right = f"sha256:{hashlib.sha256(DATA).hexdigest()}" if digest else None
    with contextlib.nullcontext() if digest else pytest.raises(errors.SourceFailed):
        assert fetch(opened(), f"{server.url}/image", right) == DATA


# What is refused

_METADATA = "http://169.254.169.254/latest/meta-data/"

_BLOCKED = [
    "http://127.0.0.1/",
    "http://127.0.0.2/",
    "http://127.255.255.254/",
    "http://0.0.0.0/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://100.100.100.200/",
    "http://168.63.129.16/",
    "http://192.0.0.192/",
    "http://198.18.0.1/",
    "http://224.0.0.1/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    _METADATA,
    "http://[::1]/",
    "http://[::]/",
    "http://[::127.0.0.1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[0:0:0:0:0:ffff:a9fe:a9fe]/",
    "http://[::ffff:0:127.0.0.1]/",
    "http://[64:ff9b::127.0.0.1]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[64:ff9b:1::10.0.0.1]/",
    "http://[2002:7f00:1::]/",
    "http://[2002:a9fe:a9fe::1]/",
    "http://[2001:0:7f00:1::]/",
    "http://[2a00:1450::5efe:10.0.0.1]/",
    "http://[fc00::1]/",
    "http://[fd00::]/",
    "http://[fd00:ec2::254]/",
    "http://[fe80::1]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
]

_MALFORMED = [
    "",
    "image",
    "//mirror.example/",
    "file:///etc/passwd",
    "FILE:///etc/passwd",
    "gopher://mirror.example/",
    "ftp://mirror.example/",
    "jar:http://mirror.example!/",
    "data:,x",
    "http:///image",
    "http://",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://0177.0.0.1/",
    "http://127.1/",
    "http://127.0.1/",
    "http://127.0.0.01/",
    "http://127.0.0.1.5/",
    "http://1/",
    "http://0/",
    "http://mirror.example.0x7f/",
    "http://[127.0.0.1]/",
    "http://[::1/",
    "http://[fe80::1%25eth0]/",
    "http://[fe80::1%eth0]/",
    "http://[v1.x]/",
    "http://user@mirror.example/",
    "http://user:secret@mirror.example/",
    "http://mirror.example@127.0.0.1/",
    "http://mirror.example\\@127.0.0.1/",
    "http://mirror.example:80\\/",
    "http://mirror.example:x/",
    "http://mirror.example:99999/",
    "http://mirror.example:-80/",
    "http://mirror.example:0/",
    "http://mirror.example/a b",
    "http://mirror.example/\r\nHost:evil",
    "http://mirror.example/\tx",
    "http://mirror.example/\0",
    "\x01http://mirror.example/",
    " http://mirror.example/",
    "http://mirror.example%2f127.0.0.1/",
    "http://127.0.0.1%00.mirror.example/",
    "http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/",
    "http://127\u30020\u30020\u30021/",
    "http://mirror\u200b.example/",
    "http://-mirror.example/",
    "http://mirror..example/",
    "http://mirror.example../",
    f"http://{'a' * 64}.example/",
]


@pytest.mark.parametrize("uri", [*_BLOCKED, *_MALFORMED], ids=ascii)
def test_uri_is_refused_before_anything_is_asked(opened, uri):
    def resolve(*args, **more):
        pytest.fail("it was looked up")

    with pytest.raises(errors.UriRefused):
        opened(own="", filters="allowed_ports = []", resolve=resolve).check(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "http://mirror.example/a%20b?c=d&e",
        "https://mirror.example",
        "HTTPS://Mirror.Example./",
        "http://8.8.8.8/",
        "http://[2a00:1450:4001:82b::200e]/",
        "http://xn--mnchen-3ya.example/",
        "http://under_score.example/",
    ],
)
def test_uri_is_taken(opened, uri):
    opened(own="", filters="").check(uri)


@pytest.mark.parametrize("uri", _BLOCKED)
def test_name_that_leads_to_a_blocked_address(opened, uri):
    address = uri.removesuffix("/latest/meta-data/").removeprefix("http://").strip("/[]")
    one = opened(own="", filters="", resolve=found_at(address))
    with pytest.raises(errors.UriRefused, match="leads to an address"):
        fetch(one, "http://mirror.example/")


@pytest.mark.parametrize(
    "addresses", list(itertools.permutations(["127.0.0.1", "127.0.0.2"])), ids=",".join
)
def test_one_blocked_address_of_two_refuses_both(server, opened, addresses):
    server.routes["/"] = whole()
    with pytest.raises(errors.UriRefused):
        fetch(opened(resolve=found_at(*addresses)), f"http://mirror.example:{server.port}/")
    assert server.seen == []


def test_name_that_changes_its_address_after_it_was_judged(server, opened):
    """Rebinding with a TTL of 0: nobody asks a second time, least of all the connection."""
    server.routes["/"] = whole()
    answers = iter(["127.0.0.1", "127.0.0.2", "169.254.169.254"])
    asked = []

    def resolve(host, port, type=0):
        asked.append(host)
        return found_at(next(answers))(host, port)

    one = opened(resolve=resolve)
    assert fetch(one, f"http://mirror.example:{server.port}/") == DATA
    assert asked == ["mirror.example"]
    with pytest.raises(errors.UriRefused):  # and the next download judges the next answer
        fetch(one, f"http://mirror.example:{server.port}/")
    assert len(server.seen) == 1


#: Other ways to write the one address that these tests allow.
_ALLOWED = ("http://127.0.0.1/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/")


@pytest.mark.parametrize("uri", [uri for uri in _BLOCKED if uri not in _ALLOWED])
def test_redirect_is_judged(server, opened, uri):
    server.routes["/a"] = redirect(uri)
    with pytest.raises(errors.UriRefused):
        fetch(opened(), f"{server.url}/a")


@pytest.mark.parametrize("address", ["127.0.0.2", "::1"])
def test_redirect_to_a_server_that_must_not_be_asked(server, opened, address):
    with contextlib.ExitStack() as stack:
        try:
            inner = stack.enter_context(serving(address))
        except OSError:
            needs(False, address)
        inner.routes["/"] = whole()
        host = f"[{address}]" if ":" in address else address
        for status, form in itertools.product((301, 302, 303, 307, 308), ("http:", "")):
            server.routes["/a"] = redirect(f"{form}//{host}:{inner.port}/", status)
            with pytest.raises(errors.UriRefused):
                fetch(opened(), f"{server.url}/a")
        assert inner.seen == []


@pytest.mark.parametrize(
    "location",
    [
        uri
        for uri in _MALFORMED
        if uri.startswith(("file", "gopher", "http")) and not {"\r", "\0"} & set(uri)
    ],
    ids=ascii,
)
def test_malformed_redirect(server, opened, location):
    encoded = location.encode("utf-8").decode("latin-1")
    server.routes["/a"] = redirect(encoded)
    with pytest.raises((errors.UriRefused, errors.SourceFailed)):
        fetch(opened(), f"{server.url}/a")


@pytest.mark.parametrize(
    ("filters", "uri", "refused"),
    [
        ("", "http://mirror.example:8080/", True),
        ("", "http://mirror.example:22/", True),
        ("allowed_ports = [443]", "http://mirror.example/", True),  # the port omitted
        ("allowed_ports = [8080]", "http://mirror.example:8080/", False),
        ("allowed_ports = []\ndisallowed_ports = [80]", "http://mirror.example/", True),
        ("allowed_ports = []\ndisallowed_ports = [80]", "https://mirror.example/", False),
        ("allowed_schemes = [https]", "http://mirror.example/", True),
        ("allowed_schemes = []\ndisallowed_schemes = [http]", "http://mirror.example/", True),
        ("allowed_schemes = []", "file:///etc/passwd", True),
        ("allowed_hosts = [mirror.example]", "http://MIRROR.example./", False),
        ("allowed_hosts = [mirror.example]", "http://mirror.example.evil.example/", True),
        ("allowed_hosts = [mirror.example]", "http://evil.example/?mirror.example", True),
        ("disallowed_hosts = [evil.example]", "http://EVIL.example/", True),
        ("disallowed_hosts = [evil.example]", "http://evil.example./", True),
        ("disallowed_hosts = [8.8.8.8]", "http://8.8.8.8/", True),
        ("disallowed_hosts = [8.8.8.8]", "http://134744072/", True),
    ],
)
def test_lists(opened, filters, uri, refused):
    one = opened(own="", filters=filters)
    if refused:
        with pytest.raises(errors.UriRefused):
            one.check(uri)
    else:
        one.check(uri)


def test_own_networks_can_be_refused(opened):
    own = "disallowed_networks = 8.8.0.0/16\nallowed_networks = 8.8.8.0/24,10.0.0.0/8"
    one = opened(own=own)
    one.check("http://10.1.2.3/")
    for uri in ("http://8.8.8.8/", "http://[64:ff9b::8.8.8.8]/"):
        with pytest.raises(errors.UriRefused):
            one.check(uri)


@pytest.mark.parametrize(
    ("own", "key"),
    [
        ("allowed_networks = 10.0.0.1/8", "[web_download] allowed_networks"),
        ("disallowed_networks = here", "[web_download] disallowed_networks"),
        ("user_agent = Fetch\u00e9", "[web_download] user_agent"),
        ("ca_file = /no/such/file", "[web_download] ca_file"),
    ],
)
def test_unusable_configuration(opened, own, key):
    with pytest.raises(errors.BadConfig) as refusal:
        opened(own=own)
    assert refusal.value.key == key


# What breaks


@pytest.mark.parametrize(
    "route",
    [
        lambda handler: handler.answer(404, {"Content-Length": "0"}),
        lambda handler: handler.answer(500, {"Content-Length": "0"}),
        lambda handler: handler.answer(206, {"Content-Length": "1"}, b"x"),
        lambda handler: handler.answer(302, {"Content-Length": "0"}),
        lambda handler: handler.answer(200, {}, DATA),
        lambda handler: handler.answer(200, {"Content-Length": "x"}, DATA),
        whole(Content_Encoding="br"),
        lambda handler: handler.wfile.write(b"nothing of the kind\r\n\r\n"),
        lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70000),
        lambda handler: None,
    ],
    ids=[
        *("404", "500", "206", "no location", "no end", "bad length", "encoded", "no http"),
        *("long header", "hung up"),
    ],
)
def test_answer_that_is_no_image(server, opened, route):
    server.routes["/image"] = route
    with pytest.raises(errors.SourceFailed):
        fetch(opened(), f"{server.url}/image")


@pytest.mark.parametrize(
    ("route", "passes"),
    [
        *((status, True) for status in (408, 425, 429, 500, 502, 503, 504, 599)),
        *((status, False) for status in (400, 401, 403, 404, 410, 416, 451)),
        (cut(1000, etag=None), True),
        (cut(1000, later_etag='"v2"'), True),
        (lambda handler: None, True),
        (lambda handler: handler.wfile.write(b"nothing of the kind\r\n\r\n"), False),
        (whole(Content_Encoding="br"), False),
    ],
)
def test_which_failures_may_pass(server, opened, route, passes):
    if isinstance(route, int):
        status = route
        route = lambda handler: handler.answer(status, {"Content-Length": "0"})  # noqa: E731
    server.routes["/image"] = route
    with pytest.raises(errors.SourceFailed) as caught:
        fetch(opened(), f"{server.url}/image")
    assert isinstance(caught.value, errors.SourceUnavailable) is passes


@pytest.mark.parametrize(
    ("route", "words"),
    [
        (cut(1000, etag=None), "after 1000 bytes the connection was cut"),
        (lambda handler: None, "after 0 bytes the connection was cut"),
        (
            lambda handler: handler.wfile.write(b"nothing of the kind\r\n\r\n"),
            "the server's response was not valid HTTP",
        ),
    ],
    ids=["cut", "hung up", "no http"],
)
def test_a_failure_says_what_happened(server, opened, route, words):
    server.routes["/image"] = route
    with pytest.raises(errors.SourceFailed, match=words):
        fetch(opened(), f"{server.url}/image")


def test_nobody_listens(opened):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(errors.SourceUnavailable, match="refused the connection"):
            fetch(opened(), f"http://127.0.0.1:{bound.getsockname()[1]}/")


def test_a_resolver_that_does_not_answer(opened):
    def resolve(*args, **more):
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    with pytest.raises(errors.SourceUnavailable):
        fetch(opened(resolve=resolve), "http://mirror.example/")


def test_unknown_name(opened):
    def resolve(*args, **more):
        raise socket.gaierror("no such name")

    with pytest.raises(errors.SourceFailed, match="not known") as caught:
        fetch(opened(resolve=resolve), "http://mirror.example/")
    assert not isinstance(caught.value, errors.SourceUnavailable)


@pytest.mark.parametrize("where", ["head", "body"])
@pytest.mark.parametrize(
    ("own", "trickles"), [("timeout = 0.2", False), ("max_time = 0.5", True)], ids=str
)
def test_slow_server_is_cut_off(server, opened, own, trickles, where):
    """Bytes that come one by one keep a silent-server limit away, but not the deadline."""
    gone = threading.Event()

    def route(handler):
        if where == "body":
            handler.answer(200, {"Content-Length": str(len(DATA))})
        else:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not gone.wait(0.05):
            if trickles:
                handler.wfile.write(b"x")

    server.routes["/image"] = route
    try:
        with pytest.raises(errors.SourceFailed):
            fetch(opened(own=f"allowed_networks = 127.0.0.1\n{own}"), f"{server.url}/image")
    finally:
        gone.set()


@pytest.mark.parametrize("where", ["head", "body"])
def test_a_server_that_trickles_is_cut_off(server, opened, monkeypatch, where):
    """By a clock that the test moves: each read takes a second."""
    now, gone = [0.0], threading.Event()

    def monotonic():
        now[0] += 0.5
        return now[0]

    def route(handler):
        if where == "body":
            handler.answer(200, {"Content-Length": str(len(DATA))})
        else:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not gone.wait(0.001):
            handler.wfile.write(b"x")

    server.routes["/image"] = route
    monkeypatch.setattr(deadline, "time", types.SimpleNamespace(monotonic=monotonic))
    try:
        with pytest.raises(errors.SourceUnavailable, match="too slowly"):
            fetch(opened(), f"{server.url}/image")
    finally:
        gone.set()


@pytest.mark.parametrize(
    ("steps", "too_slow"),
    [
        ([(30, 120_000)], False),
        ([(30, 119_999)], True),
        ([(29.9, 1), (0.2, 200_000)], False),
        ([(30, 10**9), (15, 1), (15, 1)], True),
        ([(0.1, 1)] * 290, False),
        ([(60, 0)], False),  # it was silent, which is not slow
        ([(60, 0), (1, 1)], True),
    ],
)
def test_the_rate_of_a_server(steps, too_slow):
    rate = Rate(4000)
    found = [rate.is_too_low(seconds, count) for seconds, count in steps]
    assert found == [False] * (len(steps) - 1) + [too_slow]


def interim_answers(handler):
    while True:
        handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 2000)


def endless_headers(handler):
    while True:
        handler.wfile.write(b"HTTP/1.1 100 Continue\r\n" + b"X: y\r\n" * 50 + b"\r\n")


@pytest.mark.parametrize("route", [interim_answers, endless_headers])
def test_answer_that_never_begins(server, opened, route):
    server.routes["/image"] = route
    with pytest.raises(errors.SourceFailed, match="no end"):
        fetch(opened(), f"{server.url}/image")


def test_interim_answer_is_passed_over(server, opened):
    def route(handler):
        handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        whole()(handler)

    server.routes["/image"] = route
    assert fetch(opened(), f"{server.url}/image") == DATA


@pytest.mark.parametrize("route", [whole(), chunked(), interim_answers])
def test_check_stops_a_download_wherever_it_is(server, opened, route):
    """The nth time that it is asked, until there is no nth time."""
    server.routes["/image"] = route
    asked = []
    for last in itertools.count(1):
        asked.clear()

        def check(last=last):
            asked.append(1)
            if len(asked) == last:
                raise errors.Cancelled(image_id="i")

        try:
            fetch(opened(), f"{server.url}/image", check=check)
        except errors.Cancelled:
            assert len(asked) == last
        except errors.SourceFailed:
            assert route is interim_answers
            break
        else:
            assert route is not interim_answers
            break
        if last == 20:
            break
    assert last > 5


# Going on where it was cut


@pytest.mark.parametrize("ends", [(1,), (500_000,), (0,), (100, 200_000, 200_000, 1_000_000)])
def test_interrupted_download_continues(server, opened, ends):
    server.routes["/image"] = cut(*ends)
    right = hashlib.sha256(DATA).hexdigest()
    assert fetch(opened(), f"{server.url}/image", f"sha256:{right}") == DATA
    assert len(server.seen) == len(ends) + 1
    assert all(headers["If-Range"] == web_server.ETAG for _, headers in server.seen[1:])


def test_interrupted_download_continues_where_redirects_led(server, opened):
    server.routes |= {"/a": redirect("/b"), "/b": cut(1000)}
    assert fetch(opened(), f"{server.url}/a") == DATA
    assert [path for path, _ in server.seen] == ["/a", "/b", "/b"]


@pytest.mark.parametrize(
    "route",
    [
        cut(1000, etag=None),
        cut(1000, etag='W/"weak"'),
        cut(1000, later_etag='"v2"'),
    ],
    ids=["no etag", "weak etag", "changed"],
)
def test_interrupted_download_that_cannot_continue(server, opened, route):
    server.routes["/image"] = route
    with pytest.raises(errors.SourceFailed):
        fetch(opened(), f"{server.url}/image")


def test_resumes_have_an_end(server, opened):
    server.routes["/image"] = cut(*range(1, 50))
    with pytest.raises(errors.SourceFailed):
        fetch(opened(own="allowed_networks=127.0.0.1\nmax_resumes = 3"), f"{server.url}/image")
    assert len(server.seen) == 4


def test_resume_is_judged_again(server, opened):
    server.routes["/"] = cut(1000)
    answers = iter(["127.0.0.1", "127.0.0.2"])

    def resolve(host, port, type=0):
        return found_at(next(answers))(host, port)

    with pytest.raises(errors.UriRefused):
        fetch(opened(resolve=resolve), f"http://mirror.example:{server.port}/")
    assert len(server.seen) == 1


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tls")
    pem = directory / "pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=mirror.example"
    subprocess.run(
        [
            *(*command.split(), "-addext", "subjectAltName=DNS:mirror.example"),
            *("-keyout", directory / "key", "-out", directory / "crt"),
        ],
        check=True,
        capture_output=True,
    )
    pem.write_bytes((directory / "key").read_bytes() + (directory / "crt").read_bytes())
    return pem


@pytest.fixture
def secure(server, certificate):
    """The server, by https; the names that it was asked for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    names = []
    context.sni_callback = lambda connection, name, _: names.append(name)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.routes["/"] = whole()
    return names


def test_https_is_checked_by_the_name(server, secure, opened, certificate):
    own = f"allowed_networks = 127.0.0.1\nca_file = {certificate}"
    trusting = opened(own=own, resolve=found_at("127.0.0.1"))
    assert fetch(trusting, f"https://mirror.example:{server.port}/") == DATA
    assert secure == ["mirror.example"]
    with pytest.raises(errors.SourceFailed):
        fetch(trusting, f"https://other.example:{server.port}/")
    with pytest.raises(errors.SourceFailed):
        fetch(opened(resolve=found_at("127.0.0.1")), f"https://mirror.example:{server.port}/")


def test_the_systems_authorities_are_read_when_they_are_needed(
    server, secure, opened, certificate, monkeypatch
):
    web = opened(resolve=found_at("127.0.0.1"))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert fetch(web, f"https://mirror.example:{server.port}/") == DATA
