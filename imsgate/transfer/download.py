"""How image data goes out: whole or one range, by sendfile or streamed in bounded memory."""

from collections.abc import Iterable

import webob

from imsgate.http import headers
from imsgate.http.request import Request
from imsgate.model import Image
from imsgate.stores.base import DirectUrls, LocalFiles, Store

#: Bytes per step where a server copies a file itself.
BLOCK = 1 << 20


def respond(request: Request, image: Image, store: Store, url: str) -> webob.Response:
    """The answer to GET or HEAD of an image's data (RFC 9110 sections 13 and 14).

    304 when the client has it already, 206 for a Range (or for a Content-Range
    in the request, as Glance accepts it), else 200; 307 to where the data lies
    when the store wants GET to go there. Raises BadHeader, BadRange,
    RangeNotSatisfiable, StoreUnavailable, and ObjectNotFound when the store
    lost the data.
    """
    assert image.size is not None
    response = webob.Response(content_type="application/octet-stream")
    response.accept_ranges = "bytes"
    if image.checksum:
        response.headers["Content-MD5"] = image.checksum
        response.etag = image.checksum
        if image.checksum in request.if_none_match and "HTTP_IF_NONE_MATCH" in request.environ:
            response.status_int = 304
            response.content_length = response.content_type = None
            return response
    if request.method == "GET" and isinstance(store, DirectUrls):
        direct = store.direct_url(url)
        if direct is not None:
            return _elsewhere(direct)
    offset, length = 0, image.size
    wanted = headers.byte_range(
        request.environ.get("HTTP_RANGE"), request.environ.get("HTTP_CONTENT_RANGE")
    )
    if wanted is not None and response in request.if_range:
        offset, length = wanted.within(image.size)
        response.status_int = 206
        response.headers["Content-Range"] = f"bytes {offset}-{offset + length - 1}/{image.size}"
    if request.method != "HEAD":
        response.app_iter = _data(request, store, url, offset, length, length == image.size)
    response.content_length = length
    return response


def _elsewhere(direct: str) -> webob.Response:
    """A redirect that nobody keeps: whoever has the URL has the data."""
    response = webob.Response(status=307, location=direct)
    response.cache_control.no_store = True
    response.content_type = None
    return response


def _data(
    request: Request, store: Store, url: str, offset: int, length: int, whole: bool
) -> Iterable[bytes]:
    if not isinstance(store, LocalFiles) or not _sends_files(request, whole):
        return store.read(url, offset, length)
    file = store.open(url)
    try:
        file.seek(offset)
        answer: Iterable[bytes] = request.environ["wsgi.file_wrapper"](file, BLOCK)
    except BaseException:
        file.close()
        raise
    return answer


def _sends_files(request: Request, whole: bool) -> bool:
    """Whether the server's ``wsgi.file_wrapper`` sends what we mean, and closes it.

    gunicorn starts at the file's position and stops at Content-Length. Other
    servers with a class of that name send from there to the end, which is right
    for a whole file only. uWSGI has a function, and needs its very result
    returned through every filter, so it is streamed to.
    """
    if not isinstance(request.environ.get("wsgi.file_wrapper"), type):
        return False
    return whole or request.environ.get("SERVER_SOFTWARE", "").startswith("gunicorn")
