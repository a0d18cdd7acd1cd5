"""Requests of a resumable upload by the IETF draft, each of which may go to another gateway."""

import dataclasses

from tests.functional.gateway import Answer, Gateway

OCTETS = "application/octet-stream"
PARTIAL = "application/partial-upload"


@dataclasses.dataclass(frozen=True)
class Part:
    """The bytes ``start`` to ``end`` of an image's data; the first part, or a later one."""

    image_id: str
    start: int
    end: int
    first: bool
    complete: bool

    @property
    def method(self) -> str:
        return "PUT" if self.first else "PATCH"

    @property
    def path(self) -> str:
        return f"/v2/images/{self.image_id}/{'file' if self.first else 'upload'}"

    @property
    def headers(self) -> dict[str, str]:
        common = {"Upload-Complete": "?1" if self.complete else "?0"}
        if self.first:
            return {"Content-Type": OCTETS, **common}
        return {"Content-Type": PARTIAL, "Upload-Offset": str(self.start), **common}


def begin(
    gateway: Gateway, image_id: str, data: bytes, *, complete: bool = False, **more: str
) -> Answer:
    """``more`` are headers, with underscores."""
    return _send(gateway, Part(image_id, 0, len(data), True, complete), data, more)


def append(
    gateway: Gateway,
    image_id: str,
    offset: int,
    data: bytes,
    *,
    complete: bool = False,
    **more: str,
) -> Answer:
    part = Part(image_id, offset, offset + len(data), False, complete)
    return _send(gateway, part, data, more)


def _send(gateway: Gateway, part: Part, data: bytes, more: dict[str, str]) -> Answer:
    headers = {**part.headers, **{name.replace("_", "-"): text for name, text in more.items()}}
    return gateway.call(part.method, part.path, data, headers=headers)


def ask(gateway: Gateway, image_id: str) -> Answer:
    """Where the upload may go on."""
    return gateway.call("HEAD", f"/v2/images/{image_id}/upload")


def offset_of(answer: Answer) -> int:
    assert "Upload-Offset" in answer.headers, (answer.status, answer.headers.items(), answer.body)
    return int(answer.headers["Upload-Offset"])


def is_complete(answer: Answer) -> bool:
    return bool(answer.headers["Upload-Complete"] == "?1")
