"""The description of both APIs (OpenAPI 3.1), made from the table of routes: ``/openapi.json``."""

import functools
import http
import importlib.metadata
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import webob

from imsgate.api import description, refusals, schemas, views
from imsgate.api.description import TEXT, Content, Description, Schema, described, json_content
from imsgate.api.ims import attributes
from imsgate.api.routes import Route
from imsgate.http import responses
from imsgate.http.request import Request

_INTRODUCTION = """\
The OpenStack Image API v2 with resumable uploads (IETF draft and tus 1.0.0), and the API of Huawei
Cloud's image service (IMS).

HEAD is served wherever GET is. `GET /` lists the versions as `GET /versions` does, with status 300.
A name in a path that contains a slash must be escaped (`%2F`).\
"""

#: The names in paths. Any other value is 404, or 400 with a code of IMS.
_PATH_NAMES: Mapping[str, Schema] = {
    "image_id": {"type": "string", "format": "uuid"},
    "member_id": {"type": "string", "minLength": 1, "maxLength": 255},
    "tag": {"type": "string", "minLength": 1, "maxLength": 255},
}

#: Every call may be refused with these statuses.
_REFUSALS = (400, 503)
_REFUSALS_WITH_IDENTITY = (401, 403)
_REFUSALS_WITH_BODY = (408, 411, 413, 415)
#: IMS has no other statuses.
_IMS_REFUSALS = frozenset({400, 401, 403, 404, 503})

_SECURITY = {
    "token": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Auth-Token",
        "description": "A token of Keystone or of the token file.",
    },
    "signature": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "A signature with an access key (AK/SK, SDK-HMAC-SHA256), where the "
        "service is configured for it.",
    },
}


class ApiDescription:
    """The handler of the description."""

    def __init__(self, routes: Sequence[Route], image: Schema, public_endpoint: str | None) -> None:
        """``image`` is the schema of one image."""
        self.route = Route("/openapi.json", {"GET": self.show})
        self._routes = (*routes, self.route)
        self._image = image
        self._public_endpoint = public_endpoint

    @described(answers={200: json_content({"type": "object"})}, is_public=True)
    def show(self, request: Request) -> webob.Response:
        """API description: The description of this API (OpenAPI 3.1)."""
        base = views.base_url(request, self._public_endpoint)
        return responses.json_response({**self._document, "servers": [{"url": base}]})

    @functools.cached_property
    def _document(self) -> Mapping[str, Any]:
        return document(self._routes, self._image)


def document(routes: Sequence[Route], image: Schema) -> dict[str, Any]:
    """The description of these routes, without its servers. ``image`` is the schema of one image.

    Raises AttributeError for a handler without a description.
    """
    ids = _operation_ids(routes)
    names = {**_PATH_NAMES, "name": {"enum": list(schemas.documents(image))}}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = paths.setdefault(route.template, _path_item(route.template, names))
        for method, handler, described_as in _operations(route):
            operation_id = ids[route.template, method]
            path[method] = _operation(route.template, handler, described_as, operation_id)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "imsgate",
            "version": importlib.metadata.version("imsgate"),
            "description": _INTRODUCTION,
        },
        "paths": paths,
        "components": {
            "schemas": _schemas(image),
            "responses": refusals.RESPONSES,
            "securitySchemes": _SECURITY,
        },
    }


def _operations(route: Route) -> Iterator[tuple[str, Callable[..., Any], Description]]:
    """The methods of a route in lower case, each with its handler and its description."""
    for method, handler in route.handlers.items():
        found = description.of(handler)
        yield method.lower(), handler, found
        if found.head:
            yield "head", handler, found.head


def _operation_ids(routes: Sequence[Route]) -> dict[tuple[str, str], str]:
    """A name for each path and method: that of the handler, and the words of the path if the
    handler has several."""
    names: dict[tuple[str, str], str] = {}
    for route in routes:
        for method, handler, _ in _operations(route):
            name = handler.__qualname__.replace(".", "_")
            names[route.template, method] = f"{name}_head" if method == "head" else name
    taken = list(names.values())
    return {
        (template, method): name if taken.count(name) == 1 else f"{name}_{_words(template)}"
        for (template, method), name in names.items()
    }


def _words(template: str) -> str:
    return "_".join(re.findall(r"\w+", template))


def _path_item(template: str, names: Mapping[str, Schema]) -> dict[str, Any]:
    found = re.findall(r"{(\w+)}", template)
    parameters = [_parameter("path", name, names.get(name, TEXT), required=True) for name in found]
    return {"parameters": parameters} if parameters else {}


def _operation(
    template: str, handler: Callable[..., Any], described_as: Description, operation_id: str
) -> dict[str, Any]:
    of_ims = responses.speaks_ims({"PATH_INFO": template})
    operation = {
        "operationId": operation_id,
        **_words_of(handler.__doc__ or ""),
        "parameters": [
            _parameter(place, name, schema, required=name in described_as.required)
            for place, schemas_by_name in (
                ("query", described_as.query),
                ("header", described_as.headers),
            )
            for name, schema in schemas_by_name.items()
        ],
        "security": [] if described_as.is_public else [{name: []} for name in _SECURITY],
        "responses": {
            **_answers(described_as),
            **_refusals(template, described_as, of_ims=of_ims),
        },
    }
    if described_as.body:
        content = _content(described_as.body)
        # Data may be empty, a document may not.
        is_document = any("json" in media_type for media_type in content)
        operation["requestBody"] = {"content": content, "required": is_document}
    return operation


def _words_of(docstring: str) -> dict[str, Any]:
    """The tag, the summary and the description in a docstring of the form
    ``Part of the API: What it does. More.``"""
    paragraphs = [" ".join(each.split()) for each in docstring.replace("``", "`").split("\n\n")]
    tag, _, text = paragraphs[0].partition(": ")
    summary, _, rest = text.partition(". ")
    more = "\n\n".join(filter(None, [rest, *paragraphs[1:]]))
    words = {"tags": [tag], "summary": summary.rstrip(".")}
    return {**words, "description": more} if more else words


def _parameter(place: str, name: str, schema: Schema, *, required: bool) -> dict[str, Any]:
    plain = {key: value for key, value in schema.items() if key != "description"}
    text = schema.get("description")
    return {
        "name": name,
        "in": place,
        "required": required,
        **({"description": text} if text else {}),
        "schema": plain,
    }


def _content(content: Content) -> dict[str, Any]:
    return {media_type: {"schema": schema} for media_type, schema in content.items()}


def _answers(described_as: Description) -> dict[str, Any]:
    headers = {name: {"schema": schema} for name, schema in described_as.sends.items()}
    return {
        str(status): {
            "description": http.HTTPStatus(status).phrase,
            **({"headers": headers} if headers else {}),
            **({"content": _content(content)} if content else {}),
        }
        for status, content in described_as.answers.items()
    }


def _refusals(template: str, described_as: Description, *, of_ims: bool) -> dict[str, Any]:
    statuses = {*_REFUSALS, *described_as.refusals}
    if not described_as.is_public:
        statuses |= {*_REFUSALS_WITH_IDENTITY}
    if "{" in template:
        statuses |= {404}
    if described_as.body:
        statuses |= {*_REFUSALS_WITH_BODY}
    if of_ims:
        statuses &= _IMS_REFUSALS
        if described_as.has_problems:
            statuses |= {409, 422}  # of an Idempotency-Key
    name = refusals.name(of_ims=of_ims, has_problems=described_as.has_problems)
    reference = {"$ref": f"#/components/responses/{name}"}
    return {str(status): reference for status in sorted(statuses)}


def _schemas(image: Schema) -> dict[str, Schema]:
    """The published schemas, which refer to one another, and those of refusals."""
    items = {"images": "image", "tasks": "task", "members": "member"}
    image = {**image, "properties": {**image["properties"], **attributes.SHOWN}}
    published: dict[str, Schema] = {}
    for name, schema in schemas.documents(image).items():
        properties = dict(schema["properties"])
        if name in items:
            properties[name] = description.listed(description.component(items[name]))
        published[name] = {"type": "object", **schema, "properties": properties}
    return {**published, **refusals.SCHEMAS}
