"""What exceptions of glance_store drivers, and of the libraries under them, stand for."""

import contextlib
import errno
import logging
import re
from collections.abc import Iterator, Sequence
from typing import Any

from glance_store import exceptions
from oslo_config import cfg

from imsgate import errors

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
_FULL_NUMBERS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DENIED_NUMBERS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_FULL_STATUSES = frozenset({413, 507})
_DENIED_STATUSES = frozenset({401, 403})

#: The user information of a URI.
_USER = re.compile(r"//[^/@\s]+@")


class Failures:
    """Translates for one store, and keeps its secrets to itself."""

    def __init__(self, store: str, opts: Sequence[cfg.Opt], settings: Any) -> None:
        self._store = store
        values = (str(getattr(settings, opt.dest) or "") for opt in opts if opt.secret)
        self._secrets = [value for value in values if value]

    @contextlib.contextmanager
    def reporting(self) -> Iterator[None]:
        """Raises ObjectNotFound, or one of the contract's errors, in place of what is raised."""
        try:
            yield
        except (errors.Error, errors.ObjectNotFound):
            raise
        except exceptions.NotFound:
            raise errors.ObjectNotFound(f"store {self._store}") from None
        except Exception as error:
            raise self.translate(error) from None

    def translate(self, error: BaseException) -> errors.Error:
        """The contract's error, for whose cause the log has the driver's words."""
        if isinstance(error, errors.Error):
            return error
        _LOG.warning("Store %s: %s: %s", self._store, type(error).__name__, self.masked(error))
        status, number = _http_status(error), getattr(error, "errno", None)
        problem = f"its driver reports {type(error).__name__}"
        if (
            isinstance(error, exceptions.StorageFull)
            or number in _FULL_NUMBERS
            or status in _FULL_STATUSES
        ):
            return errors.StoreFull(store=self._store)
        if isinstance(error, _DENIED) or number in _DENIED_NUMBERS or status in _DENIED_STATUSES:
            return errors.StoreDenied(store=self._store, problem=problem)
        return errors.StoreUnavailable(store=self._store, problem=problem)

    def masked(self, error: BaseException) -> str:
        """What it says, without the secrets of the configuration and those in URIs."""
        text = _USER.sub("//***@", str(error))
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def _http_status(error: BaseException) -> int | None:
    """The status that swiftclient or botocore saw."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return getattr(error, "http_status", None)
