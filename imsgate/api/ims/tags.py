"""Tags with keys and values, stored as Glance's tags in the form ``key=value``."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import webob

from imsgate import errors
from imsgate.api.description import (
    NO_CONTENT,
    NUMBER,
    TEXT,
    described,
    json_content,
    listed,
    record,
)
from imsgate.api.dialect import Dialect
from imsgate.api.ims import ids, instances, projects
from imsgate.api.ims.query import PARAMETERS
from imsgate.api.ims.tag_names import split
from imsgate.api.requester import identity
from imsgate.errors import BadAttribute
from imsgate.http import responses
from imsgate.http.json_body import json_object, without_unused
from imsgate.http.request import Request
from imsgate.model import Image
from imsgate.profiles import STATUSES
from imsgate.records.attributes import check_tag
from imsgate.records.records import Records

#: Images read at a time when the tags of many are needed.
_BATCH_IMAGES = 1000

_MAX_TAGS = 10
_MAX_KEY_CHARACTERS, _MAX_VALUE_CHARACTERS = 36, 43

Tags = dict[str, str]

_TAG = record(
    {
        "key": {
            "type": "string",
            "minLength": 1,
            "maxLength": _MAX_KEY_CHARACTERS,
            "pattern": "^[^=]*$",
        },
        "value": {"type": "string", "maxLength": _MAX_VALUE_CHARACTERS},
    },
    "value",
)
#: The members of a request for a new image that contain its tags.
OF_NEW_IMAGE = {"tags": listed(TEXT), "image_tags": listed(_TAG)}
_OF_ONE_IMAGE = {
    **record({"image_id": TEXT, "tag": TEXT, "image_tag": _TAG}, "tag", "image_tag"),
    "anyOf": [{"required": ["tag"]}, {"required": ["image_tag"]}],
}
_SHOWN = record({"key": TEXT, "value": TEXT})
_RESOURCE = record(
    {
        "resource_id": TEXT,
        "resource_name": TEXT,
        "resource_detail": record({"status": TEXT}),
        "tags": listed(_SHOWN),
    }
)
_FOUND = record({"total_count": NUMBER, "resources": listed(_RESOURCE)}, "resources")
_POSITIVE = {"type": "integer", "minimum": 1}


def _merged(tags: Tags, stored: Iterable[str] = ()) -> frozenset[str]:
    """The stored tags of an image with ``tags``, which replace those of the same keys.

    Raises BadAttribute if there are too many, and more than before.
    """
    stored = frozenset(stored)
    merged = _select(stored, lambda key, _: key not in tags)
    merged |= {_tag(key, value) for key, value in tags.items()}
    if len(merged) > max(_MAX_TAGS, len(stored)):
        raise BadAttribute("IMG.0116", problem=f"an image can have at most {_MAX_TAGS} tags")
    return merged


def _tag(key: str, value: str) -> str:
    """The tag that ``split`` splits into this key and value."""
    return f"{key}={value}" if value or "." in key else key


def _select(tags: Iterable[str], condition: Callable[[str, str], bool]) -> frozenset[str]:
    """The tags whose key and value meet a condition, unchanged: other services wrote some."""
    return frozenset(tag for tag in tags if condition(*split(tag)))


def of(body: Mapping[str, Any]) -> list[str]:
    """The tags of a new image: ``image_tags``, or ``tags`` in the older form."""
    tags: Tags = {}
    for tag in filter(None, _list(body, "tags")):
        if not isinstance(tag, str):
            raise _bad("tags: each must be a string")
        tags |= [_checked(*split(tag))]
    for tag in filter(None, _list(body, "image_tags")):
        tags |= [_pair(tag)]
    return sorted(_merged(tags))


def _list(body: Mapping[str, Any], member: str) -> list[Any]:
    value = body.get(member)
    if value is None or value == "":
        return []
    if not isinstance(value, list):
        raise _bad(f"{member}: it must be a list")
    return value


def _bad(problem: str) -> BadAttribute:
    return BadAttribute("IMG.0115", problem=problem)


def _pair(tag: Any) -> tuple[str, str]:
    if not isinstance(tag, dict) or not isinstance(tag.get("key"), str):
        raise _bad("a tag must be an object with a key and a value")
    value = tag.get("value")
    if not isinstance(value, str | None):
        raise _bad("the value of a tag must be a string")
    return _checked(tag["key"], value or "")


def _checked(key: str, value: str) -> tuple[str, str]:
    if (
        not key
        or "=" in key
        or not _is_addressable(key)
        or len(key) > _MAX_KEY_CHARACTERS
        or len(value) > _MAX_VALUE_CHARACTERS
    ):
        keys, values = f"1 to {_MAX_KEY_CHARACTERS}", f"up to {_MAX_VALUE_CHARACTERS}"
        raise _bad(
            f"a tag has a key of {keys} characters, without = or control characters and without / "
            f"at its ends, and a value of {values}"
        )
    return key, value


def _is_addressable(key: str) -> bool:
    """Whether the call that deletes a key can have it in its path."""
    try:
        check_tag(key)
    except errors.BadJson:
        return False
    return True


def _view(tags: Iterable[str]) -> list[Tags]:
    return [dict(zip(("key", "value"), split(tag), strict=True)) for tag in sorted(tags)]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ImageTags:
    """The handlers of tags."""

    records: Records
    dialect: Dialect

    @described(
        answers={204: NO_CONTENT},
        body=json_content(_OF_ONE_IMAGE),
    )
    def set(self, request: Request) -> webob.Response:
        """IMS API, Image Tagging: Adding or Modifying a Tag."""
        body = without_unused(json_object(request), ("tag", "image_tag"))
        image_id = body.get("image_id")
        if not isinstance(image_id, str):
            raise errors.BadJson(problem="image_id: it is required, as a string")
        if isinstance(body.get("tag"), str):
            pair = _checked(*split(body["tag"]))
        else:
            pair = _pair(body.get("image_tag"))
        return self._change(request, image_id, functools.partial(_merged, dict([pair])))

    @described(answers={200: json_content(record({"tags": listed(_SHOWN)}))})
    def index(self, request: Request, project_id: str, image_id: str) -> webob.Response:
        """IMS API, Image Tagging: Querying Tags of an Image."""
        projects.check(request, project_id)
        image = self.records.get(identity(request), ids.checked(image_id))
        return responses.json_response({"tags": _view(image.tags)})

    @described(answers={204: NO_CONTENT}, body=json_content(record({"tag": _TAG})))
    def add(self, request: Request, project_id: str, image_id: str) -> webob.Response:
        """IMS API, Image Tagging: Adding an Image Tag."""
        projects.check(request, project_id)
        pair = _pair(json_object(request).get("tag"))
        return self._change(request, image_id, functools.partial(_merged, dict([pair])))

    @described(answers={204: NO_CONTENT})
    def remove(self, request: Request, project_id: str, image_id: str, key: str) -> webob.Response:
        """IMS API, Image Tagging: Deleting an Image Tag."""
        projects.check(request, project_id)
        return self._change(request, image_id, functools.partial(_without_key, key))

    @described(
        answers={204: NO_CONTENT},
        body=json_content(
            record({"action": {"enum": ["create", "delete"]}, "tags": listed(_TAG)}, "tags")
        ),
    )
    def act(self, request: Request, project_id: str, image_id: str) -> webob.Response:
        """IMS API, Image Tagging: Adding or Deleting Image Tags in Batches."""
        projects.check(request, project_id)
        body = json_object(request)
        pairs = dict(_pair(tag) for tag in _list(body, "tags"))
        if body.get("action") == "create":
            return self._change(request, image_id, functools.partial(_merged, pairs))
        if body.get("action") == "delete":
            return self._change(request, image_id, functools.partial(_without, pairs))
        raise errors.BadJson(problem="action: it must be create or delete")

    @described(
        answers={
            200: json_content(
                record({"tags": listed(record({"key": TEXT, "values": listed(TEXT)}))})
            )
        }
    )
    def of_project(self, request: Request, project_id: str) -> webob.Response:
        """IMS API, Image Tagging: Querying All Image Tags. Shows all values of each key."""
        projects.check(request, project_id)
        values: dict[str, set[str]] = {}
        for image in self.records.own(identity(request)):
            for key, value in map(split, image.tags):
                values.setdefault(key, set()).add(value)
        tags = [{"key": key, "values": sorted(values[key])} for key in sorted(values)]
        return responses.json_response({"tags": tags})

    @described(
        answers={200: json_content(record({"tags": listed(TEXT)}))},
        query={**PARAMETERS, "limit": _POSITIVE, "page": _POSITIVE},
    )
    def of_images(self, request: Request) -> webob.Response:
        """IMS API, Image Tagging: Querying Tags of the images that a query selects, each once.

        ``limit`` and ``page`` select a page of the tags.
        """
        who = identity(request)
        given = request.GET
        limit, page = (_positive(name, given.get(name)) for name in ("limit", "page"))
        params = [(name, text) for name, text in given.items() if name not in ("limit", "page")]
        query = functools.partial(self.dialect.query, params, who.project_id, default=_BATCH_IMAGES)
        found: set[str] = set()
        marker: str | None = None
        while True:
            images = self.records.page(who, query, marker)
            found |= {tag for image in images.images for tag in image.tags}
            marker = images.next_marker
            if marker is None:
                break
        shown = sorted(found)
        if limit is not None:
            shown = shown[((page or 1) - 1) * limit :][:limit]
        return responses.json_response({"tags": shown})

    @described(answers={200: json_content(_FOUND)}, body=json_content(instances.SCHEMA))
    def find(self, request: Request, project_id: str) -> webob.Response:
        """IMS API, Image Tagging: Querying Images by Tag."""
        projects.check(request, project_id)
        images = list(self.records.own(identity(request)))
        wanted = instances.parse(json_object(request))
        found = [image for image in images if wanted.selects(image)]
        document: dict[str, Any] = {"total_count": len(found)}
        if wanted.action == "filter":
            page = found[wanted.offset :][: wanted.limit]
            document["resources"] = [_resource(image) for image in page]
        return responses.json_response(document)

    def _change(
        self,
        request: Request,
        image_id: str,
        tags_of: Callable[[frozenset[str]], frozenset[str]],
    ) -> webob.Response:
        self.records.change_tags(identity(request), ids.checked(image_id), tags_of)
        return webob.Response(status=204)


def _positive(name: str, text: str | None) -> int | None:
    """Raises BadQuery unless ``text`` is missing or a number of at least 1."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and int(text[:9]) > 0):
        raise errors.BadQuery(parameter=name, problem="it must be a positive number")
    return int(text[:9])


def _resource(image: Image) -> dict[str, Any]:
    return {
        "resource_id": image.shown_id,
        "resource_name": image.name or "",
        "resource_detail": {"status": STATUSES.get(image.status, image.status)},
        "tags": _view(image.tags),
    }


def _without_key(key: str, tags: frozenset[str]) -> frozenset[str]:
    """The tags except those with this key. Raises NotFound if there are none."""
    remaining = _select(tags, lambda name, _: name != key)
    if remaining == tags:
        raise errors.NotFound(what=f"Tag {key}")
    return remaining


def _without(pairs: Tags, tags: Iterable[str]) -> frozenset[str]:
    """The tags except these; a pair without a value stands for any value of its key."""
    return _select(tags, lambda key, value: pairs.get(key) not in ("", value))
