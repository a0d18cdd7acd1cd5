"""JSON documents in request bodies, bounded in values and levels."""

import json
from collections.abc import Iterable
from typing import Any

from imsgate import errors
from imsgate.http.request import Request

#: Values in a JSON document, names of members among them, and levels. A value takes up to a tenth
#: of a millisecond to check, and 1 MiB has room for half a million.
_MOST_VALUES, _MOST_LEVELS = 10_000, 100


def json_body(request: Request) -> Any:
    """The request's JSON document. Raises BadJson."""
    text = request.reader().read()
    if not text:
        raise errors.EmptyBody(problem="it is empty")
    try:
        document = json.loads(text)
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise errors.BadJson(problem="it holds half a surrogate pair") from error
    except (ValueError, RecursionError) as error:
        raise errors.BadJson(problem="it is not a JSON document") from error
    if any(isinstance(value, str) and "\0" in value for value in _values(document)):
        raise errors.BadJson(problem="it holds a NUL character")
    return document


def json_object(request: Request) -> dict[str, Any]:
    """The request's JSON object. Raises BadJson."""
    document = json_body(request)
    if not isinstance(document, dict):
        raise errors.BadJson(problem="it must be an object")
    return document


def _values(document: Any) -> list[Any]:
    """The document and everything in it, names of members too. Raises BadJson for too much."""
    found, level = [], [document]
    for _ in range(_MOST_LEVELS):
        found += level
        if len(found) > _MOST_VALUES:
            raise errors.BadJson(problem=f"it holds more than {_MOST_VALUES} values")
        level = [part for value in level for part in _parts(value)]
        if not level:
            return found
    raise errors.BadJson(problem=f"it has more than {_MOST_LEVELS} levels")


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    return value if isinstance(value, list) else ()
