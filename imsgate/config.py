"""The configuration files; each part gets a read-only record of its option group.

The Paste file says which filters run and in what order, imsgate.conf how each behaves. A key in
the Paste file overrides the option of that name for that instance. It is checked with the type of
the option, and an unknown key is an error. There is no global CONF.

``Config.reload`` reads the files again. Records then have the new values of the options that are
``mutable``, so code that uses such an option reads it from the record each time.
"""

import dataclasses
import functools
import glob
import math
import os
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from oslo_config import cfg
from oslo_log import log

from imsgate.errors import BadConfig
from imsgate.settings import Settings
from imsgate.telemetry import logs

LOG = log.getLogger(__name__)

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


class Section(types.SimpleNamespace):
    """The values of one group's options, read-only and untyped; ``Config.reload`` changes them.

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


#: Arguments of ``Config.section``, which ``Config.reload`` repeats: group, options, overrides.
_Reading: TypeAlias = tuple[str, Sequence[cfg.Opt], Mapping[str, str]]


class Config:
    """The configuration files of one process."""

    def __init__(
        self,
        files: Sequence[str] = (),
        state_path: str | None = None,
        register_log_options: Callable[[cfg.ConfigOpts], object] = logs.register,
    ) -> None:
        """``state_path`` overrides the option. Without ``files``, oslo.config searches its usual
        places. Raises BadConfig if a file is missing or cannot be parsed."""
        self._conf = cfg.ConfigOpts()
        self._arguments = files, state_path
        self._sections: list[tuple[Section, _Reading]] = []
        self._records: list[tuple[Settings, Section]] = []
        self._checks: list[Callable[[Config], object]] = []
        #: Names of the options that were read, by group in lower case.
        self._read: dict[str, set[str]] = {"default": set(logs.OLD_NAMES)}
        self._conf.register_opts(OPTS)
        register_log_options(self._conf)
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
        section = Section(**self._values(group, opts, overrides))
        self._sections.append((section, (group, opts, overrides)))
        return section

    def _values(
        self, group: str, opts: Sequence[cfg.Opt], overrides: Mapping[str, str]
    ) -> dict[str, Any]:
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
        return values

    def read(self, record: type[S], overrides: Mapping[str, str] = types.MappingProxyType({})) -> S:
        """The options of a group as a typed record. Raises BadConfig as ``section``."""
        section = self.section(record.GROUP, record.OPTS, overrides)
        settings = record.of(section)
        self._records.append((settings, section))
        return settings

    def require(self, check: "Callable[[Config], object]") -> None:
        """Call ``check``, which raises BadConfig, now, and with new values before they are used."""
        check(self)
        self._checks.append(check)

    def reload(self) -> None:
        """Read the files again. All sections and records get the new values of mutable options.

        oslo.config logs each option that has changed, and a WARNING for each that needs a restart.
        Raises BadConfig, naming the option, if anything in the files is invalid; the former values
        then remain in force.
        """
        self._try_files()
        former_levels = self._conf.default_log_levels
        try:
            self._conf.mutate_config_files()
        except log.LogConfigError as error:  # raised when the new values are in force
            LOG.error("[DEFAULT] log_config_append: %s", error)
        except (cfg.Error, OSError, SystemExit) as error:  # the files have just been changed again
            raise BadConfig("config_file", str(error)) from error
        changed = [(section, self._values(*reading)) for section, reading in list(self._sections)]
        for section, values in changed:
            vars(section).update(values)
        for settings, section in list(self._records):
            settings.refresh(section)
        if not self._conf.log_config_append:
            logs.change_levels(former_levels, self._conf.default_log_levels)

    def _try_files(self) -> None:
        """Raises BadConfig if anything in the files is invalid now."""
        # Not as arguments of commands, whose invalid values oslo.config prints.
        opts = logs.opts()
        trial = Config(*self._arguments, register_log_options=lambda conf: conf.register_opts(opts))
        log_settings = trial.section("DEFAULT", opts)
        try:
            logs.parse_levels(log_settings.default_log_levels)
        except ValueError as error:
            raise BadConfig("[DEFAULT] default_log_levels", str(error)) from error
        for _, reading in list(self._sections):
            trial.section(*reading)
        for check in self._checks:
            check(trial)

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
        try:
            logs.set_up(self._conf, PROJECT)
        except tuple(logs.KEYS) as error:
            key = next(key for kind, key in logs.KEYS.items() if isinstance(error, kind))
            raise BadConfig(f"[DEFAULT] {key}", str(error)) from error

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
def _load(files: tuple[str, ...], state_path: str | None) -> Config:
    return Config(files, state_path)


def load(global_conf: Mapping[str, str]) -> Config:
    """The configuration that Paste's global section names, parsed once per process.

    ``config_file`` lists files, separated by commas. Without it, oslo.config searches its usual
    places. ``state_path`` overrides the option. Raises BadConfig as :class:`Config`.
    """
    text = global_conf.get("config_file", "")
    files = tuple(name.strip() for name in text.split(",") if name.strip())
    return _load(files, global_conf.get("state_path"))
