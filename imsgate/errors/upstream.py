"""Failures of the image service behind this one, to which ``egg:imsgate#forward`` leads."""

from imsgate.errors.base import Conflict, Unavailable
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
