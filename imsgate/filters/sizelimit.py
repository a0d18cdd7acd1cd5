"""No body longer than its route allows.

::

    [filter:sizelimit]
    use = egg:imsgate#sizelimit

Behind ``headers``. A body that announces too much is refused at once; every
body is counted as it passes, so that what the headers claim does not matter.
Image data and everything else have limits of their own; ``[ims] profile`` gives the
one that its cloud has for uploads.
"""

from collections.abc import Callable
from typing import Any

from oslo_config import cfg

from imsgate import config, errors, profiles
from imsgate.filters import base
from imsgate.http import body
from imsgate.http.request import Request
from imsgate.http.wsgi import WsgiApp


class SizeLimit(base.TappingFilter):
    NAME = "sizelimit"
    OPTS = (
        cfg.IntOpt(
            "image_size_cap",
            default=1 << 40,
            min=1,
            help="The largest image, in bytes, whichever way it comes in.",
        ),
        cfg.IntOpt(
            "upload_size_cap",
            min=1,
            help="The largest image that one request may bring, in bytes; above image_size_cap "
            "it has no effect. Without it, as in the cloud of [ims] profile: 2147483648 (2 GiB) "
            "for huawei, 137438953472 (128 GiB) for otc, and no such limit for none.",
        ),
        cfg.IntOpt(
            "max_metadata_size",
            default=1 << 20,
            min=1,
            help="The longest body of any other request, in bytes.",
        ),
        base.REQUESTS,
    )

    def __init__(
        self, app: WsgiApp, settings: Any, profile: profiles.Profile = profiles.NONE
    ) -> None:
        super().__init__(app, settings)
        self._images = base.image_requests(self.NAME, settings)
        upload = settings.upload_size_cap or profile.upload_limit or settings.image_size_cap
        self._image_limit = min(upload, settings.image_size_cap)

    def check(self, request: Request) -> None:
        limit = self.settings.max_metadata_size
        announced = [request.body_length]
        if request.is_one_of(self._images):
            limit = self._image_limit
            announced.append(request.announced_size)
        if any(length is not None and length > limit for length in announced):
            raise errors.TooLarge(limit=limit)
        request.tap(body.Limit(limit))


def filter_factory(
    global_conf: dict[str, str], **local_conf: str
) -> Callable[[WsgiApp], SizeLimit]:
    """The ``paste.filter_factory``. Raises BadConfig."""
    conf = config.load(global_conf)
    settings = conf.section(SizeLimit.NAME, SizeLimit.OPTS, local_conf)
    profile = profiles.chosen(conf.section)
    return lambda app: SizeLimit(app, settings, profile)
