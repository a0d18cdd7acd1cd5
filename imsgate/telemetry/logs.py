"""What this service changes about oslo.log: its defaults, its summaries, its levels at run time.

Uses private parts of oslo.log; the versions it was verified with are in
tests/telemetry/test_logs.py.
"""

import logging
from collections.abc import Iterable, Mapping

from oslo_config import cfg
from oslo_log import _options, formatters, log

_LEVELS = "default_log_levels"
_LOG_LEVELS = (
    "alembic=WARN",
    "botocore=WARN",
    # It logs a traceback for each connection that it cannot reset, and replaces the connection.
    # If a query fails because of that, the failure is logged elsewhere.
    "sqlalchemy.pool=CRITICAL",
)

#: Deprecated names of oslo.log's options, which its lists of options lack.
OLD_NAMES = ("log_config", "logfile", "logdir")

#: The option of oslo.log that causes an exception of its ``setup``; the first match counts.
KEYS: Mapping[type[Exception], str] = {
    cfg.Error: "log_*",  # the message names the option
    log.LogConfigError: "log_config_append",
    OSError: "log_file",
    TypeError: "syslog_log_facility",
    ValueError: _LEVELS,
    RuntimeError: "use_journal",
}

# oslo.log sets these levels at the start only; ``change_levels`` changes them.
for _option in _options.log_opts:
    _option.mutable |= _option.dest == _LEVELS


def register(conf: cfg.ConfigOpts) -> None:
    """Register the options of oslo.log."""
    log.register_options(conf)
    log.set_defaults(default_log_levels=[*log.get_default_log_levels(), *_LOG_LEVELS])


def opts() -> list[cfg.Opt]:
    """Copies of the options, of which none is an argument of a command."""
    return [option for _, options in _options.list_opts() for option in options]


def set_up(conf: cfg.ConfigOpts, project: str) -> None:
    """Configure logging. Raises one of the exceptions of ``KEYS``."""
    formatters._get_error_summary = error_summary
    log.setup(conf, project)


_error_summary = formatters._get_error_summary


def error_summary(record: logging.LogRecord) -> str:
    """What oslo.log appends to a line at WARNING or above: the exception being handled.

    Only if it is logged with its traceback: any other line has its text already, and it may
    contain URLs and passwords that were left out on purpose.
    """
    return _error_summary(record) if record.exc_info else ""


def parse_levels(pairs: Iterable[str]) -> dict[str, int]:
    """The level of each logger in pairs such as ``boto3=WARN``. Raises ValueError."""
    levels, names = {}, logging.getLevelNamesMapping()
    for pair in pairs:
        logger, _, level = pair.partition("=")
        if level not in names and not (level.isascii() and level.isdigit()):
            raise ValueError(f"{pair!r} has no level such as DEBUG, INFO or WARN")
        levels[logger] = names[level] if level in names else int(level)
    return levels


def change_levels(former: Iterable[str], pairs: Iterable[str]) -> None:
    """Give loggers the levels in ``pairs`` instead of those in ``former``. Raises ValueError."""
    levels = parse_levels(pairs)
    for logger in {**parse_levels(former), **levels}:
        logging.getLogger(logger).setLevel(levels.get(logger, logging.NOTSET))
