"""What became of an image whose data was sent completely, and the response to it lost."""

import contextlib
import json
import re
from collections.abc import Iterator

from imsgate import errors
from imsgate.forward.connection import UpstreamConnection
from imsgate.forward.exchange import Exchanges, UpstreamRequest
from imsgate.forward.fingerprint import Fingerprint
from imsgate.forward.incoming import IncomingBody
from imsgate.forward.outgoing import OutgoingImage

_DATA = re.compile(r"/+file/*(?=\?|\Z)")
_MAX_RECORD_BYTES = 1 << 20
_IDLE_SECONDS = 30.0
#: Headers that are about the data, and would change the response.
_ABOUT_DATA = ("accept", "content-", "if-", "range")


def can_be_checked(request: UpstreamRequest) -> bool:
    """Whether the record says what the upload did. After staging, it does not."""
    return request.method == "PUT" and _DATA.search(request.target) is not None


def is_stored(exchanges: Exchanges, request: UpstreamRequest, image: OutgoingImage) -> bool:
    """Whether upstream has this image: its record is active, of this size, and the data that it
    sends back is the same."""
    try:
        record = json.loads(b"".join(_content(exchanges, request, _DATA.sub("", request.target))))
        if (record["status"], record["size"]) != ("active", image.size):
            return False
        stored = Fingerprint(like=image.fingerprint)
        for chunk in _content(exchanges, request, request.target, image.size):
            stored.feed(chunk)
        return image.fingerprint is not None and stored.value() == image.fingerprint.value()
    except (errors.UpstreamFailed, ValueError, LookupError, TypeError, RecursionError):
        return False


def _content(
    exchanges: Exchanges, request: UpstreamRequest, target: str, limit: int = _MAX_RECORD_BYTES
) -> Iterator[bytes]:
    """What the sender of ``request`` gets from ``target``.

    Raises UpstreamFailed, and ValueError for a refusal, and for more than ``limit`` bytes.
    """
    accepted = "application/octet-stream" if target == request.target else "application/json"
    question = UpstreamRequest(
        method="GET",
        target=target,
        authority=request.authority,
        fields=[
            *(field for field in request.fields if not field[0].lower().startswith(_ABOUT_DATA)),
            ("Accept", accepted),
        ],
    )

    def end(connection: UpstreamConnection, complete: bool) -> None:
        connection.close()

    connection, response = exchanges.send(question)
    with contextlib.closing(IncomingBody(connection, _IDLE_SECONDS, end)) as body:
        if response.status_code != 200:
            raise ValueError(f"the response is {response.status_code}")
        received = 0
        for chunk in body:
            received += len(chunk)
            if received > limit:
                raise ValueError("the response is too long")
            yield chunk
