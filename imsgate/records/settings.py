"""The options of ``[api]``: how long pages are, and what may belong to one image."""

from oslo_config import cfg

from imsgate.settings import Settings

GROUP = "api"
OPTS = (
    cfg.IntOpt(
        "limit_param_default",
        mutable=True,
        default=25,
        min=1,
        help="Number of images on a page if the request does not say.",
    ),
    cfg.IntOpt(
        "api_limit_max",
        mutable=True,
        default=1000,
        min=1,
        help="Maximum number of images, or of tasks, on a page.",
    ),
    cfg.IntOpt(
        "page_bytes_max",
        mutable=True,
        default=8 * 1024 * 1024,
        min=1,
        help="Maximum size of a page of images, in bytes of JSON. A page that would be larger "
        "ends early, and its link or marker leads to the remaining images; it contains at least "
        "one image. Serving a page takes about twice this much memory.",
    ),
    cfg.IntOpt(
        "image_property_quota",
        mutable=True,
        default=128,
        min=-1,
        help="Maximum number of properties of an image; -1 means unlimited.",
    ),
    cfg.IntOpt(
        "image_tag_quota",
        mutable=True,
        default=128,
        min=-1,
        help="Maximum number of tags of an image; -1 means unlimited.",
    ),
    cfg.IntOpt(
        "image_member_quota",
        mutable=True,
        default=128,
        min=-1,
        help="Maximum number of projects with which an image is shared; -1 means unlimited.",
    ),
)


class ApiSettings(Settings, group=GROUP, opts=OPTS):
    limit_param_default: int
    api_limit_max: int
    page_bytes_max: int
    image_property_quota: int
    image_tag_quota: int
    image_member_quota: int
