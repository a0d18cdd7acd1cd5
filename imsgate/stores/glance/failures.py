"""Translates exceptions of glance_store drivers, and of the libraries that they use."""

import contextlib
import errno
import logging
import re
from collections.abc import Iterator, Sequence

from glance_store import exceptions
from oslo_config import cfg

from imsgate import errors
from imsgate.config import Section

_LOG = logging.getLogger(__name__)

_DENIED = (
    exceptions.AuthorizationFailure,
    exceptions.Forbidden,
    exceptions.MissingCredentialError,
    exceptions.NotAuthenticated,
    exceptions.StorageWriteDenied,
    exceptions.StoreAddDisabled,
    exceptions.StoreDeleteNotSupported,
    exceptions.StoreGetNotSupported,
)
_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DENIED_ERRNOS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_FULL_STATUSES = frozenset({413, 507})
_DENIED_STATUSES = frozenset({401, 403})

#: User information in a URI: a name and perhaps a password.
_USER_INFO = re.compile(r"//[^/@\s]+@")


class Failures:
    """Translates the exceptions of one store without revealing its secrets."""

    def __init__(self, store: str, opts: Sequence[cfg.Opt], settings: Section) -> None:
        """``opts`` are the driver's options; values of those marked secret are masked."""
        self._store = store
        values = (str(getattr(settings, opt.dest) or "") for opt in opts if opt.secret)
        self._secrets = [value for value in values if value]

    @contextlib.contextmanager
    def reporting(self) -> Iterator[None]:
        """Translate exceptions of the block to ObjectNotFound or an error of the contract."""
        try:
            yield
        except (errors.Error, errors.ObjectNotFound):
            raise
        except exceptions.NotFound:
            raise errors.ObjectNotFound(f"store {self._store}") from None
        except Exception as error:
            raise self.translate(error) from None

    def translate(self, error: BaseException) -> errors.Error:
        """The error of the store contract; the driver's own message is logged, masked."""
        if isinstance(error, errors.Error):
            return error
        _LOG.info("Store %s: %s: %s", self._store, type(error).__name__, self.masked(error))
        status, number = _http_status(error), getattr(error, "errno", None)
        problem = f"the driver raised {type(error).__name__}"
        if (
            isinstance(error, exceptions.StorageFull)
            or number in _FULL_ERRNOS
            or status in _FULL_STATUSES
        ):
            return errors.StoreFull(store=self._store)
        if isinstance(error, _DENIED) or number in _DENIED_ERRNOS or status in _DENIED_STATUSES:
            return errors.StoreDenied(store=self._store, problem=problem)
        return errors.StoreUnavailable(store=self._store, problem=problem)

    def masked(self, error: BaseException) -> str:
        """The message, without secret option values and without user information in URIs."""
        text = _USER_INFO.sub("//***@", str(error))
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def _http_status(error: BaseException) -> int | None:
    """The HTTP status in an exception of swiftclient or botocore."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        status = getattr(error, "http_status", None)
    return status if isinstance(status, int) else None
