"""Repeated uploads: a client that has not received the response sends the same image again.

Upstream would answer 409. Here the data is compared with a digest in upstream's record, and the
answer is 204 once more if it is the same. Nothing is sent to upstream.
"""

import dataclasses
import datetime
import time
from typing import NoReturn

import webob

from imsgate import errors, hashing
from imsgate.http.request import Request
from imsgate.spool.upstream import Record, UpstreamImages, recorded_digests
from imsgate.transfer.copy import copy
from imsgate.transfer.digests import Digests

#: The fields of a record that must not change while the data is compared.
_FIELDS = ("status", "size", *hashing.DIGEST_FIELDS)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamRepeats:
    """``window`` is how many seconds after the last change of an image its upload may be repeated;
    0 means never."""

    window: int

    def answer(
        self, request: Request, images: UpstreamImages, image_id: str
    ) -> webob.Response | None:
        """204 for the data that upstream has; None if the request is no repetition.

        Raises DataDiffers, and what reading the body raises.
        """
        if not self.window or request.codings or request.encoded is not None:
            return None
        record = _record(images, image_id)
        if record is None or not self._expects(record, request):
            return None
        (algorithm, expected), *_ = recorded_digests(record).items()
        body, digests = request.reader(), Digests((algorithm,))

        def refuse(problem: str) -> NoReturn:
            raise errors.DataDiffers(image_id=image_id, status=record["status"], problem=problem)

        def check() -> None:
            if body.received > record["size"]:
                refuse(f"it has only {record['size']} bytes")

        copy(body, None, digests, check)
        if digests.values()[algorithm] != expected:
            refuse(f"its {algorithm} digest differs")
        now = _record(images.anew(), image_id)
        if now is None or any(now.get(name) != record.get(name) for name in _FIELDS):
            raise errors.Conflict(problem=f"Image {image_id} was changed meanwhile")
        return webob.Response(status=204)

    def _expects(self, record: Record, request: Request) -> bool:
        size = request.announced_size if request.body_length is None else request.body_length
        try:
            changed = datetime.datetime.fromisoformat(record["updated_at"])
        except (LookupError, TypeError, ValueError):
            return False
        if changed.tzinfo is None:
            changed = changed.replace(tzinfo=datetime.UTC)
        return (
            record.get("status") == "active"
            and bool(recorded_digests(record))
            and isinstance(record.get("size"), int)
            and size in (None, record["size"])
            and time.time() < changed.timestamp() + self.window
        )


def _record(images: UpstreamImages, image_id: str) -> Record | None:
    """None if upstream does not show it: then it refuses the upload, too."""
    try:
        return images.record(image_id)
    except errors.Error:
        return None
