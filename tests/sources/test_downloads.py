"""Downloads with published digests and from mirrors, from real servers."""

import hashlib

import pytest

from imsgate import errors
from imsgate.config import Config
from imsgate.sources import uris, web
from imsgate.sources.download_request import DownloadRequest
from imsgate.sources.downloads import Downloads
from tests.sources.checksum_files import DISTRIBUTIONS, HEX
from tests.sources.web_server import DATA, chunked, cut, redirect, serving, whole

SHA256 = f"sha256:{HEX['sha256']}"


@pytest.fixture(scope="module")
def _servers():
    with serving() as first, serving() as second, serving() as third:
        yield first, second, third


@pytest.fixture
def servers(_servers):
    """Three mirrors; all of them are on this host, at different ports."""
    for server in _servers:
        server.routes.clear()
        server.seen.clear()
    return _servers


@pytest.fixture
def downloads(tmp_path):
    path = tmp_path / "imsgate.conf"
    path.write_text(
        "[import_filtering_opts]\nallowed_ports = []\n"
        "[web_download]\nallowed_networks = 127.0.0.1/32\nmax_resumes = 1\n"
    )
    config = Config([str(path)], state_path=str(tmp_path))
    return Downloads(web=web.Web(config.read(uris.UriSettings), config.read(web.WebSettings)))


def fetch(downloads, attempt=0, size=100_000, **members):
    request = DownloadRequest.of(members)
    with downloads.open(
        request, attempt=attempt, wait=lambda seconds: None, check=lambda: None
    ) as download:
        return b"".join(iter(lambda: download.read(size), b""))


def mirrors(servers, path="/image"):
    return [f"{server.url}{path}" for server in servers]


# Published digests


@pytest.mark.parametrize("one", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
@pytest.mark.parametrize("line", ["right", "wrong", "missing"])
def test_a_distributions_file_of_digests(servers, downloads, one, line):
    server, *_ = servers
    wrong = hashlib.new(one.algorithm, b"other data").hexdigest()
    text = {"right": one.text(HEX[one.algorithm]), "wrong": one.text(wrong)}
    text["missing"] = one.without()
    server.routes |= {
        f"/cloud/{one.image}": whole(),
        f"/cloud/{one.list_name}": whole(text[line].encode()),
    }
    members = {
        "uri": f"{server.url}/cloud/{one.image}?from=here#part",
        "checksum_url": f"{server.url}/cloud/{one.list_name}",
    }
    if line == "right":
        assert fetch(downloads, **members) == DATA
    elif line == "wrong":
        with pytest.raises(errors.DigestMismatch) as caught:
            fetch(downloads, **members)
        assert caught.value.details["expected"] == wrong
    else:
        with pytest.raises(errors.ChecksumUnknown, match=f"no digest of '{one.image}'"):
            fetch(downloads, **members)
        assert [path for path, _ in server.seen] == [f"/cloud/{one.list_name}"]


def test_the_requested_name_decides_not_where_redirects_lead(servers, downloads):
    server, *_ = servers
    server.routes |= {
        "/an%20image": redirect("/storage/0815"),
        "/storage/0815": whole(),
        "/SUMS": whole(f"{HEX['sha256']}  an image\n".encode()),
    }
    found = fetch(downloads, uri=f"{server.url}/an%20image", checksum_url=f"{server.url}/SUMS")
    assert found == DATA


@pytest.mark.parametrize(
    ("route", "error", "words"),
    [
        (None, errors.SourceFailed, "answered 404"),
        (whole(b"<!DOCTYPE html><p>moved"), errors.SourceFailed, "an HTML page"),
        (whole(b"x" * ((1 << 20) + 1)), errors.SourceFailed, "larger than 1048576 bytes"),
        (cut(10, 10, data=b"x" * 100), errors.SourceUnavailable, "cut"),
        (lambda handler: handler.answer(503), errors.SourceUnavailable, "answered 503"),
    ],
    ids=["missing", "page", "large", "cut", "away"],
)
def test_a_file_of_digests_that_cannot_be_read(servers, downloads, route, error, words):
    server, *_ = servers
    server.routes |= {"/image": whole()} | ({"/SUMS": route} if route else {})
    with pytest.raises(error, match=words):
        fetch(downloads, uri=f"{server.url}/image", checksum_url=f"{server.url}/SUMS")
    assert {path for path, _ in server.seen} == {"/SUMS"}


# Pages in place of files

_PAGE = b"<html><body>Sign in</body></html>"


@pytest.mark.parametrize(
    ("data", "content_type", "kind"),
    [
        (b"<!DOCTYPE html>\n<html>", "text/html", "an HTML page"),
        (b"\xef\xbb\xbf \r\n<!doctype HTML>", "", "an HTML page"),
        (b"<!-- a\n> b --><html lang=en>", "application/octet-stream", "an HTML page"),
        (b'<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC>', "text/html", "an HTML page"),
        (_PAGE + bytes(100_000), "application/octet-stream", "an HTML page"),
        (b'{"error": "not found"}', "application/json; charset=utf-8", "a JSON document"),
        (b"[\n {}]", "application/problem+json", "a JSON document"),
        (b'{"error": "not found"}', "application/octet-stream", None),
        (b"{" + bytes(600), "application/json", None),
        (b"<htmlish", "text/html", None),
        (b"# Disk DescriptorFile", "text/html", None),
        (DATA, "application/json", None),
        (b"", "text/html", None),
    ],
)
def test_pages(servers, downloads, data, content_type, kind):
    server, *_ = servers
    server.routes["/image"] = whole(data, Content_Type=content_type)
    if kind is None:
        assert fetch(downloads, uri=f"{server.url}/image") == data
        return
    with pytest.raises(errors.SourceFailed, match=f"the server sent {kind} instead of the file"):
        fetch(downloads, uri=f"{server.url}/image")


# Mirrors


def failing(status):
    return lambda handler: handler.answer(status, {"Content-Length": "0"})


@pytest.mark.parametrize(
    "route",
    [
        failing(404),
        failing(503),
        lambda handler: None,
        whole(_PAGE),
        redirect("http://10.0.0.1/"),
        redirect("/image"),
        cut(300, 300, etag=None),
    ],
    ids=["404", "503", "hung up", "page", "refused", "loop", "cut in its first bytes"],
)
@pytest.mark.parametrize("digest", [{}, {"digest": SHA256}], ids=["", "digest"])
def test_the_next_mirror_is_used(servers, downloads, route, digest):
    first, second, third = servers
    first.routes["/image"] = route
    second.routes["/image"] = whole()
    assert fetch(downloads, uris=mirrors(servers), **digest) == DATA
    assert (len(second.seen), third.seen) == (1, [])


def ranges(data=DATA):
    """A server that answers ranges, without an ETag."""

    def route(handler):
        wanted = handler.headers["Range"]
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        head = {"Content-Length": str(len(data) - start)}
        if wanted:
            head["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        handler.answer(206 if wanted else 200, head, data[start:])

    return route


@pytest.mark.parametrize("last", [ranges(), whole(), chunked()], ids=["range", "whole", "chunked"])
@pytest.mark.parametrize("known", [True, False], ids=["known size", "chunked"])
def test_another_mirror_continues_if_a_digest_proves_the_file(servers, downloads, last, known):
    first, second, third = servers

    def broken(handler):
        handler.answer(200, {"Transfer-Encoding": "chunked"})
        handler.wfile.write(b"%x\r\n%b" % (len(DATA), DATA[:400_000]))

    first.routes["/image"] = cut(400_000, etag=None) if known else broken
    second.routes["/image"] = failing(500)
    third.routes["/image"] = last
    assert fetch(downloads, uris=mirrors(servers), digest=SHA256) == DATA
    assert [server.seen[0][1].get("Range") for server in servers] == [
        None,
        "bytes=400000-",
        "bytes=400000-",
    ]


def test_a_mirror_with_another_file_is_left_out(servers, downloads):
    first, second, third = servers
    first.routes["/image"] = cut(1000, etag=None)
    second.routes["/image"] = ranges(DATA + b"more")
    third.routes["/image"] = ranges()
    assert fetch(downloads, uris=mirrors(servers), digest=SHA256) == DATA


@pytest.mark.parametrize("body", [b"", DATA[:300_000], DATA + b"x"], ids=len)
def test_a_range_that_was_not_requested_is_refused(servers, downloads, body):
    def route(handler):
        span = f"bytes 5-{len(body) + 4}/{len(DATA)}"
        handler.answer(206, {"Content-Length": str(len(body)), "Content-Range": span}, body)

    first, second, third = servers
    first.routes["/image"] = cut(1000, etag=None)
    second.routes["/image"] = route
    third.routes["/image"] = whole()
    assert fetch(downloads, uris=mirrors(servers), digest=SHA256) == DATA
    assert len(third.seen) == 1


def test_the_digest_judges_what_two_mirrors_sent(servers, downloads):
    first, second, _ = servers
    first.routes["/image"] = cut(1000, etag=None)
    second.routes["/image"] = ranges(b"x" * len(DATA))
    addresses = mirrors(servers[:2])
    with pytest.raises(errors.SourceUnavailable, match="The sha256 digest of the data is"):
        fetch(downloads, uris=addresses, digest=SHA256)
    with pytest.raises(errors.DigestMismatch):
        fetch(downloads, attempt=1, uris=addresses[::-1], digest=f"sha256:{'0' * 64}")


def test_without_a_digest_the_whole_begins_again_at_another_mirror(servers, downloads):
    first, second, _ = servers
    first.routes["/image"] = cut(*[1000] * 9, etag=None)
    second.routes["/image"] = whole()
    addresses = mirrors(servers[:2])
    with pytest.raises(errors.SourceUnavailable, match="after 1000 bytes"):
        fetch(downloads, uris=addresses)
    assert second.seen == []
    assert fetch(downloads, attempt=1, uris=addresses) == DATA


@pytest.mark.parametrize("attempt", range(5))
def test_each_attempt_begins_at_another_mirror(servers, downloads, attempt):
    for server in servers:
        server.routes["/image"] = whole()
    fetch(downloads, attempt=attempt, uris=mirrors(servers))
    assert [len(server.seen) for server in servers] == [
        int(number == attempt % 3) for number in range(3)
    ]


@pytest.mark.parametrize(
    ("statuses", "passes"), [((404, 404, 404), False), ((404, 503, 404), True)], ids=str
)
def test_a_failure_names_every_mirror(servers, downloads, statuses, passes):
    for server, status in zip(servers, statuses, strict=True):
        server.routes["/image"] = failing(status)
    with pytest.raises(errors.SourceFailed) as caught:
        fetch(downloads, uris=mirrors(servers))
    assert isinstance(caught.value, errors.SourceUnavailable) is passes
    expected = "; ".join(f"127.0.0.1: the server answered {status}" for status in statuses)
    assert str(caught.value).endswith(f"its source: {expected}")


# Requests

_URI = "http://mirror.example/image"


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ({}, errors.UriRefused),
        ({"uri": _URI, "digest": "sha256:x"}, errors.BadRequest),
        ({"uri": _URI, "digest": SHA256, "checksum_url": _URI}, errors.BadRequest),
        ({"uri": _URI, "checksum_signature_url": _URI}, errors.BadRequest),
        ({"uri": "http://mirror.example/", "checksum_url": _URI}, errors.BadRequest),
        (
            {"uri": _URI, "uris": ["http://b.example/other"], "checksum_url": _URI},
            errors.BadRequest,
        ),
    ],
)
def test_a_request_that_contradicts_itself(members, error):
    with pytest.raises(error):
        DownloadRequest.of(members)


def test_the_uri_is_the_first_of_the_mirrors():
    members = {"uri": _URI, "uris": ["http://b.example/image", _URI]}
    assert DownloadRequest.of(members).uris == (_URI, "http://b.example/image")


@pytest.mark.parametrize(
    "refused",
    ["http://10.0.0.1/image", "file:///image", "http://[::1]/image", "http://127.1/image"],
)
@pytest.mark.parametrize("member", ["uri", "uris", "checksum_url"])
def test_the_rules_hold_for_every_url(downloads, member, refused):
    allowed = {"uri": _URI, "checksum_url": f"{_URI}.sha256"}
    downloads.check(DownloadRequest.of(allowed))
    value = [_URI, refused] if member == "uris" else refused
    with pytest.raises(errors.UriRefused):
        downloads.check(DownloadRequest.of({**allowed, member: value}))


@pytest.mark.parametrize("member", ["uri", "checksum_url"])
def test_the_rules_hold_where_redirects_lead(servers, downloads, member):
    server, *_ = servers
    server.routes |= {"/a/image": whole(), "/a/SUMS": whole(f"{HEX['md5']}  image".encode())}
    server.routes |= dict.fromkeys(("/b/image", "/b/SUMS"), redirect("http://10.0.0.1/"))
    members = {"uri": f"{server.url}/a/image", "checksum_url": f"{server.url}/a/SUMS"}
    assert fetch(downloads, **members) == DATA
    with pytest.raises(errors.UriRefused):
        fetch(downloads, **{**members, member: members[member].replace("/a/", "/b/")})
