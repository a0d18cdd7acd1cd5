"""Downloads: whole images or one range of bytes, by sendfile or streamed in bounded memory."""

from collections.abc import Callable, Iterable
from typing import Any

import webob

from imsgate.http import headers
from imsgate.http.request import Request
from imsgate.model import Image
from imsgate.stores.base import DirectUrls, LocalFiles, Store
from imsgate.transfer.counted import CountedChunks, CountedFile, SentBytes

#: Bytes per step where a server copies a file itself.
BLOCK_BYTES = 1 << 20


def respond(
    request: Request,
    image: Image,
    store: Store,
    url: str,
    on_sent: Callable[[int, int], None] | None = None,
) -> webob.Response:
    """The response to GET or HEAD of an image's data (RFC 9110 sections 13 and 14).

    304 if the client already has the data, 206 to GET with a Range (or with a Content-Range, as
    Glance accepts it), otherwise 200; 307 to the object's own URL if the store has one for
    clients. Once a response with data has ended, ``on_sent`` is called with the bytes sent and
    those expected. Other methods have no ranges (RFC 9110 section 14.2).

    Raises BadHeader, BadRange, RangeNotSatisfiable, StoreUnavailable, and ObjectNotFound if the
    store has lost the data.
    """
    assert image.size is not None
    response = webob.Response(content_type="application/octet-stream")
    response.accept_ranges = "bytes"
    if image.checksum:
        response.headers["Content-MD5"] = image.checksum
    if etag := image.checksum or image.os_hash_value:
        response.etag = etag
        if etag in request.if_none_match and "HTTP_IF_NONE_MATCH" in request.environ:
            return _not_modified(response)
    if request.method == "GET" and isinstance(store, DirectUrls):
        direct_url = store.direct_url(url)
        if direct_url is not None:
            return _redirect(direct_url)
    offset, length = 0, image.size
    byte_range = None
    if request.method == "GET" and response in request.if_range:
        byte_range = headers.byte_range(
            request.environ.get("HTTP_RANGE"), request.environ.get("HTTP_CONTENT_RANGE")
        )
    if byte_range is not None:
        offset, length = byte_range.within(image.size)
        response.status_int = 206
        response.headers["Content-Range"] = f"bytes {offset}-{offset + length - 1}/{image.size}"
    if request.method != "HEAD":
        counter = None if on_sent is None else SentBytes(on_sent, length)
        response.app_iter = _data(
            request, store, url, offset, length, length == image.size, counter
        )
    response.content_length = length
    return response


def _not_modified(response: webob.Response) -> webob.Response:
    response.status_int = 304
    response.content_length = response.content_type = None
    return response


def _redirect(direct_url: str) -> webob.Response:
    """A redirect that must not be cached: anyone who has the URL can read the data."""
    response = webob.Response(status=307, location=direct_url)
    response.cache_control.no_store = True
    response.content_type = None
    return response


def _data(
    request: Request,
    store: Store,
    url: str,
    offset: int,
    length: int,
    whole: bool,
    counter: SentBytes | None,
) -> Iterable[bytes]:
    if not isinstance(store, LocalFiles) or not _sends_files(request, whole):
        data = store.read(url, offset, length)
        return data if counter is None else CountedChunks(data, counter)
    file: Any = store.open(url)
    try:
        file.seek(offset)
        file = file if counter is None else CountedFile(file, offset, counter)
        chunks: Iterable[bytes] = request.environ["wsgi.file_wrapper"](file, BLOCK_BYTES)
    except BaseException:
        file.close()
        raise
    return chunks


def _sends_files(request: Request, whole: bool) -> bool:
    """Whether the server's ``wsgi.file_wrapper`` sends exactly the requested bytes, and closes
    the file.

    gunicorn starts at the file's position and stops at Content-Length. Other servers with a
    class of that name send from the position to the end of the file, which is right for a whole
    image only. uWSGI has a function, whose result must pass every filter unchanged, so data for
    it is streamed.
    """
    if not isinstance(request.environ.get("wsgi.file_wrapper"), type):
        return False
    return whole or request.environ.get("SERVER_SOFTWARE", "").startswith("gunicorn")
