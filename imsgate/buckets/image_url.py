"""``bucket:object`` as users write it, and which project may use which bucket. Pure.

What stands there becomes part of requests to a storage service, so everything is refused
that a server, a proxy or a library could take for more than a name.
"""

import dataclasses
import re
from collections.abc import Iterable

from imsgate.errors import BadImageUrl, BucketNotAccessible

#: The rules of S3 and OBS for names of buckets; an address of four numbers is none.
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_ADDRESS = re.compile(r"[0-9]+(\.[0-9]+){3}", re.ASCII)

#: The longest key of an object, in bytes.
_LONGEST = 1024

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclasses.dataclass(frozen=True, slots=True)
class ImageUrl:
    """An object in a bucket."""

    bucket: str
    key: str


def parse(text: str) -> ImageUrl:
    """Raises BadImageUrl, with the code for what is wrong."""
    bucket, colon, key = text.partition(":")
    if not colon or ":" in key:
        raise BadImageUrl("IMG.0017", problem="there must be one colon")
    _check_bucket(bucket)
    _check_key(key)
    return ImageUrl(bucket, key)


def _check_bucket(bucket: str) -> None:
    if not bucket:
        raise BadImageUrl("IMG.0068", problem="the bucket has no name")
    if not _BUCKET.fullmatch(bucket) or _ADDRESS.fullmatch(bucket) or ".." in bucket:
        problem = "a bucket has 3 to 63 small letters, digits, dashes and dots, and is no address"
        raise BadImageUrl("IMG.0109", problem=problem)


def _check_key(key: str) -> None:
    if not key:
        raise BadImageUrl("IMG.0073", problem="the object has no name")
    try:
        length = len(key.encode())
    except UnicodeEncodeError as error:
        raise BadImageUrl("IMG.0075", problem="the object's name is not Unicode") from error
    if length > _LONGEST:
        raise BadImageUrl("IMG.0074", problem=f"the object's name is above {_LONGEST} bytes")
    if _CONTROL.search(key):
        raise BadImageUrl("IMG.0075", problem="the object's name holds a control character")
    if key != key.strip():
        raise BadImageUrl("IMG.0175", problem="the object's name begins or ends with a space")
    if any(part in ("", ".", "..") for part in key.split("/")):
        problem = "the object's name has a part between slashes that is empty, . or .."
        raise BadImageUrl("IMG.0075", problem=problem)


class Allowed:
    """Which project may use which bucket."""

    def __init__(self, pairs: Iterable[str]) -> None:
        """``pairs`` are ``project:bucket``; ``*`` is any. Raises ValueError."""
        self._pairs = {_pair(text) for text in pairs}

    def check(self, project: str | None, bucket: str) -> None:
        """Raises BucketNotAccessible."""
        if project is None or not any(
            (one, other) in self._pairs for one in (project, "*") for other in (bucket, "*")
        ):
            raise BucketNotAccessible(bucket=bucket)


def _pair(text: str) -> tuple[str, str]:
    project, _, bucket = text.strip().rpartition(":")
    if not project or not (bucket == "*" or _BUCKET.fullmatch(bucket)):
        raise ValueError(f"{text!r} is not a project and a bucket with a colon between them")
    return project, bucket
