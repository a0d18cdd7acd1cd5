"""Failures of the image service behind this one, to which ``egg:imsgate#forward`` and
``egg:imsgate#bridge`` lead."""

from typing import Any

from imsgate.errors.base import Conflict, Error, NotFound, Unavailable
from imsgate.errors.requests import Busy, LengthRequired


class UpstreamFailed(Unavailable):
    status, reason = 502, "upstream_failed"
    message = "The image service behind this gateway {problem}; try again later"


class UpstreamTimeout(UpstreamFailed):
    status, reason = 504, "upstream_timeout"


class BusyUpstream(Busy):
    message = "Too many requests are waiting for the image service; try again later"


class LengthRequiredUpstream(LengthRequired):
    message = (
        "Content-Length or x-openstack-image-size is required: the image service behind this "
        "gateway does not accept chunked bodies"
    )


class UpstreamRefused(Conflict):
    """Upstream has answered a request of this service's own with 3xx or 4xx."""

    reason = "upstream_refused"
    message = "The image service behind this gateway answered {status}: {problem}"


class SpoolFull(Busy):
    message = "The space for incomplete uploads is used up; try again later"


class UpstreamDenied(UpstreamFailed):
    """It refuses the access key of this gateway, not the client's credentials."""

    reason = "upstream_denied"
    message = "The image service behind this gateway refused the gateway's credentials: {problem}"
    needs_operator = True


class UpstreamBusy(Unavailable):
    status, reason = 429, "upstream_busy"
    code = "APIGW.0308"
    message = "The image service behind this gateway accepts no more requests for {seconds} s"

    def __init__(self, *, retry_after: int, **details: Any) -> None:
        super().__init__(retry_after=retry_after, **{**details, "seconds": retry_after})


class NoImageUpstream(NotFound):
    message = "Image {image_id} could not be found"


class RegistrationFailed(Error):
    """The image service behind this one has not made the uploaded object an image: its code, and
    its reason."""

    status, reason = 502, "registration_failed"
    message = "{vendor_code}: {problem}"

    def __init__(self, *, vendor_code: str, problem: str, **details: Any) -> None:
        super().__init__(vendor_code=vendor_code, problem=problem, **details)
        self.code = vendor_code
