"""The lines of the log at the start and the stop of a process: version, stores, database."""

import importlib.metadata
import logging
import re
from typing import Any

from imsgate.config import PROJECT, Config, PasteSettings
from imsgate.jobs.settings import JobSettings
from imsgate.registry.loader import RegistrySettings
from imsgate.registry.sql import database
from imsgate.registry.sql.database import DatabaseSettings
from imsgate.stores.loader import DefaultStoreSettings, EnabledSettings

LOG = logging.getLogger(__name__)

#: The password in a URL, and a query, which may contain one.
_PASSWORD = re.compile(r"(//[^:/@]*):[^/]*@|\?.*")


def version() -> str:
    return importlib.metadata.version(PROJECT)


def log_start(conf: Config, doing: str, *, with_services: bool = True) -> None:
    """Log that this process has started ``doing`` something, such as "serves URL".

    ``with_services`` says whether it has the stores and the database. Raises BadConfig.
    """
    fields: dict[str, Any] = {"version": version(), "doing": doing}
    fields["flavor"] = conf.read(PasteSettings).flavor or "main"
    if with_services:
        fields |= {"stores": _stores(conf), "database": _database(conf), "jobs": _jobs(conf)}
    text = ", ".join(f"{name} {fields[name]}" for name in list(fields)[2:])
    LOG.info("imsgate %s %s: %s", fields["version"], doing, text, extra={"extra": fields})


def log_stop() -> None:
    LOG.info("imsgate %s has stopped", version(), extra={"extra": {"version": version()}})


def _stores(conf: Config) -> str:
    enabled = conf.read(EnabledSettings).enabled_backends
    default = conf.read(DefaultStoreSettings).default_backend or next(iter(enabled))
    kinds = {
        name: f"{kind}, default" if name == default else kind for name, kind in enabled.items()
    }
    return " ".join(f"{name} ({kind})" for name, kind in kinds.items())


def _database(conf: Config) -> str:
    driver = conf.read(RegistrySettings).driver
    if driver != "sql":
        return driver
    url = database.parse(conf.read(DatabaseSettings))
    return url.set(query={}).render_as_string(hide_password=True)


def _jobs(conf: Config) -> str:
    settings = conf.read(JobSettings)
    broker = masked(settings.broker_url) if settings.broker_url else ""
    return f"{settings.engine} ({broker})" if broker else settings.engine


def masked(url: str) -> str:
    """The URL without its password and its query."""
    return _PASSWORD.sub(lambda match: f"{match[1]}:***@" if match[1] else "", url)
