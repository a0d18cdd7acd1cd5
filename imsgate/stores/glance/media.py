"""Whether a driver's directories, bucket or container are there.

To glance_store's drivers, an object in a missing directory, bucket or container is just missing.
"""

from collections.abc import Sequence
from typing import Any

from glance_store import exceptions
from oslo_config import cfg

from imsgate import errors
from imsgate.stores.glance.failures import Failures
from imsgate.stores.mark import MarkedDirectory

#: Per kind, the option that has a missing bucket or container created by the first upload.
_CREATED_ON_PUT = {
    "s3": "s3_store_create_bucket_on_put",
    "swift": "swift_store_create_container_on_put",
}


class Medium:
    """What the store with the id ``name`` keeps its objects in."""

    def __init__(self, name: str, kind: str, options: cfg.ConfigOpts, failures: Failures) -> None:
        """``kind`` is the driver's URI scheme. Raises OSError."""
        self._name = name
        self._kind = kind
        self._failures = failures
        paths: Sequence[str] = ()
        self._option = "filesystem_store_datadir"
        if kind == "file" and options.filesystem_store_datadirs:
            self._option = "filesystem_store_datadirs"
            # Each may have a priority: /path:100.
            paths = [each.rsplit(":", 1)[0].strip() for each in options.filesystem_store_datadirs]
        elif kind == "file":
            paths = [options.filesystem_store_datadir]
        self._directories = [MarkedDirectory(name, path) for path in paths]
        created = _CREATED_ON_PUT.get(kind)
        self._may_be_created = bool(created and options[created])

    def unmarked(self) -> str | None:
        """See Store."""
        marked = all(directory.marked for directory in self._directories)
        return None if marked else f"[{self._name}] {self._option}"

    def mark(self) -> None:
        """See Store."""
        with self._failures.reporting():
            for directory in self._directories:
                directory.mark()

    def verify(self) -> None:
        """Raises StoreUnavailable or StoreDenied if another directory is in the place of one."""
        with self._failures.reporting():
            for directory in self._directories:
                directory.verify()

    def verify_missing(self, driver: Any, place: Any, *, recorded: bool) -> None:
        """Raises StoreUnavailable or StoreDenied if an object may be there unseen.

        ``recorded`` is whether the object was there once, so its container was there, too.
        """
        self.verify()
        if self._may_be_created and not recorded:
            return
        try:
            with self._failures.reporting():
                self._look(driver, place.store_location)
        except errors.ObjectNotFound:
            problem = "its bucket or container does not exist"
            raise errors.StoreUnavailable(store=self._name, problem=problem) from None

    def _look(self, driver: Any, location: Any) -> None:
        if self._kind == "swift":
            driver.get_manager(location).get_connection().head_container(location.container)
        elif self._kind == "s3":
            client, bucket, _ = driver._operation_set(location)
            if not driver._bucket_exists(client, bucket):
                raise exceptions.NotFound(image=bucket)
