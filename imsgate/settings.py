"""Typed records of options: one class per option group, checked against its options."""

import dataclasses
import types
from collections.abc import Mapping, Sequence
from typing import (
    Any,
    ClassVar,
    Self,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from oslo_config import cfg
from oslo_config import types as config_types


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Settings:
    """The options of one group as a typed, read-only record.

    A subclass declares one field per option, and takes its options from a tuple of OPTS::

        class UploadSettings(Settings, group="upload", opts=OPTS):
            lease: int
            staging_store: str | None

    The two cannot drift apart: the class statement raises TypeError if a field and its option
    differ in name or type. A field may be None if, and only if, its option has no default. An
    option's default is the default of its field.
    """

    GROUP: ClassVar[str]
    OPTS: ClassVar[Sequence[cfg.Opt]]

    def __init_subclass__(cls, *, group: str, opts: Sequence[cfg.Opt]) -> None:
        cls.GROUP, cls.OPTS = group, tuple(opts)
        _check_fields(cls)
        for opt in opts:
            setattr(cls, str(opt.dest), _field(opt.default))
        dataclasses.dataclass(frozen=True, kw_only=True, repr=False)(cls)

    @classmethod
    def of(cls, section: Any) -> Self:
        """The record of values that ``section`` has as attributes, possibly among others."""
        return cls(**{str(opt.dest): getattr(section, str(opt.dest)) for opt in cls.OPTS})

    def __repr__(self) -> str:
        """The class only: some values are secret."""
        return f"{type(self).__name__}(...)"


#: Python types of option values, by oslo.config's types; others are text.
_VALUE_TYPES: Mapping[type, type] = {
    config_types.Boolean: bool,
    config_types.Integer: int,
    config_types.Port: int,
    config_types.Float: float,
    config_types.List: list,
    config_types.Dict: dict,
}


def _check_fields(record: type[Settings]) -> None:
    hints = get_type_hints(record)
    declared = {name for name in hints if get_origin(hints[name]) is not ClassVar}
    options = {str(opt.dest): opt for opt in record.OPTS}
    if declared != set(options):
        raise TypeError(f"{record.__name__}: fields and options differ: {declared ^ set(options)}")
    for name, opt in options.items():
        if _annotation(hints[name]) != _value_type(opt):
            raise TypeError(f"{record.__name__}.{name}: {hints[name]} is not the option's type")


def _annotation(hint: Any) -> tuple[Any, bool]:
    """The type of a field without its parameters, and whether it may be None."""
    alternatives = get_args(hint) if get_origin(hint) in (types.UnionType, Union) else (hint,)
    kinds = [get_origin(kind) or kind for kind in alternatives if kind is not type(None)]
    return (kinds[0] if len(kinds) == 1 else None), len(kinds) < len(alternatives)


def _value_type(opt: cfg.Opt) -> tuple[type, bool]:
    kind = list if opt.multi else _VALUE_TYPES.get(type(opt.type), str)
    return kind, opt.default is None and not opt.required


def _field(default: Any) -> Any:
    if isinstance(default, list | tuple):
        return dataclasses.field(default_factory=lambda: list(default))
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default))
    return default
