"""Options, read once; every part is given a read-only record of its own group.

Paste says which filters run and in what order, oslo.config how each behaves. A
Paste key overrides the option of that name for that instance, checked with the
option's own type; an unknown key refuses to start. There is no global CONF.
"""

import functools
import glob
import math
import os
import types
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from oslo_config import cfg
from oslo_log import log

from imsgate.errors import BadConfig
from imsgate.settings import Settings

LOG = log.getLogger(__name__)

PROJECT = "imsgate"

#: Options of ``[DEFAULT]``: what more than one part stands on.
OPTS: Sequence[cfg.Opt] = (
    cfg.StrOpt(
        "state_path",
        default=os.path.join(
            os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state"), PROJECT
        ),
        sample_default="$XDG_STATE_HOME/imsgate",
        help="Directory for everything the embedded defaults keep: database, images, tokens.",
    ),
    cfg.URIOpt(
        "public_endpoint",
        schemes=["http", "https"],
        help="The URL clients reach this service by, for links in answers. "
        "Without it they use the address that the request says it came to.",
    ),
)

#: As in Glance, so that a glance-api.conf says it already.
PASTE_GROUP = "paste_deploy"
PASTE_OPTS: Sequence[cfg.Opt] = (
    cfg.StrOpt(
        "flavor",
        help="Which application of the Paste file is served, as it says who may come in: main, "
        "the default, by tokens; aksk by signatures; keystone; tokens+aksk or keystone+aksk.",
    ),
)


_LOG_LEVELS = (
    "alembic=WARN",
    "botocore=WARN",
    # It tells with a traceback of each connection that it could not put back in order, and
    # takes a new one; what failed meanwhile is logged where it failed.
    "sqlalchemy.pool=CRITICAL",
)


#: They stand in no list of options.
_OLD_LOG_NAMES = ("log_config", "logfile", "logdir")


#: Which option of oslo.log is meant by what its ``setup`` raises; the first that fits.
_LOG_KEYS: Mapping[type[Exception], str] = {
    cfg.Error: "log_*",  # says which
    log.LogConfigError: "log_config_append",
    OSError: "log_file",
    TypeError: "syslog_log_facility",
    ValueError: "default_log_levels",
    RuntimeError: "use_journal",
}


class Section(types.SimpleNamespace):
    """The settings of one group, read-only."""

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"settings are read-only: {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"settings are read-only: {name}")

    def __repr__(self) -> str:
        """The names only: some values are secret."""
        return f"Section({', '.join(vars(self))})"


S = TypeVar("S", bound=Settings)


class Config:
    """The configuration files of one process, and a state directory that overrides theirs."""

    def __init__(self, files: Sequence[str] = (), state_path: str | None = None) -> None:
        """Raises BadConfig when a file is missing or cannot be parsed."""
        self._conf = cfg.ConfigOpts()
        self._asked: dict[str, set[str]] = {"default": set(_OLD_LOG_NAMES)}
        self._conf.register_opts(OPTS)
        log.register_options(self._conf)
        log.set_defaults(default_log_levels=[*log.get_default_log_levels(), *_LOG_LEVELS])
        found = list(files) or cfg.find_config_files(project=PROJECT)
        try:
            self._conf(args=[], project=PROJECT, default_config_files=found)
        except (cfg.Error, OSError) as error:
            raise BadConfig("config_file", str(error)) from error
        except UnicodeDecodeError as error:
            raise BadConfig("config_file", f"{', '.join(found)}: {error}") from error
        except SystemExit:
            # Those options of oslo.log could stand in a command line, and it has said which.
            raise BadConfig("[DEFAULT]", "an option there is no value of its kind") from None
        if state_path:
            self._conf.set_override("state_path", os.path.abspath(state_path))

    def section(
        self,
        group: str,
        opts: Sequence[cfg.Opt],
        overrides: Mapping[str, str] = types.MappingProxyType({}),
    ) -> Section:
        """The values of ``opts`` in ``[group]``, with ``overrides`` on top.

        Raises BadConfig, naming the key, for a value its option does not take
        and for an override no option has.
        """
        name = None if group == "DEFAULT" else group
        self._conf.register_opts(opts, group=name)
        asked = self._asked.setdefault(group.lower(), set())
        for opt in opts:
            asked.update((str(opt.dest), *(str(old.name) for old in opt.deprecated_opts)))
        known = {opt.dest: opt for opt in opts}
        values = {dest: self._value(dest, group, name) for dest in known}
        for key, text in overrides.items():
            if key not in known:
                raise BadConfig(f"{group}.{key}", "this is not an option of it")
            try:
                values[key] = known[key].type(text)
            except ValueError as error:
                raise BadConfig(f"{group}.{key}", str(error)) from error
        for dest, option in known.items():
            if problem := _problem(values[dest], option):
                key = f"{group}.{dest}" if dest in overrides else f"[{group}] {dest}"
                raise BadConfig(key, problem)
        return Section(**values)

    def read(self, record: type[S], overrides: Mapping[str, str] = types.MappingProxyType({})) -> S:
        """The options of a group as its typed record. Raises BadConfig as ``section``."""
        return record.of(self.section(record.GROUP, record.OPTS, overrides))

    def _value(self, dest: str, group: str, name: str | None) -> Any:
        try:
            return self._conf[name][dest] if name else self._conf[dest]
        except (cfg.NoSuchOptError, cfg.NoSuchGroupError, cfg.TemplateSubstitutionError):
            # oslo.config says part of the value, which may be a password, or that the option
            # itself is not there.
            problem = "$ begins the name of an option there, which is none; a dollar sign is $$"
            raise BadConfig(f"[{group}] {dest}", problem) from None
        except (cfg.Error, ValueError) as error:
            raise BadConfig(f"[{group}] {dest}", str(error)) from error

    @property
    def state_path(self) -> str:
        """The state directory, absolute."""
        return os.path.abspath(self._conf.state_path)

    def unread(self) -> list[str]:
        """What stands in the files and nothing has asked for, so that it has no effect.

        To be asked once all parts are there. Of sections that libraries read, whatever their
        options are, only those are found that none has read.
        """
        groups = {name.lower() for name in self._conf if self._is_group(name)}
        told = []
        for path in self._files():
            sections: dict[str, dict[str, Any]] = {}
            cfg.ConfigParser(path, sections).parse()
            for section, values in sections.items():
                asked = self._asked.get(section.lower())
                if asked is None and section.lower() not in groups:
                    told.append(f"{path}: [{section}]")
                elif asked is not None:
                    told += [
                        f"{path}: [{section}] {key}"
                        for key in values
                        if key not in asked and not self._is_option(section, key)
                    ]
        return told

    def tell_unread(self) -> None:
        """Warn of what ``unread`` finds: a misspelt option may have been meant to refuse."""
        for place in self.unread():
            LOG.warning("%s has no effect: nothing that is served reads it", place)

    def _files(self) -> list[str]:
        found = list(self._conf.config_file or ())
        for directory in self._conf.config_dir or ():
            found += sorted(glob.glob(os.path.join(directory, "*.conf")))
        return found

    def _is_group(self, name: str) -> bool:
        try:
            return isinstance(self._conf[name], cfg.ConfigOpts.GroupAttr)
        except (cfg.Error, ValueError):  # an option with a value that nobody needed
            return False

    def _is_option(self, section: str, key: str) -> bool:
        """Whether a library that shares the section has it."""
        if section == "DEFAULT":
            return key in self._conf
        return section in self._conf and key in self._conf[section]

    def set_up_log(self) -> None:
        """Log as the files say. Raises BadConfig, naming the key."""
        try:
            log.setup(self._conf, PROJECT)
        except tuple(_LOG_KEYS) as error:
            key = next(key for kind, key in _LOG_KEYS.items() if isinstance(error, kind))
            raise BadConfig(f"[DEFAULT] {key}", str(error)) from error

    @property
    def native(self) -> cfg.ConfigOpts:
        """The parsed files, for libraries that register options of their own (oslo.log)."""
        return self._conf


def _problem(value: Any, option: cfg.Opt) -> str | None:
    """Why a value cannot work that oslo.config takes, whatever the option is for."""
    if value is None and option.default is not None:
        return "it needs a value"  # an empty text is none at all
    if isinstance(value, float) and not math.isfinite(value):
        return "it is a finite number"
    if isinstance(value, str) and "\0" in value:
        return "it holds a NUL character"
    return None


@functools.cache
def _load(files: tuple[str, ...], state_path: str | None) -> Config:
    return Config(files, state_path)


def load(global_conf: Mapping[str, str]) -> Config:
    """The configuration that Paste's global section names, parsed once per process.

    ``config_file`` lists files, separated by commas; without it oslo.config's
    usual places are searched. ``state_path`` overrides that option.
    """
    text = global_conf.get("config_file", "")
    files = tuple(name.strip() for name in text.split(",") if name.strip())
    return _load(files, global_conf.get("state_path"))
