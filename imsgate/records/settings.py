"""The options of records: how long pages are, and what may belong to one image."""

from oslo_config import cfg, types

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


#: Names as in Glance's ``[image_format]``.
FORMAT_GROUP = "image_format"
FORMAT_OPTS = (
    cfg.ListOpt(
        "disk_formats",
        default=(
            "ami ari aki vhd vpc vhdx vmdk raw qcow2 qcow qed vdi iso zvhd zvhd2 ploop luks gpt "
            "udf".split()
        ),
        help="Valid values of disk_format.",
    ),
    cfg.ListOpt(
        "container_formats",
        default="ami ari aki bare ovf ova docker compressed".split(),
        help="Valid values of container_format.",
    ),
)


class FormatSettings(Settings, group=FORMAT_GROUP, opts=FORMAT_OPTS):
    disk_formats: list[str]
    container_formats: list[str]


#: Names as in Glance.
GLANCE_DOWNLOAD_OPTS = (
    cfg.ListOpt(
        "extra_properties",
        default=["hw_", "trait:", "os_distro", "os_secure_boot", "os_type"],
        item_type=types.String(quotes=True),
        bounds=True,
        mutable=True,
        help="Beginnings of the names of properties that glance-download copies, in brackets. No "
        "other property is copied.",
    ),
)


class GlanceDownloadSettings(
    Settings, group="glance_download_properties", opts=GLANCE_DOWNLOAD_OPTS
):
    extra_properties: list[str]
