"""The options of conversion. The groups and names that Glance has are Glance's."""

from oslo_config import cfg, types

from imsgate.settings import Settings

PLUGINS_GROUP = "image_import_opts"
NO_OP, CONVERSION, INJECTION = "no_op", "image_conversion", "inject_image_metadata"

PLUGIN_OPTS = (
    cfg.ListOpt(
        "image_import_plugins",
        default=[],
        item_type=types.String(quotes=True, choices=[NO_OP, CONVERSION, INJECTION]),
        bounds=True,
        help="What an import does besides, in brackets: [image_conversion,inject_image_metadata]. "
        "image_conversion converts disk images to [image_conversion] output_format, which needs "
        "qemu-img. inject_image_metadata adds the properties of [inject_metadata_properties]. "
        "no_op does nothing. Glance's image_decompression is [import_unpack] formats here.",
    ),
)

GROUP = "image_conversion"
OPTS = (
    cfg.StrOpt(
        "output_format",
        default="raw",
        choices=["qcow2", "raw", "vmdk"],
        help="The disk_format to which imported images are converted.",
    ),
    cfg.BoolOpt(
        "on_upload",
        default=False,
        help="Also convert images that are uploaded without an import. The upload is answered "
        "with 204, and the image is importing until a job has converted it.",
    ),
    cfg.StrOpt(
        "scratch_dir",
        default="$state_path/conversion",
        help="Directory on a local disk for the images before and after their conversion. It is "
        "created if it does not exist. All processes of a host share it.",
    ),
    cfg.IntOpt(
        "scratch_size",
        default=0,
        min=0,
        help="The most bytes that conversions of all processes of a host take in scratch_dir. "
        "0 means the free space of its file system.",
    ),
    cfg.IntOpt(
        "max_time",
        mutable=True,
        default=3600,
        min=1,
        max=10**9,
        help="Seconds after which a conversion is stopped. Its processor time has the same limit.",
    ),
    cfg.IntOpt(
        "max_memory",
        mutable=True,
        default=1 << 30,
        min=256 << 20,
        help="The most address space of one qemu-img, in bytes.",
    ),
    cfg.StrOpt(
        "sandbox",
        default="bubblewrap",
        choices=["bubblewrap", "limits"],
        help="What isolates qemu-img. bubblewrap hides the network and all files except its own "
        "libraries and the two images. limits only limits its processor time, memory and output: "
        "for hosts and containers that forbid user namespaces and isolate the worker themselves.",
    ),
    cfg.StrOpt(
        "user",
        default="nobody",
        help="The user that qemu-img runs as if the service is started by root. Otherwise it runs "
        "as the user of the service.",
    ),
)


class PluginSettings(Settings, group=PLUGINS_GROUP, opts=PLUGIN_OPTS):
    """The options of ``[image_import_opts]``."""

    image_import_plugins: list[str]


class ConversionSettings(Settings, group=GROUP, opts=OPTS):
    """The options of ``[image_conversion]``."""

    output_format: str
    on_upload: bool
    scratch_dir: str
    scratch_size: int
    max_time: int
    max_memory: int
    sandbox: str
    user: str
