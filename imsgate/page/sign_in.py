"""Tokens for people who type in a user name and a password, from this service's own Keystone.

The page cannot ask Keystone itself: its content security policy allows requests to this service
only, and Keystone would need CORS for it. Importing this module needs ``imsgate[keystone]``.
"""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from keystoneauth1 import exceptions as keystone
from keystoneauth1 import loading
from keystoneauth1.identity import generic
from keystoneauth1.session import Session
from keystonemiddleware import opts as middleware
from oslo_config import cfg

from imsgate import errors
from imsgate.errors import BadConfig
from imsgate.page.page import PasswordCredentials

GROUP = "keystone_authtoken"

#: Seconds that Keystone may take to accept a connection, and to send each part of its response.
_SECONDS = 20
#: Threads of this process that may wait for Keystone because somebody signs in.
_AT_ONCE = 8


class KeystoneSignIn:
    """Signs people in at the Keystone of ``[keystone_authtoken]``, with that section's TLS options.

    Keystone sees the client's address in the header ``Forwarded``. It counts failed attempts
    (``[security_compliance] lockout_failure_attempts``); this class does not.
    """

    def __init__(self, native: cfg.ConfigOpts) -> None:
        """Raises BadConfig if the section names no Keystone."""
        for group, options in middleware.list_auth_token_opts():
            native.register_opts(options, group=group)
        section = native[GROUP]
        self._url = _auth_url(native) or section.www_authenticate_uri
        if not self._url:
            raise BadConfig(f"[{GROUP}] auth_url", "it is required to sign in on the page")
        self._verify = not section.insecure and (section.cafile or True)
        self._certificate = (section.certfile, section.keyfile) if section.keyfile else None
        self._places = threading.BoundedSemaphore(_AT_ONCE)

    def sign_in(self, credentials: PasswordCredentials, client: str | None) -> Mapping[str, Any]:
        """Raises SignInRefused, with Keystone's words, and Unavailable."""
        password = generic.Password(
            self._url,
            username=credentials.user,
            password=credentials.password,
            user_domain_name=credentials.user_domain or "Default",
            project_name=credentials.project,
            project_domain_name=credentials.project_domain or "Default",
        )
        session = Session(
            verify=self._verify,
            cert=self._certificate,
            timeout=_SECONDS,
            original_ip=client,
        )
        with self._place():
            try:
                access = password.get_access(session)
            except (keystone.Unauthorized, keystone.Forbidden, keystone.BadRequest) as error:
                raise errors.SignInRefused(problem=error.message) from error
            except keystone.ClientException as error:
                raise errors.Unavailable(what="Keystone") from error
            finally:
                session.session.close()
        return {
            "token": access.auth_token,
            "user": access.username,
            "project": access.project_name,
            "expires_at": access.expires and access.expires.isoformat(),
        }

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        """Raises Unavailable if too many others wait for Keystone."""
        if not self._places.acquire(blocking=False):
            raise errors.Unavailable(what="Keystone", retry_after=5)
        try:
            yield
        finally:
            self._places.release()


def _auth_url(native: cfg.ConfigOpts) -> str | None:
    """The URL at which this service itself signs in. Raises BadConfig for an unusable section."""
    try:
        loading.register_auth_conf_options(native, GROUP)
        plugin = loading.load_auth_from_conf_options(native, GROUP)
    except keystone.ClientException as error:
        raise BadConfig(f"[{GROUP}]", str(error)) from error
    return getattr(plugin, "auth_url", None)
