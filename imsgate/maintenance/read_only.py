"""Read-only mode: the service answers reads, refuses changes, and begins no work of its own.

The database says whether all hosts are read-only, a file whether this host is. Both are read for
each change, so that a change that begins after the operator's command is refused. What is running
then finishes.
"""

import os
from collections.abc import Callable, Iterable
from typing import Any

from oslo_config import cfg

from imsgate import errors
from imsgate.http import responses
from imsgate.http.request import Request
from imsgate.http.wsgi import Environ, WsgiApp
from imsgate.registry.base import Registry
from imsgate.settings import Settings

OPTS = (
    cfg.StrOpt(
        "read_only_file",
        default="$state_path/read-only",
        help="While this file exists, this host is read-only: it answers changes with 503, and "
        "begins no jobs and no cleanup. `imsgate maintenance read-only on` makes all hosts "
        "read-only instead.",
    ),
)

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
#: The search for images by tags, which IMS made a POST.
_SEARCH = "POST /v2/[^/]+/images/resource_instances/action/?"


class MaintenanceSettings(Settings, group="maintenance", opts=OPTS):
    read_only_file: str


def is_host_read_only(settings: MaintenanceSettings) -> bool:
    """Whether the file makes this host read-only, whatever the database says."""
    return os.path.exists(settings.read_only_file)


class ReadOnlyMode:
    """Whether this process may begin to change something."""

    def __init__(self, registry: Registry | None, settings: MaintenanceSettings) -> None:
        """``registry`` is None for a service without a database, which only has the file."""
        self._registry = registry
        self._settings = settings

    def is_on(self) -> bool:
        """Ask the database, unless the file exists. Raises Unavailable."""
        if is_host_read_only(self._settings):
            return True
        return self._registry is not None and self._registry.read_only_since() is not None

    def check(self, request: Request) -> None:
        """Raises ServiceReadOnly for a request that may change something, and Unavailable.

        A request that only reads costs no statement.
        """
        if request.method in _SAFE or request.is_one_of(_SEARCH):
            return
        if self.is_on():
            raise errors.ServiceReadOnly


class Guarded:
    """An application that gets no changes while the service is read-only."""

    def __init__(self, app: WsgiApp, mode: ReadOnlyMode) -> None:
        self.app = app
        self._mode = mode

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            self._mode.check(Request(environ))
        except errors.Error as error:
            return responses.refusal(error)(environ, start_response)
        return self.app(environ, start_response)
