"""What the checks examine: one configuration, and what it opens, opened once."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from paste.deploy import loadwsgi

from imsgate import app, bridge_app
from imsgate.config import Config
from imsgate.errors import BadConfig
from imsgate.forward.settings import ForwardSettings
from imsgate.registry.base import Registry
from imsgate.registry.loader import load_registry
from imsgate.server import pastefile
from imsgate.spool import factory as spool
from imsgate.stores import loader
from imsgate.stores.enabled import Backend


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """How many copies of image data are read, None for all, and at how many MiB/s at most, None
    for as fast as possible."""

    number: int | None
    rate: float | None


class Installation:
    """The configuration, database and stores of one host. Opens each of them when it is needed."""

    def __init__(
        self,
        conf: Config,
        global_conf: Mapping[str, str],
        paste: str | None,
        sample: Sample | None = None,
    ) -> None:
        """``paste`` is the Paste file; None is the installed one. Without ``sample``, no image
        data is read."""
        self.conf = conf
        self.global_conf = global_conf
        self.paste = paste
        self.sample = sample
        self._registry: Registry | BadConfig | None = None

    @functools.cached_property
    def parts(self) -> Sequence[Any]:
        """PasteDeploy's contexts of all filters and applications.

        Empty if the Paste file cannot be used, which the check of the configuration reports.
        """
        try:
            uri = pastefile.uri(self.conf, self.paste)
            pastefile.check_applications(uri, self.global_conf)
            return pastefile.loaded_parts(uri, self.global_conf)
        except BadConfig:
            return ()

    def filter_options(self, entry_point: str) -> dict[str, str] | None:
        """The Paste keys of this filter; None if the pipeline does not have it."""
        for part in self.parts:
            if part.object_type is loadwsgi.FILTER and part.entry_point_name == entry_point:
                return dict(part.local_conf)
        return None

    @property
    def has_records(self) -> bool:
        """Whether it has a database and stores, which a service that only forwards has not.

        True if the Paste file cannot be used, so that they are checked all the same.
        """
        if not self.parts:
            return True
        for part in self.parts:
            if part.object in (app.app_factory, bridge_app.app_factory):
                return True
            if part.object is spool.app_factory:
                options = dict(part.local_conf)
                return self.conf.read(ForwardSettings, options).spool_store is not None
        return False

    @functools.cached_property
    def stores(self) -> Sequence[tuple[str, str, Backend | BadConfig]]:
        """Each enabled store: its id, its driver, and the store or why it cannot be built.

        Raises BadConfig.
        """
        return list(loader.survey(self.conf))

    @property
    def backends(self) -> list[Backend]:
        """The stores that can be built. Raises BadConfig."""
        return [found for _, _, found in self.stores if isinstance(found, Backend)]

    @property
    def registry(self) -> Registry:
        """The records. Raises BadConfig; a database that is away is not waited for again."""
        if self._registry is None:
            try:
                self._registry = load_registry(self.conf)
            except BadConfig as problem:
                self._registry = problem
        if isinstance(self._registry, BadConfig):
            raise self._registry
        return self._registry

    def close(self) -> None:
        if isinstance(self._registry, Registry):
            self._registry.close()
