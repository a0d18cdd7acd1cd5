"""Tags as keys with values: kept as Glance's tags, in the form ``key=value``."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import webob

from imsgate import errors
from imsgate.api.access import identity
from imsgate.api.images import Images, check_quota
from imsgate.api.ims import projects
from imsgate.errors import BadAttribute
from imsgate.http import responses
from imsgate.http.json_body import json_object
from imsgate.http.request import Request
from imsgate.model import Image
from imsgate.registry.base import Condition, Op, Query

#: At most so many of an image, and so many characters.
_MOST, _LONGEST_KEY, _LONGEST_VALUE = 10, 36, 43

#: Images read at a time when all of a project are asked for.
_PAGE = 1000

Tags = dict[str, str]


def split(tag: str) -> tuple[str, str]:
    """Key and value; of older tags too, which have a dot between them, or no value."""
    for mark in ("=", "."):
        key, found, value = tag.partition(mark)
        if found:
            return key, value
    return tag, ""


def _joined(tags: Tags, besides: Iterable[str] = ()) -> frozenset[str]:
    """As a record keeps them, in place of those of the same keys.

    Raises BadAttribute when there are too many, and more than before.
    """
    before = frozenset(besides)
    found = _kept(before, lambda key, _: key not in tags)
    found |= {_tag(key, value) for key, value in tags.items()}
    if len(found) > max(_MOST, len(before)):
        raise BadAttribute("IMG.0116", problem=f"an image has at most {_MOST} tags")
    return found


def _tag(key: str, value: str) -> str:
    """A tag of which ``split`` makes these two again."""
    return f"{key}={value}" if value or "." in key else key


def _kept(tags: Iterable[str], keep: Callable[[str, str], bool]) -> frozenset[str]:
    """Those whose key and value are to be kept, as they are: other services wrote some."""
    return frozenset(tag for tag in tags if keep(*split(tag)))


def of(body: Mapping[str, Any]) -> list[str]:
    """The tags of an image to be created: ``image_tags``, or ``tags`` in the older form."""
    found: Tags = {}
    for tag in _list(body, "tags"):
        if not isinstance(tag, str):
            raise _bad("tags: each is text")
        found |= [_checked(*split(tag))]
    for tag in _list(body, "image_tags"):
        found |= [_pair(tag)]
    return sorted(_joined(found))


def _list(body: Mapping[str, Any], member: str) -> list[Any]:
    value = body.get(member)
    if value is None:
        return []
    if not isinstance(value, list):
        raise _bad(f"{member}: it is a list")
    return value


def _bad(problem: str) -> BadAttribute:
    return BadAttribute("IMG.0115", problem=problem)


def _pair(tag: Any) -> tuple[str, str]:
    if not isinstance(tag, dict) or not isinstance(tag.get("key"), str):
        raise _bad("a tag is an object with a key and a value")
    value = tag.get("value")
    if not isinstance(value, str | None):
        raise _bad("the value of a tag is text")
    return _checked(tag["key"], value or "")


def _checked(key: str, value: str) -> tuple[str, str]:
    if not key or "=" in key or len(key) > _LONGEST_KEY or len(value) > _LONGEST_VALUE:
        problem = f"a tag has a key of 1 to {_LONGEST_KEY} and a value of {_LONGEST_VALUE} letters"
        raise _bad(f"{problem} at most, and no = in the key")
    return key, value


def _view(tags: Iterable[str]) -> list[Tags]:
    return [dict(zip(("key", "value"), split(tag), strict=True)) for tag in sorted(tags)]


@dataclasses.dataclass(frozen=True, slots=True)
class ImageTags:
    """The handlers. ``images`` are those of Glance's calls, which do the work."""

    images: Images

    def set(self, request: Request) -> webob.Response:
        """``PUT /v1/cloudimages/tags``: add one tag, or give its key another value."""
        body = json_object(request)
        image_id = body.get("image_id")
        if not isinstance(image_id, str):
            raise errors.BadJson(problem="image_id: it must be given, as text")
        if isinstance(body.get("tag"), str):
            pair = _checked(*split(body["tag"]))
        else:
            pair = _pair(body.get("image_tag"))
        return self._change(request, image_id, lambda tags: _joined(dict([pair]), tags))

    def index(self, request: Request, project_id: str, image_id: str) -> webob.Response:
        self._own(request, project_id)
        image = self.images.access.image(request, image_id)
        return responses.json_response({"tags": _view(image.tags)})

    def add(self, request: Request, project_id: str, image_id: str) -> webob.Response:
        self._own(request, project_id)
        pair = _pair(json_object(request).get("tag"))
        return self._change(request, image_id, lambda tags: _joined(dict([pair]), tags))

    def remove(self, request: Request, project_id: str, image_id: str, key: str) -> webob.Response:
        self._own(request, project_id)

        def without(tags: frozenset[str]) -> frozenset[str]:
            left = _kept(tags, lambda name, _: name != key)
            if left == tags:
                raise errors.NotFound(what=f"Tag {key}")
            return left

        return self._change(request, image_id, without)

    def act(self, request: Request, project_id: str, image_id: str) -> webob.Response:
        """``POST …/tags/action``: ``create`` or ``delete`` several."""
        self._own(request, project_id)
        body = json_object(request)
        pairs = dict(_pair(tag) for tag in _list(body, "tags"))
        if body.get("action") == "create":
            return self._change(request, image_id, lambda tags: _joined(pairs, tags))
        if body.get("action") == "delete":
            return self._change(request, image_id, lambda tags: _without(tags, pairs))
        raise errors.BadJson(problem="action: it is create or delete")

    def of_project(self, request: Request, project_id: str) -> webob.Response:
        """``GET /v2/{project}/images/tags``: all values of each key."""
        self._own(request, project_id)
        found: dict[str, set[str]] = {}
        for image in self._all(request):
            for key, value in map(split, image.tags):
                found.setdefault(key, set()).add(value)
        tags = [{"key": key, "values": sorted(found[key])} for key in sorted(found)]
        return responses.json_response({"tags": tags})

    def _all(self, request: Request) -> Iterable[Image]:
        """Every image of the asking project."""
        who = identity(request)
        mine = {"project_id": who.project_id}
        self.images.access.enforce("get_images", who, mine, "list")
        own = [Condition("owner", Op.EQ, who.project_id)]
        query = Query(viewer=who.project_id, conditions=own, limit=_PAGE)
        while page := self.images.registry.list(query):
            yield from page
            query = dataclasses.replace(query, marker=page[-1])

    @staticmethod
    def _own(request: Request, project_id: str) -> None:
        who = identity(request)
        if projects.named(who, project_id) != who.project_id:
            raise errors.NotFound(what=f"Project {project_id}")

    def _change(
        self,
        request: Request,
        image_id: str,
        change: Callable[[frozenset[str]], frozenset[str]],
    ) -> webob.Response:
        def fields(image: Image) -> dict[str, Any]:
            tags = change(image.tags)
            if len(tags) > len(image.tags):
                quota = self.images.settings.image_tag_quota
                check_quota("tags of an image", len(tags), quota, errors.TagQuotaExceeded)
            return {} if tags == image.tags else {"tags": tags}

        self.images.change(request, image_id, "modify_image", fields)
        return webob.Response(status=204)


def _without(tags: Iterable[str], pairs: Tags) -> frozenset[str]:
    """All but these; a tag given without a value goes whatever value it has."""
    return _kept(tags, lambda key, value: pairs.get(key) not in ("", value))
