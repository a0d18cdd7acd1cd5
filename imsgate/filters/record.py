"""Asks an application in the same pipeline for the record of the image that is being uploaded.

The question is a request of its own (``GET /v2/images/{id}``) with the headers of the upload, so
the application answers it for the same user.
"""

import io
import json
import re
from collections.abc import Iterable

from imsgate import errors, inspection
from imsgate.formats.names import Declaration
from imsgate.http import wsgi
from imsgate.http.wsgi import Environ, WsgiApp

_DATA = re.compile(r"/+(file|stage)/*$")
#: Headers of the upload that would change the answer, or describe its body.
_HEADERS = (
    "CONTENT_LENGTH CONTENT_TYPE HTTP_CONTENT_ENCODING HTTP_TRANSFER_ENCODING HTTP_EXPECT "
    "HTTP_RANGE HTTP_CONTENT_RANGE HTTP_ACCEPT_ENCODING HTTP_IF_MATCH HTTP_IF_NONE_MATCH"
).split()
_MAX_RECORD_BYTES = 1 << 20


def declared_format(app: WsgiApp, environ: Environ) -> Declaration | None:
    """The format that the data of the upload ``environ`` must have, by its record.

    None if the record has no format yet, and if the user may not see it: then the application
    refuses the upload, too. Raises Unavailable if the application fails.
    """
    path, count = _DATA.subn("", environ.get("PATH_INFO", ""))
    if not count:
        return None
    status, _, chunks = wsgi.call(app, _question(environ, path))
    try:
        content = _joined(chunks)
    finally:
        if hasattr(chunks, "close"):
            chunks.close()
    if status.startswith("5"):
        raise errors.Unavailable(what="The image's record")
    if not status.startswith("200"):
        return None
    try:
        record = json.loads(content)
        # In Glance's records, properties are members like all others.
        return inspection.declaration(
            record.get("disk_format"), record.get("container_format"), record
        )
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise errors.Unavailable(what="The image's record") from error


def _question(environ: Environ, path: str) -> Environ:
    question = {key: value for key, value in environ.items() if key not in _HEADERS}
    # Values that the application's own objects set on this request must not reach the upload.
    for key, value in question.items():
        if isinstance(value, dict):
            question[key] = dict(value)
    return {
        **question,
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "HTTP_ACCEPT": "application/json",
        "wsgi.input": io.BytesIO(),
    }


def _joined(chunks: Iterable[bytes]) -> bytes:
    content = bytearray()
    for chunk in chunks:
        content += chunk
        if len(content) > _MAX_RECORD_BYTES:
            raise errors.Unavailable(what="The image's record")
    return bytes(content)
