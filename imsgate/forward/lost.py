"""What became of an image whose data was sent completely, and the response to it lost."""

import json
import re

from imsgate import errors
from imsgate.forward.exchange import Exchanges, UpstreamRequest
from imsgate.forward.incoming import whole_body
from imsgate.forward.outgoing import OutgoingImage

_DATA = re.compile(r"/+file/*(?=\?|\Z)")
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
        project=request.project,
        fields=[
            *(field for field in request.fields if not field[0].lower().startswith(_ABOUT_DATA)),
            ("Accept", "application/json"),
        ],
    )
    try:
        record = json.loads(_record(exchanges, question))
        return (record["status"], record["size"], record["checksum"]) == (
            "active",
            image.size,
            image.checksum,
        )
    except (errors.UpstreamFailed, ValueError, LookupError, TypeError, RecursionError):
        return False


def _record(exchanges: Exchanges, question: UpstreamRequest) -> bytes:
    """Raises UpstreamFailed, and ValueError unless it is the record."""
    connection, response = exchanges.send(question)
    try:
        if response.status_code != 200:
            raise ValueError("there is no record")
        return whole_body(connection)
    finally:
        connection.close()
