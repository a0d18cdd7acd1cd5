"""Typed records of options: one class per option group, checked against its options."""

import collections.abc
import dataclasses
import functools
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from typing import (
    Any,
    ClassVar,
    Self,
    TypeAlias,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from oslo_config import cfg
from oslo_config import types as config_types

#: The option of a field, or the options of a mapping by their keys.
_Source: TypeAlias = cfg.Opt | Mapping[str, cfg.Opt]


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Settings:
    """The options of one group as a typed, read-only record. Only ``Config.reload`` changes it.

    A subclass declares one field for each option of a sequence::

        class UploadSettings(Settings, group="upload", opts=OPTS):
            lease: int
            staging_store: str | None

    A field of type ``Mapping[str, ...]`` has all options whose names begin with the name of the
    field and an underscore: ``refuse["dirty"]`` is the value of ``refuse_dirty``.

    Fields and options cannot drift apart: the class statement raises TypeError if they differ in
    name or type. A field must allow None if its option has no default, and only then. The default
    of a field is that of its option.
    """

    GROUP: ClassVar[str]
    OPTS: ClassVar[Sequence[cfg.Opt]]
    _sources: ClassVar[Mapping[str, _Source]]

    def __init_subclass__(cls, *, group: str, opts: Sequence[cfg.Opt]) -> None:
        cls.GROUP, cls.OPTS = group, tuple(opts)
        cls._sources = _checked_sources(cls)
        for name in cls._sources.keys() & inspect.get_annotations(cls).keys():
            default = functools.partial(_value, cls._sources[name], _default)
            setattr(cls, name, dataclasses.field(default_factory=default))
        dataclasses.dataclass(frozen=True, kw_only=True, repr=False)(cls)

    @classmethod
    def of(cls, section: object) -> Self:
        """The record of the values that ``section`` has as attributes, possibly among others."""

        def value_of(option: cfg.Opt) -> Any:
            return getattr(section, str(option.dest))

        return cls(**{name: _value(source, value_of) for name, source in cls._sources.items()})

    def refresh(self, section: object) -> None:
        """Give all fields the values that ``section`` has now. Only ``Config.reload`` calls it."""
        for name, value in vars(self.of(section)).items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        """The class only, because some values are secret."""
        return f"{type(self).__name__}(...)"


def _value(source: _Source, value_of: Callable[[cfg.Opt], Any]) -> Any:
    if isinstance(source, Mapping):
        return types.MappingProxyType({key: value_of(option) for key, option in source.items()})
    return value_of(source)


def _default(option: cfg.Opt) -> Any:
    """A copy of the option's default, so that no two records share a list."""
    if isinstance(option.default, list | tuple):
        return list(option.default)
    return dict(option.default) if isinstance(option.default, dict) else option.default


def _checked_sources(record: type[Settings]) -> Mapping[str, _Source]:
    """The options of each field. Raises TypeError if fields and options differ."""
    options = {str(option.dest): option for option in record.OPTS}
    hints = get_type_hints(record)
    fields = [name for name in hints if get_origin(hints[name]) is not ClassVar]
    sources: dict[str, _Source] = {}
    for name in fields:
        if get_origin(hints[name]) is collections.abc.Mapping:
            prefix, value_hint = f"{name}_", get_args(hints[name])[1]
            names = [each for each in options if each.startswith(prefix) and each not in fields]
            sources[name] = {each.removeprefix(prefix): options.pop(each) for each in names}
        elif name in options:
            value_hint = hints[name]
            sources[name] = options.pop(name)
        else:
            raise TypeError(f"{record.__name__}.{name}: there is no such option")
        _check_types(f"{record.__name__}.{name}", value_hint, sources[name])
    if options:
        raise TypeError(f"{record.__name__}: these options have no field: {', '.join(options)}")
    return sources


def _check_types(field: str, hint: Any, source: _Source) -> None:
    for option in source.values() if isinstance(source, Mapping) else (source,):
        if _type_of_hint(hint) != _type_of_values(option):
            raise TypeError(f"{field}: {hint} is not the type of option {option.name}")


def _type_of_hint(hint: Any) -> tuple[Any, bool]:
    """The type without its parameters, and whether None is allowed too."""
    alternatives = get_args(hint) if get_origin(hint) in (types.UnionType, Union) else (hint,)
    kinds = [get_origin(kind) or kind for kind in alternatives if kind is not type(None)]
    return (kinds[0] if len(kinds) == 1 else None), len(kinds) < len(alternatives)


#: Python types of option values, by oslo.config's types; others are text.
_PYTHON_TYPES: Mapping[type, type] = {
    config_types.Boolean: bool,
    config_types.Integer: int,
    config_types.Port: int,
    config_types.Float: float,
    config_types.List: list,
    config_types.Dict: dict,
}


def _type_of_values(option: cfg.Opt) -> tuple[type, bool]:
    kind = list if option.multi else _PYTHON_TYPES.get(type(option.type), str)
    return kind, option.default is None and not option.required
