"""Who the client is: OpenStack's configuration, or an access key.

Credentials are an ``auth`` of requests: a callable that completes a prepared request.
"""

import dataclasses
import logging
import os
import re
import time
import urllib.parse
import warnings
from collections.abc import Mapping
from typing import Any, Protocol

from imsgate.auth import aksk
from imsgate.client.failures import Cut, Failure, NotAllowed

_VERSION = re.compile(r"/v2(\.[0-9]+)?/?$|/$")


class Credentials(Protocol):
    """``endpoint`` is the URL of the image service without version. ``verify`` and ``cert`` are
    those of requests."""

    endpoint: str
    verify: Any
    cert: Any

    def __call__(self, request: Any) -> Any:
        """Complete a prepared request. Raises NotAllowed, Cut."""

    def renew(self) -> bool:
        """Prepare for another attempt after 401. False if that cannot help."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The options of the command line that select credentials; None if not given."""

    cloud: str | None = None
    token: str | None = None
    endpoint: str | None = None
    region: str | None = None


def find(options: Options, environ: Mapping[str, str] = os.environ) -> Credentials:
    """The credentials that the options, or else the environment or clouds.yaml, name.

    Raises NotAllowed, Cut.
    """
    access = environ.get("HUAWEICLOUD_SDK_AK")
    if access and not (options.cloud or options.token):
        return _access_key(access, options, environ)
    named = None if options.cloud or environ.get("OS_CLOUD") else _token_of(environ)
    if token := options.token or named:
        endpoint = options.endpoint or environ.get("OS_ENDPOINT")
        if not endpoint:
            raise NotAllowed("a token also needs --os-endpoint, the URL of the image service")
        return TokenCredentials(endpoint, token, verify=environ.get("OS_CACERT") or True)
    return OpenStack(options)


def _token_of(environ: Mapping[str, str]) -> str | None:
    """The token that ``imsgate serve`` prints as variables of the environment."""
    return environ.get("OS_TOKEN") if environ.get("OS_AUTH_TYPE") == "admin_token" else None


def _access_key(access: str, options: Options, environ: Mapping[str, str]) -> "AccessKey":
    endpoint = options.endpoint or environ.get("OS_ENDPOINT")
    secret = environ.get("HUAWEICLOUD_SDK_SK")
    if not (endpoint and secret):
        raise NotAllowed(
            "HUAWEICLOUD_SDK_AK is set: set HUAWEICLOUD_SDK_SK as well, and the URL of the image "
            "service with --os-endpoint or OS_ENDPOINT"
        )
    return AccessKey(
        endpoint,
        access,
        secret,
        token=environ.get("HUAWEICLOUD_SDK_SECURITY_TOKEN"),
        project=environ.get("HUAWEICLOUD_SDK_PROJECT_ID"),
        verify=environ.get("OS_CACERT") or True,
    )


class TokenCredentials:
    """A token and the endpoint that accepts it. openstacksdk could do the same, but to import it
    takes most of a second."""

    cert: Any = None

    def __init__(self, endpoint: str, token: str, *, verify: Any = True) -> None:
        self.endpoint = base_url(endpoint)
        self.verify = verify
        self._token = token

    def __call__(self, request: Any) -> Any:
        request.headers["X-Auth-Token"] = self._token
        return request

    def renew(self) -> bool:
        return False


class OpenStack:
    """What clouds.yaml or ``OS_*`` name, through openstacksdk."""

    def __init__(self, options: Options) -> None:
        """Raises NotAllowed without usable credentials, Cut, and Failure without a service."""
        with warnings.catch_warnings():
            # Of the SDK about itself, also where nothing is wrong.
            warnings.simplefilter("ignore")
            from keystoneauth1 import exceptions  # noqa: PLC0415 - takes most of a second

            self._exceptions = exceptions
            region = self._region(options)
            self._session = region.get_session()
        logging.getLogger("keystoneauth").setLevel(logging.CRITICAL)
        self.verify: Any = self._session.verify
        self.cert: Any = self._session.cert
        found = options.endpoint or region.get_endpoint("image") or self._of_catalog(region)
        if not found:
            raise Failure("the service catalog contains no image service; use --os-endpoint")
        self.endpoint = base_url(found)

    def _region(self, options: Options) -> Any:
        from openstack import config  # noqa: PLC0415
        from openstack import exceptions as sdk  # noqa: PLC0415

        problems = (sdk.SDKException, self._exceptions.ClientException, OSError, TypeError)
        try:
            return config.OpenStackConfig().get_one(**_region_options(options))
        except problems as error:  # TypeError: a plugin was made without one of its options
            raise NotAllowed(
                f"no usable credentials: {error}. Use --cloud, OS_*, or --os-token and "
                "--os-endpoint"
            ) from error

    def _of_catalog(self, region: Any) -> str | None:
        found: str | None = self._ask(
            lambda: self._session.get_endpoint(
                service_type="image",
                interface=region.get_interface("image"),
                region_name=region.get_region_name("image"),
            )
        )
        return found

    def _ask(self, call: Any) -> Any:
        """What Keystone answers. Raises NotAllowed, Cut."""
        try:
            return call()
        except self._exceptions.RetriableConnectionFailure as error:
            raise Cut(f"Keystone cannot be reached: {error}") from error
        except self._exceptions.HttpServerError as error:
            raise Cut(f"Keystone failed: {error}") from error
        except self._exceptions.ClientException as error:
            raise NotAllowed(f"Keystone refuses the credentials: {error}") from error

    def __call__(self, request: Any) -> Any:
        request.headers.update(self._ask(self._session.get_auth_headers) or {})
        return request

    def renew(self) -> bool:
        return bool(self._session.invalidate())


def _region_options(options: Options) -> dict[str, Any]:
    """Arguments of ``OpenStackConfig.get_one``."""
    chosen = {"cloud": options.cloud, "region_name": options.region}
    return {name: value for name, value in chosen.items() if value is not None}


class AccessKey:
    """Signs each request as the SDKs of Huawei Cloud do (``SDK-HMAC-SHA256``).

    Bodies are not signed, because they are streams.
    """

    cert: Any = None

    def __init__(
        self,
        endpoint: str,
        access: str,
        secret: str,
        *,
        token: str | None = None,
        project: str | None = None,
        verify: Any = True,
    ) -> None:
        """``token`` is the security token of a temporary key."""
        self.endpoint = base_url(endpoint)
        self.verify = verify
        self._access, self._secret = access, secret
        fields = {"X-Security-Token": token, "X-Project-Id": project}
        self._fields = {name: value for name, value in fields.items() if value}

    def __call__(self, request: Any) -> Any:
        url = urllib.parse.urlsplit(request.url)
        date = aksk.format_date(time.time())
        signed = {
            **self._fields,
            "Host": url.netloc,
            "X-Sdk-Date": date,
            "X-Sdk-Content-Sha256": aksk.UNSIGNED,
        }
        names = sorted(name.lower() for name in signed)
        by_name = {name.lower(): value for name, value in signed.items()}
        message = aksk.Message(
            method=request.method,
            path=urllib.parse.unquote_to_bytes(url.path),
            query=url.query,
            headers=tuple((name, by_name[name]) for name in names),
            payload=aksk.UNSIGNED,
            declared=True,
            empty=False,
        )
        header = aksk.AuthorizationHeader(self._access, None, tuple(names), "")
        canonical = next(iter(aksk.canonical_requests(message, scoped=False)))
        request.headers.update(signed)
        request.headers["Authorization"] = (
            f"{aksk.ALGORITHM} Access={self._access}, SignedHeaders={';'.join(names)}, "
            f"Signature={aksk.signature(header, self._secret, date, canonical)}"
        )
        return request

    def renew(self) -> bool:
        return False


def base_url(endpoint: str) -> str:
    """An endpoint without the version of the API at its end."""
    return _VERSION.sub("", endpoint)
