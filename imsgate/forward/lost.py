"""What became of an image whose data was sent completely, and the response to it lost."""

import json
import re

import h11

from imsgate import errors
from imsgate.forward.connection import UpstreamConnection
from imsgate.forward.exchange import Exchanges, UpstreamRequest
from imsgate.forward.incoming import IncomingBody
from imsgate.forward.outgoing import OutgoingImage

_DATA = re.compile(r"/+file/*(?=\?|\Z)")
_MAX_RECORD_BYTES = 1 << 20
#: Headers that are about the data, and would change the response.
_ABOUT_DATA = ("accept", "content-", "if-", "range")


def can_be_checked(request: UpstreamRequest) -> bool:
    """Whether the record says what the upload did. After staging, it does not."""
    return request.method == "PUT" and _DATA.search(request.target) is not None


def is_stored(exchanges: Exchanges, request: UpstreamRequest, image: OutgoingImage) -> bool:
    """Whether the record at upstream says that it has this image, of this size and MD5."""
    question = UpstreamRequest(
        method="GET",
        target=_DATA.sub("", request.target),
        authority=request.authority,
        fields=[
            *(field for field in request.fields if not field[0].lower().startswith(_ABOUT_DATA)),
            ("Accept", "application/json"),
        ],
    )
    try:
        record = json.loads(_content(*exchanges.send(question)))
        return (record["status"], record["size"], record["checksum"]) == (
            "active",
            image.size,
            image.checksum,
        )
    except (errors.UpstreamFailed, ValueError, LookupError, TypeError, RecursionError):
        return False


def _content(connection: UpstreamConnection, response: h11.Response) -> bytes:
    """Raises UpstreamFailed, and ValueError unless it is the record."""

    def end(connection: UpstreamConnection, complete: bool) -> None:
        connection.close()

    body, content = IncomingBody(connection, 30, end), bytearray()
    try:
        for chunk in body if response.status_code == 200 else ():
            content += chunk
            if len(content) > _MAX_RECORD_BYTES:
                raise ValueError("the record is too long")
    finally:
        body.close()
    return bytes(content)
