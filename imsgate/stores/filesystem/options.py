"""The driver's options and their validation. The names are glance_store's."""

import stat

from oslo_config import cfg

from imsgate.errors import BadConfig
from imsgate.settings import Settings

OPTS = (
    cfg.StrOpt(
        "filesystem_store_datadir",
        default="$state_path/images",
        help="Directory for the images. It is created if it does not exist. "
        "Two stores cannot share a directory.",
    ),
    cfg.MultiStrOpt(
        "filesystem_store_datadirs",
        help="Not supported. Enable one store per directory in enabled_backends instead.",
    ),
    cfg.IntOpt(
        "filesystem_store_file_perm",
        default=0,
        help="Permissions of the image files as octal digits, for other services that read the "
        "files directly: 640, for example. 0 or less means 640 minus the bits in the umask.",
    ),
    cfg.IntOpt(
        "filesystem_store_chunk_size",
        default=1024 * 1024,
        min=1,
        help="Number of bytes per read when an image is downloaded.",
    ),
    cfg.BoolOpt(
        "filesystem_thin_provisioning",
        default=False,
        help="Store blocks of zeros as holes, which take no disk space. No space is reserved for "
        "an upload then, so an upload may fail midway when the disk is full.",
    ),
)


class FileSettings(Settings, group="file", opts=OPTS):
    """The options of one filesystem store."""

    filesystem_store_datadir: str
    filesystem_store_datadirs: list[str] | None
    filesystem_store_file_perm: int
    filesystem_store_chunk_size: int
    filesystem_thin_provisioning: bool


def file_mode(name: str, settings: FileSettings) -> int | None:
    """The permission bits to set on each file; None leaves them to the umask.

    The option is a decimal number whose digits are read as octal, as in glance_store. Raises
    BadConfig.
    """
    digits = settings.filesystem_store_file_perm
    if digits <= 0:
        return None
    key = f"[{name}] filesystem_store_file_perm"
    try:
        mode = int(str(digits), 8)
    except ValueError as error:
        raise BadConfig(key, "must consist of octal digits (0 to 7)") from error
    if mode & ~0o777 or not mode & stat.S_IRUSR:
        raise BadConfig(key, "must be at most 777 and let the owner read")
    return mode


def check_directories(name: str, settings: FileSettings) -> None:
    """Raises BadConfig if several directories are configured for one store."""
    if settings.filesystem_store_datadirs:
        raise BadConfig(
            f"[{name}] filesystem_store_datadirs",
            "not supported: enable one store per directory in enabled_backends",
        )
