"""Parses ``bucket:object`` as users write it, and decides who may use which bucket. Pure.

The names become part of requests to a storage service. So anything is refused that a server, a
proxy or a library could interpret as more than a name.
"""

import dataclasses
import re
from collections.abc import Iterable

from imsgate.errors import BadImageUrl, BucketNotAccessible

#: The bucket naming rules of S3 and OBS, which also exclude IPv4 addresses.
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_IPV4_ADDRESS = re.compile(r"[0-9]+(\.[0-9]+){3}", re.ASCII)

#: Maximum length of an object's name in S3 and OBS.
_MAX_KEY_BYTES = 1024

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclasses.dataclass(frozen=True, slots=True)
class ImageUrl:
    """An object in a bucket."""

    bucket: str
    key: str


def parse(text: str) -> ImageUrl:
    """The bucket and the object in ``text``. Raises BadImageUrl with IMS's code for the mistake."""
    bucket, colon, key = text.partition(":")
    if not colon or ":" in key:
        raise BadImageUrl("IMG.0017", problem="there must be exactly one colon")
    _check_bucket(bucket)
    _check_key(key)
    return ImageUrl(bucket, key)


def _check_bucket(bucket: str) -> None:
    if not bucket:
        raise BadImageUrl("IMG.0068", problem="the bucket name is empty")
    if not _BUCKET.fullmatch(bucket) or _IPV4_ADDRESS.fullmatch(bucket) or ".." in bucket:
        problem = (
            "a bucket name has 3 to 63 lowercase letters, digits, dashes and single dots, and is "
            "not an IP address"
        )
        raise BadImageUrl("IMG.0109", problem=problem)


def _check_key(key: str) -> None:
    if not key:
        raise BadImageUrl("IMG.0073", problem="the object name is empty")
    try:
        length = len(key.encode())
    except UnicodeEncodeError as error:
        raise BadImageUrl("IMG.0075", problem="the object name is not valid Unicode") from error
    if length > _MAX_KEY_BYTES:
        problem = f"the object name is longer than {_MAX_KEY_BYTES} bytes"
        raise BadImageUrl("IMG.0074", problem=problem)
    if _CONTROL.search(key):
        raise BadImageUrl("IMG.0075", problem="the object name contains a control character")
    if key != key.strip():
        raise BadImageUrl("IMG.0175", problem="the object name begins or ends with a space")
    if any(part in ("", ".", "..") for part in key.split("/")):
        problem = "the object name has an empty part, '.' or '..' between slashes"
        raise BadImageUrl("IMG.0075", problem=problem)


class Allowed:
    """Which projects may use which buckets."""

    def __init__(self, pairs: Iterable[str]) -> None:
        """Each pair is ``project:bucket``; ``*`` stands for any. Raises ValueError."""
        self._pairs = {_pair(text) for text in pairs}

    def check(self, project: str | None, bucket: str) -> None:
        """Raises BucketNotAccessible if the project may not use the bucket."""
        if project is None or not any(
            (a_project, a_bucket) in self._pairs
            for a_project in (project, "*")
            for a_bucket in (bucket, "*")
        ):
            raise BucketNotAccessible(bucket=bucket)


def _pair(text: str) -> tuple[str, str]:
    project, _, bucket = text.strip().rpartition(":")
    if not project or not (bucket == "*" or _BUCKET.fullmatch(bucket)):
        raise ValueError(f"{text!r} is not a project and a valid bucket name, joined by a colon")
    return project, bucket
