"""Refuses bodies that are larger than the limit for their request.

::

    [filter:sizelimit]
    use = egg:imsgate#sizelimit

After ``headers``. Image data that announces too many bytes is refused at once, any other such
body when the application begins to read it: only the application knows whether the path exists,
and 404 tells more than 413. The bytes of every body are counted as well, whatever the headers
announce. Image data and all other bodies have separate limits. Image data that ``encoding``
decompresses is limited before and after. ``[ims] profile`` adds the limit of its cloud for
uploads.
"""

from collections.abc import Callable

from oslo_config import cfg

from imsgate import config, errors, profiles
from imsgate.filters import base
from imsgate.http import body, upload_headers
from imsgate.http.request import Request
from imsgate.http.wsgi import WsgiApp
from imsgate.settings import Settings

OPTS = (
    cfg.IntOpt(
        "image_size_cap",
        mutable=True,
        default=1 << 40,
        min=1,
        help="The largest image in bytes, for uploads and imports.",
    ),
    cfg.IntOpt(
        "upload_size_cap",
        mutable=True,
        min=1,
        help="The largest image that one request may upload, in bytes; a value above "
        "image_size_cap has no effect. If unset, the limit is that of the cloud in [ims] profile: "
        "2147483648 (2 GiB) for huawei, 137438953472 (128 GiB) for otc, no such limit for none.",
    ),
    cfg.IntOpt(
        "max_metadata_size",
        mutable=True,
        default=1 << 20,
        min=1,
        help="The largest body of any other request, in bytes.",
    ),
    base.REQUESTS,
)


class SizeLimitSettings(Settings, group="sizelimit", opts=OPTS):
    image_size_cap: int
    upload_size_cap: int | None
    max_metadata_size: int
    requests: str


class SizeLimit(base.TappingFilter[SizeLimitSettings]):
    NAME = "sizelimit"
    OPTS = OPTS
    SETTINGS = SizeLimitSettings

    def __init__(
        self,
        app: WsgiApp,
        settings: SizeLimitSettings,
        profile: profiles.Profile = profiles.NONE,
    ) -> None:
        super().__init__(app, settings)
        self._images = base.image_requests(self.NAME, settings.requests)
        self._profile = profile

    @property
    def _image_limit(self) -> int:
        cap = self.settings.image_size_cap
        return min(self.settings.upload_size_cap or self._profile.upload_limit or cap, cap)

    def check(self, request: Request) -> None:
        if request.is_one_of(self._images):
            self._check_image(request)
            return
        limit, length = self.settings.max_metadata_size, request.body_length
        request.tap(body.Limit(limit))
        if length is not None and length > limit:
            request.reader().refuse(errors.TooLarge(limit=limit))

    def _check_image(self, request: Request) -> None:
        limit = self._image_limit
        lengths, encoded = [request.body_length, request.announced_size], request.encoded
        if encoded is not None:
            lengths.append(encoded.length)
            encoded.join(body.Limit(limit))
        for length in lengths:
            if length is not None and length > limit:
                raise errors.TooLarge(limit=limit, headers=self._limits(request, limit))
        request.tap(body.Limit(limit))

    def _limits(self, request: Request, limit: int) -> dict[str, str]:
        """A client that resumes uploads looks there whether less would help
        (draft-ietf-httpbis-resumable-upload, section 4.1.4)."""
        if "HTTP_UPLOAD_COMPLETE" not in request.environ:
            return {}
        return {"Upload-Limit": upload_headers.limits_field({"max-size": limit})}


def filter_factory(
    global_conf: dict[str, str], **local_conf: str
) -> Callable[[WsgiApp], SizeLimit]:
    """The ``paste.filter_factory``. Raises BadConfig."""
    conf = config.load(global_conf)
    settings = conf.read(SizeLimitSettings, local_conf)
    profile = profiles.chosen(conf.read(profiles.ProfileSettings))
    return lambda app: SizeLimit(app, settings, profile)
