"""Probes of what a proxy does to heads, paths and answers."""

import base64
import gzip
import urllib.parse
from collections.abc import Iterator

from imsgate.doctor.diagnosis import Severity
from imsgate.doctor.way_in.connection import ProbeAnswer
from imsgate.doctor.way_in.problem import Problem
from imsgate.doctor.way_in.site import Foreign, RefusedByImsgate, Site

#: Bytes that can be compressed, and whose every kilobyte differs.
_DATA = b"".join(b"%1023d\n" % number for number in range(256))
_FORGED = "imsgate-doctor.invalid"
_BURST = 40
_TAG = "a//b"


def reachable(site: Site) -> Iterator[Problem]:
    """Does imsgate answer, and does its answer say so?"""
    with site.open() as exchange:
        site.begin(exchange, "GET", "/v2/images?limit=1", length=0)
        exchange.finish()
        answer = exchange.answer(site.patience)
    if answer is None:
        yield Problem("the public URL does not answer", "look at the proxy and its log")
    elif not answer.is_ours and answer.status == 200 and b'"images"' in answer.body:
        yield Problem(
            "a proxy removes X-Openstack-Request-Id from responses",
            "let all response headers pass; without this one, no other check can tell who answers",
        )
    elif not answer.is_ours:
        yield Problem(
            f"somebody else than imsgate answers, with {answer.status}",
            "correct the address of the service in the proxy (nginx: proxy_pass; HAProxy: server; "
            "Apache: ProxyPass), or the public URL",
        )
    elif answer.status == 401:
        yield Problem(
            "imsgate refuses the credentials",
            "use valid ones; if they are, a proxy removes X-Auth-Token or changes what is signed",
        )
    else:
        yield from _usable(site, answer)


def _usable(site: Site, answer: ProbeAnswer) -> Iterator[Problem]:
    """Can the probes work with these credentials?"""
    try:
        if answer.status != 200:
            raise RefusedByImsgate(answer, "GET /v2/images")
        with site.image():
            pass
    except RefusedByImsgate as error:
        yield Problem(
            str(error), "use the credentials of a member of a project that may create images"
        )


def links(site: Site) -> Iterator[Problem]:
    """Do the links in responses lead back to the public URL?"""
    location = site.create().headers.get("location", "")
    if not location:
        yield Problem("a proxy removes the header Location", "let all response headers pass")
        return
    shown, public = urllib.parse.urlsplit(location), site.url
    advice = "set [DEFAULT] public_endpoint to the public URL, or have the proxy set "
    if shown.scheme != public.scheme:
        yield Problem(
            f"links begin with {shown.scheme}: instead of {public.scheme}:",
            f"{advice}X-Forwarded-Proto (and [oslo_middleware] enable_proxy_headers_parsing)",
        )
    if _host(shown) != _host(public):
        yield Problem(
            f"links lead to {shown.netloc} instead of {public.netloc}",
            f"{advice}Host (nginx: proxy_set_header Host $http_host; Apache: ProxyPreserveHost On)",
        )
    if not shown.path.startswith(f"{site.base}/v2/images/"):
        yield Problem(
            f"links have the path {shown.path} instead of {site.base}/v2/images/…",
            f"{advice}X-Forwarded-Prefix",
        )


def _host(url: urllib.parse.SplitResult) -> tuple[str | None, int | None]:
    return url.hostname, url.port or {"http": 80, "https": 443}.get(url.scheme)


def forged(site: Site) -> Iterator[Problem]:
    """Does the proxy stop headers by which a client can forge its address, host and path?"""
    headers = {
        "Forwarded": {"Forwarded": f"for=192.0.2.1;host={_FORGED};proto=ftp"},
        "X-Forwarded-Host": {"X-Forwarded-Host": _FORGED},
        "X-Forwarded-Prefix": {"X-Forwarded-Prefix": f"/{_FORGED}"},
        "X-Forwarded-Proto": {"X-Forwarded-Proto": "ftp"},
    }
    believed = []
    for name, fields in headers.items():
        location = site.create(fields).headers.get("location", "")
        if _FORGED in location or location.startswith("ftp:"):
            believed.append(name)
    if believed:
        yield Problem(
            f"a client can forge links and its address with {', '.join(believed)}",
            'nginx: proxy_set_header NAME ""; HAProxy: http-request del-header NAME; Apache: '
            "RequestHeader unset NAME",
        )


def headers(site: Site) -> Iterator[Problem]:
    """Do the headers of the API pass in both directions?"""
    missing = dict.fromkeys([*_request_headers(site), *_resumable(site), *_tus(site)])
    if missing:
        yield Problem(
            f"a proxy removes or changes {', '.join(missing)}",
            "remove the rules that do so (nginx: proxy_set_header, proxy_hide_header; HAProxy: "
            "del-header; Apache: RequestHeader, Header)",
        )


def _request_headers(site: Site) -> Iterator[str]:
    """Headers that make imsgate refuse an upload, if they arrive."""
    for name, text in {
        "X-Image-Meta-Store": _FORGED,
        "x-openstack-image-size": "511",
        "Content-Encoding": "imsgate-doctor",
    }.items():
        with site.image() as image_id:
            answer = site.upload(image_id, bytes(512), **{name: text})
        if answer.status == 204:
            yield name
        elif answer.reason is None and b'"reason"' in answer.body:
            yield "X-Imsgate-Reason"


def _resumable(site: Site) -> Iterator[str]:
    """The headers of draft-ietf-httpbis-resumable-upload."""
    with site.image() as image_id:
        path = f"/v2/images/{image_id}/upload"
        if "upload-limit" not in site.call("OPTIONS", path).headers:
            return  # a service behind imsgate cannot do it
        begun = site.upload(image_id, bytes(512), **{"Upload-Complete": "?0"})
        if begun.reason == "not_resumable":
            return
        if begun.status == 204:
            yield "Upload-Complete"
            return
        yield from _absent(begun, "Location", "Upload-Offset", "Upload-Complete")
        fields = {"Content-Type": "application/partial-upload", "Upload-Complete": "?1"}
        ended = site.call("PATCH", path, bytes(512), {**fields, "Upload-Offset": "512"})
        if ended.status == 400:
            yield "Upload-Offset"
        elif ended.status not in (202, 204):
            raise RefusedByImsgate(ended, "PATCH …/upload")


def _tus(site: Site) -> Iterator[str]:
    if "tus-version" not in site.call("OPTIONS", "/v2/uploads").headers:
        return
    with site.image() as image_id:
        key = _base64(image_id)
        fields = {"Tus-Resumable": "1.0.0", "Upload-Length": "512"}
        answer = site.call(
            "POST", "/v2/uploads", b"", {**fields, "Upload-Metadata": f"image_id {key}"}
        )
        if answer.reason == "not_resumable":
            return
        if answer.status == 412:
            yield "Tus-Resumable"
        elif answer.status == 400:
            yield "Upload-Length"
        elif answer.status == 201:
            yield from _absent(answer, "Location", "Tus-Resumable")
            if site.record(image_id)["status"] != "saving":
                yield "Upload-Metadata"
        else:
            raise RefusedByImsgate(answer, "POST /v2/uploads")


def _absent(answer: ProbeAnswer, *names: str) -> list[str]:
    return [name for name in names if name.lower() not in answer.headers]


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def paths(site: Site) -> Iterator[Problem]:
    """Does a path arrive as it was sent, with escaped and repeated slashes?"""
    with site.image() as image_id:
        escaped = urllib.parse.quote(_TAG, safe="")
        try:
            status = str(site.call("PUT", f"/v2/images/{image_id}/tags/{escaped}").status)
        except Foreign as error:
            status = f"{error.answer.status} from a proxy"
        tags = site.record(image_id)["tags"]
    if tags != [_TAG]:
        came = f"the tag {tags[0]!r}" if tags else status
        yield Problem(
            f"the path …/tags/{escaped} does not arrive as it was sent: it gets {came}",
            "nginx: proxy_pass without a path after the address; Apache: AllowEncodedSlashes "
            "NoDecode and ProxyPass … nocanon; HAProxy: no normalize-uri",
        )


def caching(site: Site) -> Iterator[Problem]:
    """Does a changed record show at once?"""
    with site.image() as image_id:
        site.record(image_id)
        change = [{"op": "replace", "path": "/min_ram", "value": 1}]
        fields = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
        answer = site.call("PATCH", f"/v2/images/{image_id}", change, fields)
        if answer.status != 200:
            raise RefusedByImsgate(answer, "PATCH …/images/{id}")
        if site.record(image_id)["min_ram"] != 1:
            yield Problem(
                "a proxy answers from a cache: a changed record is still shown as it was",
                "nginx: proxy_cache off; HAProxy: no cache-use; Apache: no CacheEnable",
            )


def ranges(site: Site) -> Iterator[Problem]:
    """Does a part of an image arrive as such, and only if it is unchanged?"""
    advice = (
        "let Range, If-None-Match and Content-Range pass; nginx: no proxy_cache; HAProxy: no "
        "del-header Range; Apache: no RequestHeader unset Range, no MaxRanges none"
    )
    with site.stored(_DATA) as image_id:
        path = f"/v2/images/{image_id}/file"
        part = site.call("GET", path, b"", {"Range": "bytes=1000-2999"})
        wanted = f"bytes 1000-2999/{len(_DATA)}"
        if part.status != 206:
            yield Problem(f"a request for a part of an image gets {part.status}, not 206", advice)
        elif part.body != _DATA[1000:3000] or part.headers.get("content-range") != wanted:
            yield Problem("a part of an image arrives with other bytes or Content-Range", advice)
        whole = site.call("GET", path)
        etag = whole.headers.get("etag", "")
        if not etag or site.call("GET", path, b"", {"If-None-Match": etag}).status != 304:
            yield Problem("a conditional request does not get 304", advice)


def compression(site: Site) -> Iterator[Problem]:
    """Does image data arrive without a coding that imsgate did not choose?"""
    with site.stored(_DATA) as image_id:
        fields = {"Accept-Encoding": "gzip, br, zstd", "Accept": "*/*"}
        answer = site.call("GET", f"/v2/images/{image_id}/file", b"", fields)
    coding = answer.headers.get("content-encoding")
    advice = (
        "nginx: gzip off, or no application/octet-stream in gzip_types; HAProxy: no compression "
        "algo; Apache: no AddOutputFilterByType DEFLATE"
    )
    if coding:
        yield Problem(f"a proxy compresses image data ({coding})", advice)
    elif answer.body != _DATA:
        yield Problem("image data was changed on the way", "look for rules that rewrite bodies")
    elif "content-length" not in answer.headers:
        yield Problem("a proxy removes Content-Length from downloads", advice)


def coded_uploads(site: Site) -> Iterator[Problem]:
    """Does a compressed upload arrive as the image that it contains?"""
    with site.image() as image_id:
        answer = site.upload(image_id, gzip.compress(_DATA), **{"Content-Encoding": "gzip"})
        if answer.reason == "unsupported_content_coding":
            yield Problem("imsgate accepts no compressed uploads", severity=Severity.SKIPPED)
        elif answer.status != 204 or site.record(image_id)["size"] != len(_DATA):
            yield Problem(
                "an upload with Content-Encoding: gzip is not decompressed by imsgate",
                "let Content-Encoding pass; Apache: no SetInputFilter DEFLATE",
            )


def rate(site: Site) -> Iterator[Problem]:
    """Do many small requests pass? A refusal by the proxy becomes ``way-in.rate``."""
    for _ in range(_BURST):
        site.call("GET", "/v2/images?limit=1")
    yield from ()
