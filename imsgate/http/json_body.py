"""JSON documents in request bodies, with a limited number of values and levels."""

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from imsgate import errors
from imsgate.http.request import Request

#: Values in a JSON document, including the names of members. To validate one takes up to 0.1 ms,
#: and a body of 1 MiB could contain half a million.
_MAX_VALUES = 10_000
_MAX_LEVELS = 100


def json_body(request: Request) -> Any:
    """The request's JSON document. Raises BadJson."""
    text = request.whole_body()
    if not text:
        raise errors.EmptyBody(problem="it is empty")
    try:
        document = json.loads(text)
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise errors.BadJson(problem="it contains half a surrogate pair") from error
    except (ValueError, RecursionError) as error:
        raise errors.BadJson(problem="it is not a JSON document") from error
    if any(isinstance(value, str) and "\0" in value for value in _values(document)):
        raise errors.BadJson(problem="it contains a NUL character")
    return document


def json_object(request: Request) -> dict[str, Any]:
    """The request's JSON object. Raises BadJson."""
    document = json_body(request)
    if not isinstance(document, dict):
        raise errors.BadJson(problem="it must be an object")
    return document


def without_unused(body: Mapping[str, Any], empty: Collection[str] = ()) -> dict[str, Any]:
    """The members of an object that say something.

    Typed clients serialize members that their user did not set. Members that are null are left
    out, and so are those that are empty (``""``, ``[]``, ``{}``) if ``empty`` names them: for the
    others, empty is a value.
    """
    return {
        name: value
        for name, value in body.items()
        if value is not None and not (name in empty and is_empty(value))
    }


def flag(body: Mapping[str, Any], name: str) -> bool:
    """A boolean member; false if it is missing or empty. Raises BadJson for any other value."""
    value = body.get(name)
    if is_empty(value):
        return False
    if not isinstance(value, bool):
        raise errors.BadJson(problem=f"{name}: it must be true or false")
    return value


def is_empty(value: Any) -> bool:
    """Whether a JSON value is null, or an empty text, array or object."""
    return value is None or value in ("", [], {})


def _values(document: Any) -> list[Any]:
    """The document and all values in it, including the names of members.

    Raises BadJson for too many values or levels.
    """
    values, level = [], [document]
    for _ in range(_MAX_LEVELS):
        values += level
        if len(values) > _MAX_VALUES:
            raise errors.BadJson(problem=f"it contains more than {_MAX_VALUES} values")
        level = [part for value in level for part in _parts(value)]
        if not level:
            return values
    raise errors.BadJson(problem=f"it has more than {_MAX_LEVELS} levels")


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    return value if isinstance(value, list) else ()
