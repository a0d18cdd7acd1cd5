"""Structured fields (RFC 9651), which headers of newer specifications are."""

from typing import Any

import http_sf


def item(text: str) -> Any:
    """The value of a field that is an Item, without its parameters.

    A String is a str, a Token is a ``http_sf.Token``; see ``http_sf`` for the others. Raises
    ValueError.
    """
    return http_sf.parse(text.encode("latin-1"), tltype="item")[0]  # type: ignore[index]


def dictionary(text: str) -> dict[str, Any]:
    """The values of a field that is a Dictionary, without their parameters. Raises ValueError."""
    members: Any = http_sf.parse(text.encode("latin-1"), tltype="dictionary")
    return {str(name): member[0] for name, member in members.items()}


def serialized(value: Any) -> str:
    """The field with this value. Raises ValueError."""
    return str(http_sf.ser(value))
