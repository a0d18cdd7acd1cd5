"""What became of an image whose data was sent completely, and the response to it lost."""

import json
import re
from collections.abc import Iterator

from imsgate import errors
from imsgate.forward.client import UpstreamClient, whole
from imsgate.forward.exchange import UpstreamRequest
from imsgate.forward.fingerprint import Fingerprint
from imsgate.forward.outgoing import OutgoingImage

_DATA = re.compile(r"/+file/*(?=\?|\Z)")
_OK = 200
#: Headers that are about the data, and would change the response.
_ABOUT_DATA = ("accept", "content-", "if-", "range")


def can_be_checked(request: UpstreamRequest) -> bool:
    """Whether the record says what the upload did. After staging, it does not."""
    return request.method == "PUT" and _DATA.search(request.target) is not None


def is_stored(client: UpstreamClient, request: UpstreamRequest, image: OutgoingImage) -> bool:
    """Whether upstream has this image: its record is active, of this size, and the data that it
    sends back is the same."""
    try:
        with client.asked(_question(request, _DATA.sub("", request.target))) as (_, chunks):
            record = json.loads(whole(chunks))
        if (record["status"], record["size"]) != ("active", image.size):
            return False
        with client.asked(_question(request, request.target)) as (status, chunks):
            return status == _OK and _is_same(chunks, image)
    except (errors.UpstreamFailed, ValueError, LookupError, TypeError, RecursionError):
        return False


def _is_same(chunks: Iterator[bytes], image: OutgoingImage) -> bool:
    stored, size = Fingerprint(like=image.fingerprint), 0
    for chunk in chunks:
        size += len(chunk)
        if size > image.size:
            return False
        stored.feed(chunk)
    return image.fingerprint is not None and stored.value() == image.fingerprint.value()


def _question(request: UpstreamRequest, target: str) -> UpstreamRequest:
    """GET by the sender of ``request``."""
    accepted = "application/octet-stream" if target == request.target else "application/json"
    return UpstreamRequest(
        method="GET",
        target=target,
        authority=request.authority,
        project=request.project,
        fields=[
            *(field for field in request.fields if not field[0].lower().startswith(_ABOUT_DATA)),
            ("Accept", accepted),
        ],
    )
