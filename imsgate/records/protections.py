"""Who may create, read, change and delete which custom properties: Glance's property protections.

The file and its two formats are Glance's (administrator guide, Property Protections). Without a
file, whoever may change an image may change all of its properties.
"""

import configparser
import dataclasses
import functools
import logging
import re
from collections.abc import Callable, Mapping
from typing import NoReturn

from oslo_config import cfg

from imsgate import errors
from imsgate.auth.policy import Policy
from imsgate.config import Config
from imsgate.errors import BadConfig
from imsgate.model import Identity, Image
from imsgate.records.attributes import RESERVED_PREFIX
from imsgate.settings import Settings

LOG = logging.getLogger(__name__)

_KEY = "[DEFAULT] property_protection_file"
_ACTIONS = ("create", "read", "update", "delete")
_EVERYBODY, _NOBODY = "@", "!"

#: Names and meaning as in Glance.
OPTS = (
    cfg.StrOpt(
        "property_protection_file",
        help="File that says who may create, read, update and delete which custom properties of "
        "images. Each section is a regular expression for names of properties; the first one that "
        "matches counts, and a property that matches none is closed to everybody. Without this "
        "file, whoever may change an image may change all of its properties.",
    ),
    cfg.StrOpt(
        "property_protection_rule_format",
        default="roles",
        choices=("roles", "policies"),
        help="What property_protection_file names: roles, separated by commas, or one rule of the "
        "policy file each.",
    ),
)


class ProtectionSettings(Settings, group="DEFAULT", opts=OPTS):
    property_protection_file: str | None
    property_protection_rule_format: str


#: Whether an action (one of create, read, update and delete) on a property is permitted.
Permits = Callable[[str, str], bool]

#: Whether somebody may do what a section's value for one action says.
_Grants = Callable[[Identity], bool]


@dataclasses.dataclass(frozen=True, slots=True)
class _Rule:
    """One section: who may take each action on the properties that ``pattern`` matches."""

    pattern: re.Pattern[str]
    grants: Mapping[str, _Grants]


class Protections:
    """The property protections of this process."""

    def __init__(self, rules: tuple[_Rule, ...] | None = None) -> None:
        """Without ``rules``, every action is permitted."""
        self._rules = rules
        self._rule_of = functools.lru_cache(maxsize=10_000)(self._find)

    def permits(self, who: Identity, action: str, name: str) -> bool:
        """Whether ``who`` may take ``action`` on the property ``name``.

        The service's own properties, which no client can set, are not protected.
        """
        if self._rules is None or name.startswith(RESERVED_PREFIX):
            return True
        rule = self._rule_of(name)
        return rule is not None and rule.grants[action](who)

    def of(self, who: Identity) -> Permits:
        """``permits`` for one user, asked once for each action and name."""
        return functools.cache(functools.partial(self.permits, who))

    def shown_to(self, who: Identity) -> Callable[[Image], Image]:
        """A function that returns an image without the properties that ``who`` may not read."""
        if self._rules is None:
            return lambda image: image
        permits = self.of(who)

        def shown(image: Image) -> Image:
            names = [name for name in image.properties if permits("read", name)]
            properties = {name: image.properties[name] for name in names}
            return dataclasses.replace(image, properties=properties)

        return shown

    def check_new(self, who: Identity, properties: Mapping[str, str]) -> None:
        """Raises Reserved unless ``who`` may create each of the properties."""
        for name in properties:
            if not self.permits(who, "create", name):
                raise errors.Reserved(name=name)

    def _find(self, name: str) -> _Rule | None:
        rules = self._rules or ()
        return next((rule for rule in rules if rule.pattern.search(name)), None)


UNPROTECTED = Protections()


def load(conf: Config, policy: Policy) -> Protections:
    """The configured protections. Raises BadConfig if their file cannot work."""
    settings = conf.read(ProtectionSettings)
    name = settings.property_protection_file
    if not name:
        return UNPROTECTED
    parser = _parsed(conf.native.find_file(name) or name)
    by_policy = settings.property_protection_rule_format == "policies"
    rules = []
    # Glance ignores these sections: the names are reserved for the service.
    for section in (each for each in parser.sections() if not each.startswith(RESERVED_PREFIX)):
        grants = {}
        for action in _ACTIONS:
            text = _value(parser, section, action)
            problem = functools.partial(_refuse, section, action)
            grants[action] = (
                _by_policy(text, policy, problem) if by_policy else _by_roles(text, problem)
            )
        rules.append(_Rule(_pattern(section), grants))
    if not rules:
        raise BadConfig(_KEY, f"{name} has no section, so nobody could use any property")
    return Protections(tuple(rules))


def _parsed(path: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    try:
        with open(path, encoding="utf-8") as file:
            parser.read_file(file)
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise BadConfig(_KEY, str(error)) from error
    return parser


def _refuse(section: str, action: str, problem: str) -> NoReturn:
    raise BadConfig(_KEY, f"[{section}] {action}: {problem}")


def _pattern(section: str) -> re.Pattern[str]:
    try:
        return re.compile(section)
    except re.error as error:
        raise BadConfig(_KEY, f"[{section}] is not a regular expression: {error}") from error


def _value(parser: configparser.ConfigParser, section: str, action: str) -> str:
    try:
        text = parser.get(section, action)
    except configparser.NoOptionError:
        _refuse(section, action, f"it is missing; write {_NOBODY} if nobody may")
    except configparser.Error as error:
        _refuse(section, action, str(error))
    if not text:
        LOG.warning("%s: [%s] %s is empty, so nobody may", _KEY, section, action)
    return text


def _by_roles(text: str, refuse: Callable[[str], NoReturn]) -> _Grants:
    """Keystone ignores the case of roles."""
    roles = frozenset(role.strip().lower() for role in text.split(",")) - {""}
    if _NOBODY in roles and _EVERYBODY in roles:
        refuse(f"{_EVERYBODY} and {_NOBODY} exclude each other")
    if _NOBODY in roles or _EVERYBODY in roles:
        return lambda who: _EVERYBODY in roles
    return lambda who: any(role.lower() in roles for role in who.roles | who.service_roles)


def _by_policy(text: str, policy: Policy, refuse: Callable[[str], NoReturn]) -> _Grants:
    if text in ("", _NOBODY, _EVERYBODY):
        return lambda who: text == _EVERYBODY
    if "," in text:
        refuse("name one policy rule; the policy file can combine several into one")
    if not policy.defines(text):
        refuse(f"there is no policy rule {text!r}")
    # The policy file may change later and lack the rule.
    return lambda who: policy.defines(text) and policy.allows(text, who, {})
