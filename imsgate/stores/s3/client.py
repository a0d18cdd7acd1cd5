"""The boto3 client and its configuration."""

import functools
import os
import threading
from typing import Any

import boto3
from botocore.config import Config

from imsgate.stores.s3 import options
from imsgate.stores.s3.options import S3Settings
from imsgate.telemetry import trace_context

#: Services without regions accept this one.
_DEFAULT_REGION = "us-east-1"

#: Idle connections kept for reuse. More are opened when needed and closed after use.
_MAX_IDLE_CONNECTIONS = 32


class Client:
    """One boto3 client per process.

    A store may be built before a server forks its workers. If two processes shared a connection,
    each would receive responses meant for the other.
    """

    def __init__(self, settings: S3Settings, attempts: int) -> None:
        """``attempts`` is how often a request is sent at most."""
        self._settings = settings
        self._attempts = attempts
        self._lock = threading.Lock()
        self._pid = 0
        self._client: Any = None

    def get(self) -> Any:
        """This process's client, built on the first call."""
        if self._pid != os.getpid():
            with self._lock, _building:
                if self._pid != os.getpid():
                    self._client = _build(self._settings, self._attempts)
                    self._pid = os.getpid()
        return self._client

    def close(self) -> None:
        """Close idle connections."""
        with self._lock:
            if self._pid == os.getpid():
                self._client.close()
                self._pid = 0


#: One session for all stores, so that they share botocore's service description. Many threads
#: may use a client, but a session may build only one client at a time.
_session = functools.cache(boto3.session.Session)
_building = threading.Lock()


def _build(settings: S3Settings, attempts: int) -> Any:
    url = options.endpoint(settings)
    client = _session().client(
        "s3",
        endpoint_url=url,
        aws_access_key_id=settings.s3_store_access_key,
        aws_secret_access_key=settings.s3_store_secret_key,
        region_name=settings.s3_store_region_name or _DEFAULT_REGION,
        verify=settings.s3_store_cacert or None,
        config=Config(
            signature_version=settings.s3_store_signature_version,
            s3=_s3_config(settings, url),
            retries={"mode": "standard", "total_max_attempts": attempts},
            connect_timeout=settings.s3_store_connect_timeout,
            read_timeout=settings.s3_store_read_timeout,
            max_pool_connections=_MAX_IDLE_CONNECTIONS,
            tcp_keepalive=True,
            # imsgate computes the checksums. botocore would send its own in a trailer after
            # the body, which Ceph 16 and other services answer with 411.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    client.meta.events.register_first("needs-retry.s3", _follow_no_redirect_without_region)
    client.meta.events.register("before-send.s3", _add_trace)
    return client


def _add_trace(request: Any, **_: Any) -> None:
    """Pass the trace on. Headers that are added after the signature are not covered by it, so a
    proxy may change these."""
    request.headers.update(trace_context.headers())


def _follow_no_redirect_without_region(
    request_dict: dict[str, Any], response: Any, operation: Any, **_: Any
) -> None:
    """Keep botocore from asking without end where a bucket is.

    It sends HeadBucket after a redirect that names no region. If that is redirected in the same
    way, for example from http to https, it does so again until the stack is full.
    """
    if operation.name != "HeadBucket" or response is None:
        return
    headers = response[1].get("ResponseMetadata", {}).get("HTTPHeaders", {})
    if "x-amz-bucket-region" not in headers:
        request_dict["context"].setdefault("s3_redirect", {})["redirected"] = True


def _s3_config(settings: S3Settings, url: str) -> dict[str, Any]:
    # The signature covers Content-MD5, which covers the body; signing a SHA-256 of the body too
    # would double the work. CRC32 does not protect against an attacker, so without TLS the body
    # is signed.
    md5 = settings.s3_store_request_checksum_calculation == "when_required"
    return {
        "addressing_style": settings.s3_store_bucket_url_format,
        "payload_signing_enabled": not (md5 or url.startswith("https:")),
    }
