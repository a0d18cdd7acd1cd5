"""The request, and the name of every ``imsgate.*`` environ key."""

import re
from typing import cast

import webob

from imsgate import errors
from imsgate.formats.inspector import Inspection
from imsgate.http import body, headers
from imsgate.model import Identity

IDENTITY = "imsgate.identity"
#: Left by an authentication filter: called without arguments, returns an environ with
#: the variables it would set now. Raises Unauthenticated or Unavailable.
REAUTHENTICATE = "imsgate.reauthenticate"
#: Left by ``identity``: called without arguments, returns who asks, as it is now.
IDENTIFY = "imsgate.identify"
#: Left by an authentication filter: called without arguments, returns a text by which a
#: job, in another process, can ask it again; None where it has none. No one can read it.
SEALED_CREDENTIAL = "imsgate.sealed_credential"
#: Left by ``faults``: the headers it removed because an authentication filter sets them,
#: by their environ keys. They prove nothing, but a signature may cover them.
PRESENTED = "imsgate.presented"
REQUEST_ID = "imsgate.request_id"
INSPECTION = "imsgate.inspection"

#: The requests of the Image API whose body is image data: method, space, path. Glance takes
#: the version from the header Accept too.
IMAGE_REQUESTS = "PUT (/v2)?/images/[^/]+/(file|stage)/?"
#: What Glance reads as ``/v2``; ``/v2.1/cloudimages`` is an API of Huawei's.
_MINOR = re.compile(r"/v2\.[0-9]+(?=/(?!cloudimages(?:/|$))|$)")
_SLASHES = re.compile(r"//+")


class Request(webob.Request):
    """A request as imsgate's filters and application see it."""

    @property
    def identity(self) -> Identity | None:
        """Who asks, or None where nobody has vouched for the request."""
        return cast(Identity | None, self.environ.get(IDENTITY))

    def identify(self) -> Identity:
        """Who asks, established afresh: a role or a token may have been revoked meanwhile.

        That a token has expired since the request began is no reason to refuse. Where the
        authentication filter cannot be asked twice, it is who asked in the beginning.
        Raises Unauthenticated when nobody vouches any more, and Unavailable.
        """
        again = self.environ.get(IDENTIFY)
        identity = again() if again else self.identity
        if identity is None:
            raise errors.Unauthenticated
        return cast(Identity, identity)

    def sealed_credential(self) -> str | None:
        """By what a job can establish afresh who asked for it, as ``identify`` does."""
        sealed = self.environ.get(SEALED_CREDENTIAL)
        return cast(str | None, sealed()) if sealed else None

    def presented(self, header: str) -> str:
        """A header as the client sent it, an identity it only claims included; "" for none."""
        key = header.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        text: str | None = self.environ.get(PRESENTED, {}).get(key)
        return text if text is not None else self.environ.get(key) or ""

    @property
    def request_id(self) -> str | None:
        """This request's id (``req-`` and a UUID), as ``faults`` chose it."""
        return cast(str | None, self.environ.get(REQUEST_ID))

    @property
    def inspection(self) -> Inspection | None:
        """The format inspection that watches this body, if ``sniff`` is in the pipeline."""
        return cast(Inspection | None, self.environ.get(INSPECTION))

    @property
    def route(self) -> str:
        """The path below the application, as Glance reads it: of ``/v2.5`` it is ``/v2``, and
        of several slashes one. All that depends on a path goes by this one, but what the
        client has signed.

        Unlike ``path_info`` it never fails: bytes that are not UTF-8 become U+FFFD, which no
        route has.
        """
        raw: str = self.environ.get("PATH_INFO", "")
        path = _SLASHES.sub("/", raw.encode("latin-1").decode("utf-8", "replace"))
        minor = _MINOR.match(path)
        return "/v2" + path[minor.end() :] if minor else path

    @property
    def carries_image(self) -> bool:
        """Whether the body is image data, by method and path (upload or stage)."""
        return self.is_one_of(IMAGE_REQUESTS)

    def is_one_of(self, requests: str | re.Pattern[str]) -> bool:
        """Whether the expression fits all of method, space and path."""
        return bool(re.fullmatch(requests, f"{self.method} {self.route}"))

    @property
    def body_length(self) -> int | None:
        """The announced length in bytes; None when only the end of the stream tells.

        Raises BadHeader for contradictory framing.
        """
        return headers.framing(
            self.environ.get("CONTENT_LENGTH"), self.environ.get("HTTP_TRANSFER_ENCODING")
        )

    @property
    def announced_size(self) -> int | None:
        """The size of the image by ``x-openstack-image-size``, in bytes. Raises BadHeader."""
        return headers.digits(
            "x-openstack-image-size", self.environ.get("HTTP_X_OPENSTACK_IMAGE_SIZE")
        )

    @property
    def store_id(self) -> str | None:
        """The store that the client names in ``X-Image-Meta-Store``, or None. Raises BadHeader."""
        return headers.store_id(self.environ.get("HTTP_X_IMAGE_META_STORE"))

    @property
    def body_is_empty(self) -> bool:
        """Whether it is known that there is no body. Raises BadHeader."""
        return not self.body_length and "HTTP_TRANSFER_ENCODING" not in self.environ

    def reader(self) -> body.Tapped:
        """The body; every filter and the application share one wrapper.

        Raises LengthRequired when the body is chunked and the server does not
        say that its input ends with the body (``wsgi.input_terminated``).
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

    def tap(self, tap: body.Tap) -> None:
        """Let ``tap`` watch the body as the application reads it."""
        self.reader().join(tap)

    def tapped(self) -> body.Tapped | None:
        """The body's wrapper, where a filter has put one round it already."""
        stream = self.environ["wsgi.input"]
        return stream if isinstance(stream, body.Tapped) else None
