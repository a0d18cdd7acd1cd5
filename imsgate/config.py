"""The configuration files, read once; each part gets a read-only record of its option group.

The Paste file says which filters run and in what order, imsgate.conf how each behaves. A key in
the Paste file overrides the option of that name for that instance. It is checked with the type of
the option, and an unknown key is an error. There is no global CONF.
"""

import dataclasses
import functools
import glob
import logging
import math
import os
import types
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from oslo_config import cfg

from imsgate.errors import BadConfig
from imsgate.settings import Settings

LOG = logging.getLogger(__name__)

PROJECT = "imsgate"

#: Options of ``[DEFAULT]`` that several parts use.
OPTS: Sequence[cfg.Opt] = (
    cfg.StrOpt(
        "state_path",
        default=os.path.join(
            os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state"), PROJECT
        ),
        sample_default="$XDG_STATE_HOME/imsgate",
        help="Directory for the data of the default configuration: database, images, tokens.",
    ),
    cfg.URIOpt(
        "public_endpoint",
        schemes=["http", "https"],
        help="The URL by which clients reach this service, for links in responses. "
        "If unset, links use the scheme, host and port of the request.",
    ),
)


class DefaultSettings(Settings, group="DEFAULT", opts=OPTS):
    state_path: str
    public_endpoint: str | None


#: Named as in Glance, so that a glance-api.conf can be used.
PASTE_GROUP = "paste_deploy"
PASTE_OPTS: Sequence[cfg.Opt] = (
    cfg.StrOpt(
        "flavor",
        help="The application of the Paste file to serve. It decides how clients authenticate: "
        "main (the default) by tokens of a file, aksk by signatures, keystone by Keystone's "
        "tokens; tokens+aksk and keystone+aksk accept both. front passes requests on to another "
        "image service, which authenticates them; bridge, to Huawei Cloud IMS or Open Telekom "
        "Cloud.",
    ),
)


class PasteSettings(Settings, group=PASTE_GROUP, opts=PASTE_OPTS):
    flavor: str | None


#: Deprecated names of oslo.log's options, which its lists of options lack.
_OLD_LOG_NAMES = ("log_config", "logfile", "logdir")


class Section(types.SimpleNamespace):
    """The values of one group's options, read-only and untyped.

    Plugins get one. imsgate itself uses :class:`~imsgate.settings.Settings`.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"settings are read-only: {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"settings are read-only: {name}")

    def __repr__(self) -> str:
        """The names only, because some values are secret."""
        return f"Section({', '.join(vars(self))})"


@dataclasses.dataclass(frozen=True, slots=True)
class UnreadPlace:
    """An option in a file, or a whole section (``option`` is None), that nothing has read."""

    path: str
    section: str
    option: str | None = None

    def __str__(self) -> str:
        return f"{self.path}: [{self.section}]" + (f" {self.option}" if self.option else "")


S = TypeVar("S", bound=Settings)


class Config:
    """The configuration files of one process."""

    def __init__(
        self,
        files: Sequence[str] = (),
        state_path: str | None = None,
        *,
        log_options: bool = True,
    ) -> None:
        """``state_path`` overrides the option. Without ``files``, oslo.config searches its usual
        places. ``set_up_log`` needs ``log_options``. Raises BadConfig if a file is missing or
        cannot be parsed."""
        self._conf = cfg.ConfigOpts()
        #: Names of the options that were read, by group in lower case.
        self._read: dict[str, set[str]] = {"default": set(_OLD_LOG_NAMES)}
        self._conf.register_opts(OPTS)
        if log_options:
            from imsgate import log_setup  # noqa: PLC0415 - see there

            log_setup.register(self._conf)
        paths = list(files) or cfg.find_config_files(project=PROJECT)
        try:
            self._conf(args=[], project=PROJECT, default_config_files=paths)
        except (cfg.Error, OSError) as error:
            raise BadConfig("config_file", str(error)) from error
        except UnicodeDecodeError as error:
            raise BadConfig("config_file", f"{', '.join(paths)}: {error}") from error
        except SystemExit:
            # oslo.config treats these as command line options: it prints the name and exits.
            raise BadConfig("[DEFAULT]", "a logging option has an invalid value") from None
        if state_path:
            self._conf.set_override("state_path", os.path.abspath(state_path))

    def section(
        self,
        group: str,
        opts: Sequence[cfg.Opt],
        overrides: Mapping[str, str] = types.MappingProxyType({}),
    ) -> Section:
        """The values of ``opts`` in ``[group]``; ``overrides`` take precedence.

        Raises BadConfig, naming the key, for an invalid value and for an override without option.
        """
        name = None if group == "DEFAULT" else group
        self._conf.register_opts(opts, group=name)
        read = self._read.setdefault(group.lower(), set())
        for option in opts:
            read.update((str(option.dest), *(str(old.name) for old in option.deprecated_opts)))
        options = {option.dest: option for option in opts}
        values = {dest: self._value(dest, group, name) for dest in options}
        for key, text in overrides.items():
            if key not in options:
                raise BadConfig(f"{group}.{key}", f"{group} has no such option")
            try:
                values[key] = options[key].type(text)
            except ValueError as error:
                raise BadConfig(f"{group}.{key}", str(error)) from error
        for dest, option in options.items():
            if problem := _problem(values[dest], option):
                key = f"{group}.{dest}" if dest in overrides else f"[{group}] {dest}"
                raise BadConfig(key, problem)
        return Section(**values)

    def read(self, record: type[S], overrides: Mapping[str, str] = types.MappingProxyType({})) -> S:
        """The options of a group as a typed record. Raises BadConfig as ``section``."""
        return record.of(self.section(record.GROUP, record.OPTS, overrides))

    def _value(self, dest: str, group: str, name: str | None) -> Any:
        try:
            return self._conf[name][dest] if name else self._conf[dest]
        except (cfg.NoSuchOptError, cfg.NoSuchGroupError, cfg.TemplateSubstitutionError):
            # The message of oslo.config quotes part of the value, which may be a password, or
            # says that this option itself does not exist.
            problem = (
                "'$' starts a reference to another option and there is no such option; "
                "write '$$' for a dollar sign"
            )
            raise BadConfig(f"[{group}] {dest}", problem) from None
        except (cfg.Error, ValueError) as error:
            raise BadConfig(f"[{group}] {dest}", str(error)) from error

    @property
    def state_path(self) -> str:
        """The state directory, absolute."""
        return os.path.abspath(str(self._conf.state_path))

    def unread(self) -> list[UnreadPlace]:
        """The sections and options in the files that nothing has read and that have no effect.

        Call it when all parts are loaded. In a section whose options belong to a library, single
        options are not checked: such a section is listed only if no library has read it.
        """
        groups = {name.lower() for name in self._conf if self._is_group(name)}
        places = []
        for path in self.files():
            for section, values in sections(path).items():
                read = self._read.get(section.lower())
                if read is None and section.lower() not in groups:
                    places.append(UnreadPlace(path, section))
                elif read is not None:
                    places += [
                        UnreadPlace(path, section, key)
                        for key in values
                        if key not in read and not self._is_library_option(section, key)
                    ]
        return places

    def mentions(self, group: str) -> bool:
        """Whether a file or the environment sets an option in the section ``group``.

        Unlike ``section``, it does not need the options of a library that may not be installed.
        """
        prefix = f"OS_{group.upper()}__"  # of oslo.config's environment driver
        return any(name.startswith(prefix) for name in os.environ) or any(
            group == section.lower() for path in self.files() for section in sections(path)
        )

    def log_unread(self) -> None:
        """Log a warning for each place of ``unread``. A misspelled option may be one that was
        meant to refuse something."""
        for place in self.unread():
            LOG.warning("%s has no effect: no part of this service reads it", place)

    def files(self) -> list[str]:
        """The configuration files, in the order in which they are read."""
        paths = list(self._conf.config_file or ())
        for directory in self._conf.config_dir or ():
            paths += sorted(glob.glob(os.path.join(directory, "*.conf")))
        return paths

    def _is_group(self, name: str) -> bool:
        try:
            return isinstance(self._conf[name], cfg.ConfigOpts.GroupAttr)
        except (cfg.Error, ValueError):  # an option with an invalid value that nothing uses
            return False

    def _is_library_option(self, section: str, key: str) -> bool:
        """Whether a library has an option of this name in the section."""
        if section == "DEFAULT":
            return key in self._conf
        return section in self._conf and key in self._conf[section]

    def set_up_log(self) -> None:
        """Configure logging by the options of oslo.log. Raises BadConfig, naming the key."""
        from imsgate import log_setup  # noqa: PLC0415 - see there

        log_setup.set_up(self._conf, PROJECT)

    @property
    def native(self) -> cfg.ConfigOpts:
        """The parsed files, for libraries that register their own options."""
        return self._conf


def sections(path: str) -> dict[str, dict[str, Any]]:
    """The sections of a configuration file and their options."""
    sections: dict[str, dict[str, Any]] = {}
    cfg.ConfigParser(path, sections).parse()
    return sections


def _problem(value: Any, option: cfg.Opt) -> str | None:
    """What is wrong with a value that oslo.config accepts but no option can use."""
    if value is None and option.default is not None:
        return "a value is required"  # oslo.config reads an empty text as None
    if isinstance(value, float) and not math.isfinite(value):
        return "the number must be finite"
    if isinstance(value, str) and "\0" in value:
        return "the value contains a NUL character"
    return None


@functools.cache
def _load(files: tuple[str, ...], state_path: str | None, log_options: bool) -> Config:
    return Config(files, state_path, log_options=log_options)


def load(global_conf: Mapping[str, str], *, log_options: bool = True) -> Config:
    """The configuration that Paste's global section names, parsed once per process.

    ``config_file`` lists files, separated by commas. Without it, oslo.config searches its usual
    places. ``state_path`` overrides the option. ``log_options`` is for commands that log. Raises
    BadConfig as :class:`Config`.
    """
    text = global_conf.get("config_file", "")
    files = tuple(name.strip() for name in text.split(",") if name.strip())
    return _load(files, global_conf.get("state_path"), log_options)
