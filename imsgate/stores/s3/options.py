"""The driver's options: glance_store's names where they mean the same, and what they may hold."""

import os
import re
import urllib.parse
from collections.abc import Hashable
from typing import Any

from oslo_config import cfg

from imsgate.errors import BadConfig

MIB = 1024 * 1024

OPTS = (
    cfg.StrOpt(
        "s3_store_host",
        help="Address of the service: https://s3.example.org, with a port if need be. "
        "Without a scheme it is spoken to unencrypted, as by glance_store.",
    ),
    cfg.StrOpt(
        "s3_store_region_name",
        default="",
        help="Region of the bucket. Stores that know none take us-east-1, the default.",
    ),
    cfg.StrOpt("s3_store_access_key", secret=True, help="Access key of the bucket's user."),
    cfg.StrOpt("s3_store_secret_key", secret=True, help="Secret key of the bucket's user."),
    cfg.StrOpt(
        "s3_store_bucket", help="Bucket that holds the images. Two stores cannot share one."
    ),
    cfg.BoolOpt(
        "s3_store_create_bucket_on_put",
        default=False,
        help="Create the bucket at start when it is missing, rather than refuse to start.",
    ),
    cfg.StrOpt(
        "s3_store_bucket_url_format",
        default="auto",
        choices=["auto", "virtual", "path"],
        help="Where the bucket's name stands: before the host (virtual) or in the path. "
        "auto is virtual unless the host is an address or the name is none for DNS.",
    ),
    cfg.StrOpt(
        "s3_store_cacert",
        default="",
        help="CA certificates that the service's is checked with; without it, those of botocore.",
    ),
    cfg.StrOpt(
        "s3_store_signature_version",
        default="s3v4",
        choices=["s3v4", "s3"],
        help="s3 is version 2, for services that know no other.",
    ),
    cfg.IntOpt(
        "s3_store_large_object_size",
        default=10,
        min=0,
        help="MiB up to which an image is sent in one piece, and held in memory until then; "
        "at most as much as the parts of an upload may take.",
    ),
    cfg.IntOpt(
        "s3_store_large_object_chunk_size",
        default=10,
        min=5,
        max=5 * 1024,
        help="MiB per part. Images too large for s3_store_max_parts of these get larger parts.",
    ),
    cfg.IntOpt(
        "s3_store_thread_pools",
        default=4,
        min=1,
        help="Parts of one upload that are sent at the same time. An upload takes at most "
        "this many parts of memory and one more.",
    ),
    cfg.IntOpt(
        "s3_store_max_parts",
        default=10_000,
        min=1,
        help="Parts the service takes per object. Swift takes 1000 unless told otherwise.",
    ),
    cfg.BoolOpt(
        "s3_store_equal_parts",
        default=False,
        help="Whether the service wants all parts but the last of equal size. Images of unknown "
        "size can then be no larger than s3_store_max_parts of them.",
    ),
    cfg.StrOpt(
        "s3_store_request_checksum_calculation",
        default="when_required",
        choices=["when_required", "when_supported"],
        help="The checksum sent with what is uploaded: Content-MD5, which every service knows, "
        "or (when_supported) CRC32, which takes less of the processor.",
    ),
    cfg.BoolOpt(
        "s3_store_etag_is_md5",
        default=True,
        help="Whether ETags are made of MD5 sums, so that they prove what was stored. "
        "Turn it off for services where uploads fail because they are not. "
        "They are not compared under SSE-KMS.",
    ),
    cfg.BoolOpt(
        "s3_store_conditional_writes",
        default=True,
        help="Whether to ask the service never to overwrite an object (If-None-Match). "
        "Services that say they cannot are not asked again.",
    ),
    cfg.StrOpt("s3_store_storage_class", help="Storage class of the images: STANDARD_IA."),
    cfg.StrOpt(
        "s3_store_server_side_encryption",
        choices=["AES256", "aws:kms", "aws:kms:dsse"],
        help="How the service encrypts the images; without it, as the bucket says.",
    ),
    cfg.StrOpt("s3_store_sse_kms_key_id", help="Key for encryption by KMS, if not the default."),
    cfg.IntOpt(
        "s3_store_read_ahead",
        default=1,
        min=1,
        help="Blocks of 8 MiB that are fetched while the client takes the one before. "
        "A download takes this many of memory and one more.",
    ),
    cfg.BoolOpt(
        "s3_store_redirect",
        default=False,
        help="Send clients to a presigned URL of the service for downloads. They must reach it "
        "and follow redirects; the URL shows the access key, and many clients "
        "send their token along.",
    ),
    cfg.IntOpt(
        "s3_store_redirect_lifetime",
        default=300,
        min=1,
        max=7 * 24 * 3600,
        help="Seconds during which a download may be begun with a presigned URL.",
    ),
    cfg.IntOpt(
        "s3_store_attempts",
        default=5,
        min=1,
        help="How often a request that failed for a passing reason is sent in all.",
    ),
    cfg.IntOpt(
        "s3_store_connect_timeout",
        default=10,
        min=1,
        help="Seconds to wait for a connection to the service.",
    ),
    cfg.IntOpt(
        "s3_store_read_timeout",
        default=60,
        min=1,
        help="Seconds to wait for the next bytes of an answer.",
    ),
)

_NEEDED = ("host", "access_key", "secret_key", "bucket")


def check(name: str, settings: Any) -> None:
    """Raises BadConfig, naming the option but never its value."""
    for word in _NEEDED:
        if not getattr(settings, f"s3_store_{word}"):
            raise BadConfig(f"[{name}] s3_store_{word}", "must be set")
    if not re.fullmatch(r"[0-9A-Za-z._-]{1,255}", settings.s3_store_bucket, re.ASCII):
        raise BadConfig(f"[{name}] s3_store_bucket", "this is not the name of a bucket")
    # As botocore asks for, with a traceback.
    if not re.fullmatch(r"(?![0-9]+$)(?!-)[a-zA-Z0-9-]{0,63}(?<!-)", settings.s3_store_region_name):
        raise BadConfig(f"[{name}] s3_store_region_name", "this is not the name of a region")
    if settings.s3_store_cacert and not os.access(settings.s3_store_cacert, os.R_OK):
        raise BadConfig(f"[{name}] s3_store_cacert", "not a readable file")
    _check_host(f"[{name}] s3_store_host", endpoint(settings))


def endpoint(settings: Any) -> str:
    """The URL of the service."""
    host = str(settings.s3_store_host).rstrip("/")
    return host if "://" in host else f"http://{host}"


def service(settings: Any) -> Hashable:
    """What is equal for two sections that name the same service."""
    url = urllib.parse.urlsplit(endpoint(settings))
    return "s3", url.hostname, url.port or {"http": 80, "https": 443}[url.scheme]


def _check_host(key: str, url: str) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise BadConfig(key, "must be the address of an http or https service")
    # It would be in every message of the libraries below.
    if "@" in parts.netloc:
        raise BadConfig(key, "must not hold credentials: s3_store_access_key is for them")
    if parts.path or parts.query or parts.fragment:
        raise BadConfig(key, "must end after the host and port")
