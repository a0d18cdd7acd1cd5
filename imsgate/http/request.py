"""The request, and the names of all ``imsgate.*`` environ keys."""

import functools
import re
from typing import cast

import webob

from imsgate import errors
from imsgate.formats.inspector import Inspection
from imsgate.http import body, headers
from imsgate.http.notes import RequestNotes
from imsgate.model import Identity

IDENTITY = "imsgate.identity"
#: Set by an authentication filter. A function without arguments that returns an environ with the
#: variables that the filter would set now. It raises Unauthenticated or Unavailable.
REAUTHENTICATE = "imsgate.reauthenticate"
#: Set by ``identity``. A function without arguments that returns the current Identity.
IDENTIFY = "imsgate.identify"
#: Set by an authentication filter. A function without arguments that returns a text with which a
#: job in another process can authenticate the user again, or None. The text is encrypted.
SEALED_CREDENTIAL = "imsgate.sealed_credential"
#: Set by ``faults``. The headers that it removed because only authentication filters may set them,
#: by their environ keys. They are not trusted, but a signature may cover them.
PRESENTED = "imsgate.presented"
REQUEST_ID = "imsgate.request_id"
INSPECTION = "imsgate.inspection"
#: Set by ``encoding``: the compressed body as it is received. ``wsgi.input`` is what it contains.
ENCODED = "imsgate.encoded"
#: Set by the application. The whole body, once it was read for more than one reader.
WHOLE_BODY = "imsgate.whole_body"
#: Set by ``faults``: the RequestNotes of this request.
NOTES = "imsgate.notes"
#: Set by the application. The claim of the request's Idempotency-Key that has not ended.
CLAIM = "imsgate.claim"

#: The requests of the Image API whose body is image data: method, space, path. The version is
#: optional because Glance also takes it from the header Accept.
IMAGE_REQUESTS = "PUT (/v2)?/images/[^/]+/(file|stage)/?"
#: The requests whose body is image data, or a part of it.
UPLOAD_REQUESTS = (
    "(PUT|POST|PATCH) (/v2)?/images/[^/]+/(file|stage|upload)/?|(POST|PATCH) /v2/uploads(/[^/]+)?/?"
)
#: A minor version, which Glance ignores. ``/v2.1/cloudimages`` is an API of Huawei's instead.
_MINOR = re.compile(r"/v2\.[0-9]+(?=/(?!cloudimages(?:/|$))|$)")
_SLASHES = re.compile(r"//+")


@functools.lru_cache(maxsize=64)  # each filter asks for the route of the same request
def _normalized(raw: str) -> str:
    path = raw.encode("latin-1").decode("utf-8", "replace")
    if "//" in path:
        path = _SLASHES.sub("/", path)
    minor = path.startswith("/v2.") and _MINOR.match(path)
    return "/v2" + path[minor.end() :] if minor else path


class Request(webob.Request):  # type: ignore[misc]  # WebOb has no types
    """A request as filters and application use it."""

    @property
    def identity(self) -> Identity | None:
        """The user, or None if the request is not authenticated."""
        return cast(Identity | None, self.environ.get(IDENTITY))

    def identify(self) -> Identity:
        """The user, authenticated again: a role or a token may have been revoked meanwhile.

        A token that has expired since the request began is still accepted. If the authentication
        filter cannot authenticate twice, the user is that of the beginning. Raises Unauthenticated
        or Unavailable.
        """
        identify = self.environ.get(IDENTIFY)
        identity = identify() if identify else self.identity
        if identity is None:
            raise errors.Unauthenticated
        return cast(Identity, identity)

    def sealed_credential(self) -> str | None:
        """An encrypted text with which a job can authenticate the user again, or None."""
        seal = self.environ.get(SEALED_CREDENTIAL)
        return cast(str | None, seal()) if seal else None

    def presented(self, header: str) -> str:
        """A header as the client sent it, even a forged identity header; "" if it is missing."""
        key = header.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        text: str | None = self.environ.get(PRESENTED, {}).get(key)
        return text if text is not None else self.environ.get(key) or ""

    @property
    def request_id(self) -> str | None:
        """The id of this request (``req-`` and a UUID), which ``faults`` generates."""
        return cast(str | None, self.environ.get(REQUEST_ID))

    @property
    def notes(self) -> RequestNotes:
        """What the access log will say of this request. Without ``faults`` nobody reads them."""
        notes: RequestNotes | None = self.environ.get(NOTES)
        if notes is None:
            notes = self.environ[NOTES] = RequestNotes()
        return notes

    @property
    def inspection(self) -> Inspection | None:
        """The inspection of this body, if ``sniff`` is in the pipeline."""
        return cast(Inspection | None, self.environ.get(INSPECTION))

    @property
    def route(self) -> str:
        """The path below the application, normalized as in Glance: ``/v2.5`` becomes ``/v2``, and
        several slashes become one. Everything that depends on the path uses this property,
        except for signatures.

        Unlike ``path_info`` it never raises: invalid UTF-8 becomes U+FFFD, which no route contains.
        """
        return _normalized(self.environ.get("PATH_INFO", ""))

    def as_sent(self, end: str) -> str:
        """The end of ``route``, with all slashes that the client sent in it and around it, except
        for the one before it."""
        raw = self.environ.get("PATH_INFO", "").encode("latin-1").decode("utf-8", "replace")
        parts = "/+".join(map(re.escape, end.split("/")))
        sent = re.search(rf"(?<=[^/]/)(/*{parts}/*)\Z", raw)
        return sent[1] if sent else end

    @property
    def carries_image(self) -> bool:
        """Whether the body is image data, by method and path (upload or stage)."""
        return self.is_one_of(IMAGE_REQUESTS)

    def is_one_of(self, requests: str | re.Pattern[str]) -> bool:
        """Whether the regular expression matches the whole of method, space and path."""
        return bool(re.fullmatch(requests, f"{self.method} {self.route}"))

    @property
    def body_length(self) -> int | None:
        """The announced length in bytes; None if the body is chunked or missing.

        Raises BadHeader for contradictory headers.
        """
        return headers.framing(
            self.environ.get("CONTENT_LENGTH"), self.environ.get("HTTP_TRANSFER_ENCODING")
        )

    @property
    def codings(self) -> list[str]:
        """The codings of Content-Encoding in lower case, without ``identity``."""
        text: str = self.environ.get("HTTP_CONTENT_ENCODING", "")
        names = (name.strip(" \t").lower() for name in text.split(","))
        return [name for name in names if name not in ("", "identity")]

    @property
    def encoded(self) -> body.Tapped | None:
        """The compressed body as it is received, if a filter decompresses it. Its length is the
        Content-Length."""
        return cast(body.Tapped | None, self.environ.get(ENCODED))

    @property
    def announced_size(self) -> int | None:
        """The value of ``x-openstack-image-size`` in bytes, or None. Raises BadHeader."""
        return headers.digits(
            "x-openstack-image-size", self.environ.get("HTTP_X_OPENSTACK_IMAGE_SIZE")
        )

    @property
    def store_id(self) -> str | None:
        """The store that the client names in ``X-Image-Meta-Store``, or None. Raises BadHeader."""
        return headers.store_id(self.environ.get("HTTP_X_IMAGE_META_STORE"))

    @property
    def body_is_empty(self) -> bool:
        """Whether the headers say that there is no body. Raises BadHeader."""
        return not self.body_length and "HTTP_TRANSFER_ENCODING" not in self.environ

    def reader(self) -> body.Tapped:
        """The body; all filters and the application share one wrapper.

        Raises LengthRequired for a chunked body, unless the server marks the end of its input
        (``wsgi.input_terminated``).
        """
        stream = self.environ["wsgi.input"]
        if isinstance(stream, body.Tapped):
            return stream
        length = self.body_length
        if length is None and not self.environ.get("wsgi.input_terminated"):
            if "HTTP_TRANSFER_ENCODING" in self.environ:
                raise errors.LengthRequired
            length = 0
        tapped = body.Tapped(stream, length)
        self.environ["wsgi.input"] = tapped
        return tapped

    def whole_body(self) -> bytes:
        """The body, which is received once and may be asked for again. Raises what reading does."""
        if WHOLE_BODY not in self.environ:
            self.environ[WHOLE_BODY] = self.reader().read()
        return cast(bytes, self.environ[WHOLE_BODY])

    def tap(self, tap: body.Tap) -> None:
        """Give ``tap`` every byte that the application reads."""
        self.reader().join(tap)

    def tapped(self) -> body.Tapped | None:
        """The wrapper of the body, or None if no filter has made one yet."""
        stream = self.environ["wsgi.input"]
        return stream if isinstance(stream, body.Tapped) else None
