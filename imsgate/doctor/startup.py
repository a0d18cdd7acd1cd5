"""What ``imsgate serve`` would refuse, found without serving.

Nothing is written, except the state directory, and in it what the stores and the filters create
when they start. Where one problem does not hide others, all of them are found.
"""

import contextlib
import dataclasses
import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any

from paste.deploy import loadwsgi

from imsgate import app, bridge_app, config, opts, services
from imsgate.bridge import remote
from imsgate.buckets import base as user_buckets
from imsgate.config import Config, DefaultSettings, UnreadPlace
from imsgate.errors import BadConfig
from imsgate.filters.tokens import Tokens, TokensSettings
from imsgate.forward.application import Forward
from imsgate.forward.settings import ForwardSettings
from imsgate.http.wsgi import WsgiApp
from imsgate.jobs.settings import JobSettings
from imsgate.metrics import values
from imsgate.quotas import quota
from imsgate.registry.base import Registry
from imsgate.registry.loader import RegistrySettings, load_registry
from imsgate.registry.memory import MemoryRegistry
from imsgate.registry.sql import schema
from imsgate.registry.sql.database import DatabaseSettings
from imsgate.registry.sql.migrations import State
from imsgate.server import open_files, pastefile, state
from imsgate.spool import factory as spool_factory
from imsgate.spool.services import check_store, load_spool
from imsgate.stores import loader
from imsgate.stores.enabled import Backend, Stores
from imsgate.transfer import media


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """``problems`` keep the server from starting; each is listed once. ``unread`` are the options
    without effect, which only a configuration without problems shows."""

    problems: list[BadConfig]
    unread: list[UnreadPlace]


def check(global_conf: Mapping[str, str], paste: str | None, threads: int) -> Result:
    """Check what ``imsgate serve`` with this configuration and this Paste file would refuse.

    ``threads`` is the number of concurrent requests per process. How this process logs is the same
    afterwards.
    """
    checks = _Checks(global_conf, paste, threads)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.addHandler(logging.NullHandler())  # without any, Python would print what is logged
    try:
        checks.run()
    finally:
        root.handlers, root.level = handlers, level
        values.end()  # the filter has begun to count; what follows is no work of the service
    return Result(list(checks.problems.values()), checks.unread)


class _Checks:
    def __init__(self, global_conf: Mapping[str, str], paste: str | None, threads: int) -> None:
        self._global_conf = global_conf
        self._paste = paste
        self._threads = threads
        #: What is wrong, by its text.
        self.problems: dict[str, BadConfig] = {}
        self.unread: list[UnreadPlace] = []

    @contextlib.contextmanager
    def _step(self) -> Iterator[None]:
        """A step that may fail without hiding the problems of the next one."""
        try:
            yield
        except BadConfig as problem:
            self.problems.setdefault(str(problem), problem)

    def run(self) -> None:
        with self._step():
            conf = config.load(self._global_conf)
            with self._step():
                open_files.max_connections(self._threads)
            with self._step():
                state.create_directory(conf)
            with self._step():
                paste = pastefile.uri(conf, self._paste)
                self._check_pipeline(conf, paste)
            self.unread = [] if self.problems else conf.unread()
            with self._step():
                conf.set_up_log()

    def _check_pipeline(self, conf: Config, paste: str) -> None:
        with self._step():
            pastefile.check_applications(paste, self._global_conf)
        parts = pastefile.loaded_parts(paste, self._global_conf)
        names = {part.entry_point_name for part in parts}
        factories = {part.object for part in parts if part.protocol == "paste.app_factory"}
        has_services = bool(factories & {app.app_factory, bridge_app.app_factory})
        self._check_options(names, has_services=has_services)
        for part in parts:
            with self._step():
                self._build(conf, part)
        if has_services:
            with self._step():
                services.engine_driver(conf.read(JobSettings))
        if app.app_factory in factories:
            self._check_application(conf)
        if bridge_app.app_factory in factories:
            with self._step():
                self._check_application(conf, remote.load(conf))

    def _build(self, conf: Config, part: Any) -> None:
        """Build a filter in front of an application that is never called, or an application that
        does no work of its own. Raises BadConfig."""
        if part.object_type is loadwsgi.FILTER:
            if part.entry_point_name == Tokens.NAME:
                tokens = conf.read(TokensSettings, dict(part.local_conf)).token_file
                if not os.path.exists(tokens):  # the first start creates it
                    return
            part.create()(_never)
        elif part.object is spool_factory.app_factory:
            self._check_forward(conf, conf.read(ForwardSettings, dict(part.local_conf)))
        elif part.protocol == "paste.app_factory" and part.object not in _WORKING:
            part.create()

    def _check_forward(self, conf: Config, settings: ForwardSettings) -> None:
        forward = Forward(settings, conf.read(DefaultSettings).public_endpoint)
        if not settings.spool_store:
            return
        registry = self._registry(conf)
        stores = self._stores(conf, registry)
        if stores is not None:
            check_store(stores, settings.spool_store)
        if registry is not None and stores is not None:
            load_spool(conf, settings, forward).registry.close()

    def _check_options(self, names: set[str], *, has_services: bool) -> None:
        """Every value of the sections that this pipeline reads, each by itself.

        With a configuration of its own, so that an option still counts as unread.
        """
        conf = Config(
            [name for name in self._global_conf.get("config_file", "").split(",") if name],
            self._global_conf.get("state_path"),
        )
        unused = {kind.NAME for kind in opts.FILTERS} - names
        unused |= {name for name, _ in (*loader.list_opts(), *user_buckets.list_opts())}
        unused |= {ForwardSettings.GROUP} - {name if name != "forward" else "" for name in names}
        for group, options in opts.list_opts():
            is_filter = group in {kind.NAME for kind in opts.FILTERS}
            if group == "DEFAULT" or (group not in unused and (has_services or is_filter)):
                for option in options:
                    with self._step():
                        conf.section(group, [option])

    def _check_application(self, conf: Config, ims: remote.Remote | None = None) -> None:
        """``ims`` is the image service behind a bridge."""
        registry = self._registry(conf)
        stores = self._stores(conf, registry)
        accounts, quotas = None, quota.NONE
        with self._step():
            accounts = user_buckets.load(conf)
            if accounts is not None:
                accounts.check_at_start()
        with self._step():
            quotas = quota.load(conf)
        if stores is not None:
            with self._step():
                made = services.make_services(
                    conf,
                    registry=registry or MemoryRegistry(),
                    stores=stores,
                    quotas=quotas,
                    accounts=accounts,
                    remote=ims,
                )
                if ims is None:
                    app.make_application(made, conf)
                else:
                    bridge_app.make_bridge(made, conf, ims)
        if registry is not None:
            registry.close()

    def _registry(self, conf: Config) -> Registry | None:
        """None if it is unusable, and if the server creates or migrates its database."""
        with self._step():
            if conf.read(RegistrySettings).driver == "sql":
                settings = conf.read(DatabaseSettings)
                found = schema.version(settings).state
                if schema.is_embedded(settings) and found in (State.UNMADE, State.BEHIND):
                    return None
            return load_registry(conf)
        return None

    def _stores(self, conf: Config, registry: Registry | None) -> Stores | None:
        """None if any of them cannot be used: what depends on them is not checked."""
        backends: list[Backend] = []
        complete = False
        with self._step():
            found = list(loader.survey(conf))
            complete = True
            for _, _, backend in found:
                with self._step():
                    if isinstance(backend, BadConfig):
                        complete = False
                        raise backend
                    if registry is not None and backend.started is not None:
                        media.require_right_place(registry, backend.started)
                    backends.append(backend)
        return Stores(backends, loader.default_id(conf)) if complete and backends else None


#: Applications that begin to work when they are built.
_WORKING = (app.app_factory, bridge_app.app_factory)


def _never(environ: Any, start_response: Any) -> WsgiApp:
    raise NotImplementedError
