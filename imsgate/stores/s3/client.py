"""The boto3 client: how the service is reached and spoken to."""

import functools
import os
import threading
from typing import Any

import boto3
from botocore.config import Config

from imsgate.stores.s3 import options

#: What a service answers to that knows no regions.
_REGION = "us-east-1"

#: Connections kept for reuse; more are made when needed, and closed after use.
_IDLE = 32


class Client:
    """One boto3 client per process.

    A store may be built before a server forks its workers. Connections that two
    processes shared would give each the other's answers.
    """

    def __init__(self, settings: Any, attempts: int) -> None:
        self._settings = settings
        self._attempts = attempts
        self._lock = threading.Lock()
        self._pid = 0
        self._client: Any = None

    def get(self) -> Any:
        """This process's client. It is built for the first that asks."""
        if self._pid != os.getpid():
            with self._lock, _building:
                if self._pid != os.getpid():
                    self._client = _build(self._settings, self._attempts)
                    self._pid = os.getpid()
        return self._client

    def close(self) -> None:
        """Close the connections that lie idle."""
        with self._lock:
            if self._pid == os.getpid():
                self._client.close()
                self._pid = 0


#: One for all stores, which then share the service's description; clients may be used by
#: many threads, but a session makes one at a time.
_session = functools.cache(boto3.session.Session)
_building = threading.Lock()


def _build(settings: Any, attempts: int) -> Any:
    url = options.endpoint(settings)
    return _session().client(
        "s3",
        endpoint_url=url,
        aws_access_key_id=settings.s3_store_access_key,
        aws_secret_access_key=settings.s3_store_secret_key,
        region_name=settings.s3_store_region_name or _REGION,
        verify=settings.s3_store_cacert or None,
        config=Config(
            signature_version=settings.s3_store_signature_version,
            s3=_addressing(settings, url),
            retries={"mode": "standard", "total_max_attempts": attempts},
            connect_timeout=settings.s3_store_connect_timeout,
            read_timeout=settings.s3_store_read_timeout,
            max_pool_connections=_IDLE,
            tcp_keepalive=True,
            # Checksums are made here. botocore's own come in a trailer after the
            # body, which Ceph before 19 and many others answer with 411.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def _addressing(settings: Any, url: str) -> dict[str, Any]:
    s3: dict[str, Any] = {"addressing_style": settings.s3_store_bucket_url_format}
    # The signature covers Content-MD5, and that the body: a SHA-256 of it as well would
    # double the work. CRC32 proves nothing against an attacker, so without TLS it is signed.
    md5 = settings.s3_store_request_checksum_calculation == "when_required"
    s3["payload_signing_enabled"] = not (md5 or url.startswith("https:"))
    return s3
