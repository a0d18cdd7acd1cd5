"""oslo.log: its options, and its set-up by them.

A module of its own, because a command that logs nothing does without: to import oslo.log takes a
seventh of the time of ``imsgate inspect``.
"""

import logging
from collections.abc import Mapping

from oslo_config import cfg
from oslo_log import formatters, log

from imsgate.errors import BadConfig

_LEVELS = (
    "alembic=WARN",
    "botocore=WARN",
    # It logs a traceback for each connection that it cannot reset, and replaces the connection.
    # If a query fails because of that, the failure is logged elsewhere.
    "sqlalchemy.pool=CRITICAL",
)

#: The option of oslo.log that causes an exception of its ``setup``; the first match counts.
_KEYS: Mapping[type[Exception], str] = {
    cfg.Error: "log_*",  # the message names the option
    log.LogConfigError: "log_config_append",
    OSError: "log_file",
    TypeError: "syslog_log_facility",
    ValueError: "default_log_levels",
    RuntimeError: "use_journal",
}


def register(conf: cfg.ConfigOpts) -> None:
    """Register oslo.log's options, before the files are parsed."""
    log.register_options(conf)
    log.set_defaults(default_log_levels=[*log.get_default_log_levels(), *_LEVELS])


def set_up(conf: cfg.ConfigOpts, project: str) -> None:
    """Configure logging by these options. Raises BadConfig, naming the key."""
    formatters._get_error_summary = error_summary
    try:
        log.setup(conf, project)
    except tuple(_KEYS) as error:
        key = next(key for kind, key in _KEYS.items() if isinstance(error, kind))
        raise BadConfig(f"[DEFAULT] {key}", str(error)) from error


_error_summary = formatters._get_error_summary


def error_summary(record: logging.LogRecord) -> str:
    """What oslo.log appends to a line at WARNING or above: the exception being handled.

    Only if it is logged with its traceback: any other line has its text already, and it may
    contain URLs and passwords that were left out on purpose.
    """
    return _error_summary(record) if record.exc_info else ""
