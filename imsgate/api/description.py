"""What the API description says of a handler besides its path, its method and its docstring.

``described`` attaches it to the handler, where ``imsgate.api.openapi`` finds it.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

#: A JSON schema (draft 2020-12).
Schema = Mapping[str, Any]
#: The schema of a body by its media type. An empty one means that there is no body.
Content = Mapping[str, Schema]

JSON = "application/json"
OCTETS = "application/octet-stream"

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "integer", "minimum": 0}

#: The store for the data, in requests that bring data.
STORE_HEADER: Mapping[str, Schema] = {
    "X-Image-Meta-Store": {
        **TEXT,
        "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$",
        "description": "Id of the store for the data",
    }
}

#: A body of bytes.
BINARY: Content = {OCTETS: {}}
NO_CONTENT: Content = {}


def json_content(schema: Schema) -> Content:
    """A JSON document with this schema."""
    return {JSON: schema}


def component(name: str) -> Schema:
    """A reference to one of the schemas that all of the description shares."""
    return {"$ref": f"#/components/schemas/{name}"}


def record(properties: Mapping[str, Schema], *optional: str) -> Schema:
    """The schema of an object with these members, all of which it has except the optional ones."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": dict(properties), "required": required}


def listed(item: Schema) -> Schema:
    """The schema of an array of items."""
    return {"type": "array", "items": item}


def nullable(schema: Schema) -> Schema:
    """The schema with null as one more value."""
    return {**schema, "type": [schema["type"], "null"]}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """The requests that a handler takes and the responses that it gives.

    ``answers`` are the contents of successful responses by status. ``query`` and ``headers``
    are the schemas of parameters by name; those in ``required`` cannot be left out. ``refusals``
    are the statuses of refusals besides those that every call may have. ``sends`` are the
    schemas of headers of successful responses.

    ``has_problems`` is true if some refusals are problem documents (RFC 9457), and
    ``is_public`` if the call needs no authentication. ``head`` describes HEAD if it is not just
    GET without a body.
    """

    answers: Mapping[int, Content]
    body: Content = dataclasses.field(default_factory=dict)
    query: Mapping[str, Schema] = dataclasses.field(default_factory=dict)
    headers: Mapping[str, Schema] = dataclasses.field(default_factory=dict)
    required: tuple[str, ...] = ()
    refusals: tuple[int, ...] = ()
    sends: Mapping[str, Schema] = dataclasses.field(default_factory=dict)
    has_problems: bool = False
    is_public: bool = False
    head: "Description | None" = None


HandlerT = TypeVar("HandlerT", bound=Callable[..., Any])


def described(**members: Any) -> Callable[[HandlerT], HandlerT]:
    """A decorator for a handler; ``members`` are those of its ``Description``."""
    return attach(Description(**members))


def attach(description: Description) -> Callable[[HandlerT], HandlerT]:
    """A decorator that gives a handler this description."""

    def decorate(handler: HandlerT) -> HandlerT:
        handler.description = description  # type: ignore[attr-defined]
        return handler

    return decorate


def of(handler: Callable[..., Any]) -> Description:
    """The description of a handler. Raises AttributeError if it has none."""
    found: Description = handler.description  # type: ignore[attr-defined]
    return found
