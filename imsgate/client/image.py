"""Image records: created once whatever happens, found by name, and awaited."""

import json
import time
import urllib.parse
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from imsgate.client.connection import Connection, failure_of
from imsgate.client.failures import Failure

Record = Mapping[str, Any]

_JSON = {"Content-Type": "application/json"}
_POLL_SECONDS = 0.5
#: Statuses of an image whose data the server has, and has yet to verify or import.
_UNDERWAY = ("saving", "uploading", "importing")


def path_of(image_id: str, part: str = "") -> str:
    return f"/v2/images/{urllib.parse.quote(image_id, safe='')}{part}"


def new_id() -> str:
    """The id of a record that is yet to be created. Because the client chooses it, it can find
    the record even if no response to its request arrives."""
    return str(uuid.uuid4())


class ImageRecords:
    """The image records of one service."""

    def __init__(
        self, connection: Connection, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._connection = connection
        self._sleep = sleep

    def create(self, record: Record) -> Record:
        """Create a record, whose ``id`` is given; return it as the server shows it.

        It may be called again with the same record. imsgate recognizes the request by its
        Idempotency-Key; any other server refuses the second one, because the id exists.
        """
        response = self._connection.call(
            "POST",
            "/v2/images",
            headers={**_JSON, "Idempotency-Key": f'"{record["id"]}"'},
            body=json.dumps(record).encode(),
            expected=(201, 409),
        )
        if response.status_code == 409:
            shown = self.show(record["id"])
            if shown is None:
                raise failure_of(response)
            return shown
        return _document(response)

    def show(self, image_id: str) -> Record | None:
        """The record; None if there is none."""
        response = self._connection.call("GET", path_of(image_id), expected=(200, 404))
        return _document(response) if response.status_code == 200 else None

    def get(self, image_id: str) -> Record:
        """The record. Raises Failure if there is none."""
        record = self.show(image_id)
        if record is None:
            raise Failure(f"there is no image {image_id}")
        return record

    def find(self, id_or_name: str) -> Record:
        """The image with this id or, if there is none, the only one with this name.

        Raises Failure.
        """
        record = self.show(id_or_name) if _is_id(id_or_name) else None
        if record is not None:
            return record
        # in: is the form in which every character may occur in a name.
        quoted = id_or_name.replace("\\", "\\\\").replace('"', '\\"')
        query = urllib.parse.urlencode({"name": f'in:"{quoted}"', "limit": 2})
        found = _document(self._connection.call("GET", f"/v2/images?{query}"))["images"]
        if len(found) != 1:
            number = "several images" if found else "no image"
            raise Failure(f"there {'are' if found else 'is'} {number} with this name or id")
        return dict(found[0])

    def delete(self, image_id: str) -> None:
        """Delete a record, if it still exists."""
        self._connection.call("DELETE", path_of(image_id), expected=(204, 404))

    def verified(self, image_id: str) -> Record:
        """Wait until the server has verified the data it has. Raises Failure if it refuses it."""
        while True:
            record = self.get(image_id)
            if record["status"] not in _UNDERWAY:
                return record
            self._sleep(_POLL_SECONDS)


def _is_id(text: str) -> bool:
    return text.isascii() and "/" not in text and text not in ("", ".", "..")


def _document(response: Any) -> dict[str, Any]:
    try:
        document = response.json()
    except ValueError as error:
        raise Failure("the server's response is not that of an image service") from error
    if not isinstance(document, dict):
        raise Failure("the server's response is not that of an image service")
    return document


def check_digest(record: Record, digest: Callable[[str], str | None]) -> str | None:
    """Compare the digest in a record with that of the data on this side.

    Returns None if they are equal, otherwise why they cannot be compared. Raises Failure if they
    differ.
    """
    algorithm, value = record.get("os_hash_algo"), record.get("os_hash_value")
    if not (algorithm and value):
        return "the server has no digest, so the data is not verified"
    own = digest(str(algorithm))
    if own is None:
        return f"the data is not verified: its {algorithm} is not known on this side"
    if own != value:
        raise Failure(
            f"the data differs: its {algorithm} is {own}, that of image {record['id']} is {value}"
        )
    return None
