"""``imsgate config check``: everything that ``imsgate serve`` would refuse, without serving.

Nothing is written, except the state directory, and in it what the stores and the filters create
when they start. Where one problem does not hide others, all of them are found.
"""

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any

from paste.deploy import loadwsgi

from imsgate import app, bridge_app, opts, services
from imsgate.bridge import remote
from imsgate.buckets import base as user_buckets
from imsgate.cmd import arguments
from imsgate.config import Config, DefaultSettings
from imsgate.errors import BadConfig
from imsgate.filters.tokens import Tokens, TokensSettings
from imsgate.forward.application import Forward
from imsgate.forward.settings import ForwardSettings
from imsgate.http.wsgi import WsgiApp
from imsgate.jobs.settings import JobSettings
from imsgate.quotas import quota
from imsgate.registry.base import Registry
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


def run(args: argparse.Namespace) -> int:
    """Returns exit status 2 if the server would not start."""
    checks = _Checks(args)
    quiet = logging.NullHandler()  # without any handler, Python would print what is logged
    logging.getLogger().addHandler(quiet)
    try:
        checks.run()
    finally:
        logging.getLogger().removeHandler(quiet)
    for problem in checks.problems:
        print(f"imsgate: {problem}", file=sys.stderr)
    for place in checks.without_effect:
        print(f"imsgate: warning: {place} has no effect", file=sys.stderr)
    if not checks.problems:
        print("The server would start with this configuration.")
    return 2 if checks.problems else 0


class _Checks:
    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._global_conf = arguments.global_conf(args)
        #: What is wrong, each once.
        self.problems: list[str] = []
        self.without_effect: list[str] = []

    @contextlib.contextmanager
    def _step(self) -> Iterator[None]:
        """A step that may fail without hiding the problems of the next one."""
        try:
            yield
        except BadConfig as problem:
            if str(problem) not in self.problems:
                self.problems.append(str(problem))

    def run(self) -> None:
        with self._step():
            conf = arguments.load(self._args)
            with self._step():
                open_files.max_connections(self._args.threads)
            with self._step():
                state.create_directory(conf)
            with self._step():
                paste = pastefile.uri(conf, self._args.paste)
                self._check_pipeline(conf, paste)
            self.without_effect = [] if self.problems else conf.unread()
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
            if conf.read(services.RegistrySettings).driver == "sql":
                settings = conf.read(DatabaseSettings)
                found = schema.version(settings).state
                if schema.is_embedded(settings) and found in (State.UNMADE, State.BEHIND):
                    return None
            return services.load_registry(conf)
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
