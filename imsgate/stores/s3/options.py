"""The driver's options and their validation. Options that glance_store also has keep its names."""

import os
import re
import urllib.parse
from collections.abc import Hashable

from oslo_config import cfg

from imsgate import hashing
from imsgate.errors import BadConfig
from imsgate.settings import Settings

MIB = 1024 * 1024

OPTS = (
    cfg.StrOpt(
        "s3_store_host",
        help="Address of the service: https://s3.example.org, followed by :port if needed. "
        "Without a scheme, unencrypted HTTP is used, as in glance_store.",
    ),
    cfg.StrOpt(
        "s3_store_region_name",
        default="",
        help="Region of the bucket. If empty, us-east-1, which services without regions accept.",
    ),
    cfg.StrOpt(
        "s3_store_access_key",
        secret=True,
        help="Access key of a user who can read and write the bucket.",
    ),
    cfg.StrOpt("s3_store_secret_key", secret=True, help="Secret key of the same user."),
    cfg.StrOpt("s3_store_bucket", help="Bucket for the images. Two stores cannot share a bucket."),
    cfg.BoolOpt(
        "s3_store_create_bucket_on_put",
        default=False,
        help="Create a missing bucket at start, unless images are recorded in it. "
        "If false, the server refuses to start without it.",
    ),
    cfg.StrOpt(
        "s3_store_bucket_url_format",
        default="auto",
        choices=["auto", "virtual", "path"],
        help="Position of the bucket's name in URLs: before the host name (virtual) or in the "
        "path (path). auto uses virtual, unless the host is an IP address or the bucket's name "
        "is not a valid DNS name.",
    ),
    cfg.StrOpt(
        "s3_store_cacert",
        default="",
        help="File with the CA certificates that verify the service's certificate. If empty, "
        "botocore's own CA certificates.",
    ),
    cfg.StrOpt(
        "s3_store_signature_version",
        default="s3v4",
        choices=["s3v4", "s3"],
        help="Signature version: s3v4 is version 4. s3 is version 2, for services that do not "
        "support version 4.",
    ),
    cfg.IntOpt(
        "s3_store_large_object_size",
        default=10,
        min=0,
        help="Images up to this size in MiB are kept in memory and sent in a single request, "
        "larger ones in parts. Capped at s3_store_thread_pools x "
        "s3_store_large_object_chunk_size.",
    ),
    cfg.IntOpt(
        "s3_store_large_object_chunk_size",
        default=10,
        min=5,
        max=5 * 1024,
        help="Size of a part in MiB. Images that would need more than s3_store_max_parts parts "
        "get larger parts.",
    ),
    cfg.IntOpt(
        "s3_store_thread_pools",
        default=4,
        min=1,
        help="Number of parts of one upload that are sent in parallel. An upload keeps at most "
        "one part more than this in memory.",
    ),
    cfg.IntOpt(
        "s3_store_max_parts",
        default=10_000,
        min=1,
        help="Maximum number of parts per object that the service accepts. For Swift set 1000, "
        "or raise max_upload_part_num in [filter:s3api] and max_manifest_segments in "
        "[filter:slo] of its proxy.",
    ),
    cfg.BoolOpt(
        "s3_store_equal_parts",
        default=False,
        help="Set to true if the service requires that all parts except the last have the same "
        "size. Images of unknown size are then limited to s3_store_max_parts x "
        "s3_store_large_object_chunk_size.",
    ),
    cfg.StrOpt(
        "s3_store_request_checksum_calculation",
        default="when_required",
        choices=["when_required", "when_supported"],
        help="Checksum sent with uploaded data: when_required sends Content-MD5, which every "
        "service supports; when_supported sends CRC32, which takes less CPU time.",
    ),
    cfg.BoolOpt(
        "s3_store_etag_is_md5",
        default=True,
        help="Compare ETags with MD5 digests to verify what was stored. Set to false if uploads "
        "fail because the service's ETags are not made from MD5. Under SSE-KMS they are never "
        "compared.",
    ),
    cfg.BoolOpt(
        "s3_store_conditional_writes",
        default=True,
        help="Send If-None-Match, so that the service never overwrites an object. If the service "
        "answers that it does not support this, it is not sent again.",
    ),
    cfg.StrOpt(
        "s3_store_storage_class",
        help="Storage class of the images, such as STANDARD_IA. If unset, the service decides.",
    ),
    cfg.StrOpt(
        "s3_store_server_side_encryption",
        choices=["AES256", "aws:kms", "aws:kms:dsse"],
        help="Server-side encryption of the images. If unset, the bucket's setting applies.",
    ),
    cfg.StrOpt(
        "s3_store_sse_kms_key_id",
        help="KMS key for server-side encryption. If unset, the service's default key.",
    ),
    cfg.IntOpt(
        "s3_store_read_ahead",
        default=1,
        min=1,
        help="Number of 8 MiB blocks that are fetched ahead of the client. A download keeps at "
        "most one block more than this in memory.",
    ),
    cfg.BoolOpt(
        "s3_store_redirect",
        default=False,
        help="Redirect downloads to a presigned URL of the service. Clients must be able to reach "
        "the service and follow redirects. The URL contains the access key, and many clients "
        "send their token to the service as well.",
    ),
    cfg.IntOpt(
        "s3_store_redirect_lifetime",
        default=300,
        min=1,
        max=7 * 24 * 3600,
        help="Seconds for which a presigned URL is valid. A download that has begun may take "
        "longer.",
    ),
    cfg.IntOpt(
        "s3_store_attempts",
        default=5,
        min=1,
        help="Maximum number of attempts for a request that fails with a temporary error, "
        "including the first one.",
    ),
    cfg.IntOpt(
        "s3_store_connect_timeout",
        default=10,
        min=1,
        help="Timeout in seconds for connecting to the service.",
    ),
    cfg.IntOpt(
        "s3_store_read_timeout",
        default=60,
        min=1,
        help="Timeout in seconds for the next bytes of a response.",
    ),
)


class S3Settings(Settings, group="s3", opts=OPTS):
    """The options of one S3 store."""

    s3_store_host: str | None
    s3_store_region_name: str
    s3_store_access_key: str | None
    s3_store_secret_key: str | None
    s3_store_bucket: str | None
    s3_store_create_bucket_on_put: bool
    s3_store_bucket_url_format: str
    s3_store_cacert: str
    s3_store_signature_version: str
    s3_store_large_object_size: int
    s3_store_large_object_chunk_size: int
    s3_store_thread_pools: int
    s3_store_max_parts: int
    s3_store_equal_parts: bool
    s3_store_request_checksum_calculation: str
    s3_store_etag_is_md5: bool
    s3_store_conditional_writes: bool
    s3_store_storage_class: str | None
    s3_store_server_side_encryption: str | None
    s3_store_sse_kms_key_id: str | None
    s3_store_read_ahead: int
    s3_store_redirect: bool
    s3_store_redirect_lifetime: int
    s3_store_attempts: int
    s3_store_connect_timeout: int
    s3_store_read_timeout: int


def check(name: str, settings: S3Settings) -> None:
    """Raises BadConfig, naming the option but never its value."""
    for option in ("host", "access_key", "secret_key", "bucket"):
        if not getattr(settings, f"s3_store_{option}"):
            raise BadConfig(f"[{name}] s3_store_{option}", "must be set")
    if not re.fullmatch(r"[0-9A-Za-z._-]{1,255}", settings.s3_store_bucket or "", re.ASCII):
        raise BadConfig(f"[{name}] s3_store_bucket", "is not a valid bucket name")
    # botocore's own check of the region ends in a traceback.
    if not re.fullmatch(r"(?![0-9]+$)(?!-)[a-zA-Z0-9-]{0,63}(?<!-)", settings.s3_store_region_name):
        raise BadConfig(f"[{name}] s3_store_region_name", "is not a valid region name")
    if settings.s3_store_cacert and not os.access(settings.s3_store_cacert, os.R_OK):
        raise BadConfig(f"[{name}] s3_store_cacert", "is not a readable file")
    md5_is_used = settings.s3_store_request_checksum_calculation == "when_required"
    if md5_is_used and not hashing.is_available("md5"):
        key = f"[{name}] s3_store_request_checksum_calculation"
        problem = "this host has no md5, maybe because of FIPS mode; set it to when_supported"
        raise BadConfig(key, problem)
    _check_host(f"[{name}] s3_store_host", endpoint(settings))


def endpoint(settings: S3Settings) -> str:
    """The URL of the service."""
    host = str(settings.s3_store_host).rstrip("/")
    return host if "://" in host else f"http://{host}"


def service(settings: S3Settings) -> Hashable:
    """An identifier of the service, equal for all sections that name the same service."""
    url = urllib.parse.urlsplit(endpoint(settings))
    return "s3", url.hostname, url.port or {"http": 80, "https": 443}[url.scheme]


def part_bytes(settings: S3Settings) -> int:
    """The size of a part in bytes, before it grows to suit the image."""
    return int(settings.s3_store_large_object_chunk_size * MIB)


def upload_memory_bytes(settings: S3Settings) -> int:
    """The size in bytes of the parts that one upload keeps in memory: one is being filled."""
    return (settings.s3_store_thread_pools + 1) * part_bytes(settings)


def single_put_bytes(settings: S3Settings) -> int:
    """The largest announced size in bytes that is sent in a single PUT."""
    limit = settings.s3_store_thread_pools * part_bytes(settings)
    return min(int(settings.s3_store_large_object_size * MIB), limit)


def _check_host(key: str, url: str) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise BadConfig(key, "must be the address of an HTTP or HTTPS service")
    # Messages of the libraries that connect to the service contain the URL.
    if "@" in parts.netloc:
        raise BadConfig(key, "must not contain credentials: set s3_store_access_key instead")
    if parts.path or parts.query or parts.fragment:
        raise BadConfig(key, "must end after the host and port")
