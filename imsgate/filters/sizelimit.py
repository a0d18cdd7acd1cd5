"""No body longer than its route allows.

::

    [filter:sizelimit]
    use = egg:imsgate#sizelimit

Behind ``headers``. A body that announces too much is refused at once; every
body is counted as it passes, so that what the headers claim does not matter.
Image data and everything else have limits of their own.
"""

from oslo_config import cfg

from imsgate import body, errors, headers
from imsgate.filters import base
from imsgate.wsgi import Request


class SizeLimit(base.TappingFilter):
    NAME = "sizelimit"
    OPTS = (
        cfg.IntOpt(
            "image_size_cap",
            default=1 << 40,
            min=1,
            help="The largest image that may be uploaded, in bytes.",
        ),
        cfg.IntOpt(
            "max_metadata_size",
            default=1 << 20,
            min=1,
            help="The longest body of any other request, in bytes.",
        ),
    )

    def check(self, request: Request) -> None:
        limit = self.settings.max_metadata_size
        announced = [request.body_length]
        if request.carries_image:
            limit = self.settings.image_size_cap
            announced.append(
                headers.digits(
                    "x-openstack-image-size", request.environ.get("HTTP_X_OPENSTACK_IMAGE_SIZE")
                )
            )
        if any(length is not None and length > limit for length in announced):
            raise errors.TooLarge(limit=limit)
        request.tap(body.Limit(limit))


filter_factory = base.filter_factory(SizeLimit)
