"""Every call of both APIs: which path and method belong to which handler."""

import dataclasses
import re
from collections.abc import Iterable, Iterator

import webob

from imsgate import errors
from imsgate.api.data import ImageDownload, ImageUpload
from imsgate.api.idempotency import Handler, Repeatable
from imsgate.api.images import Images
from imsgate.api.imports import Imports
from imsgate.api.ims.about import About
from imsgate.api.ims.copy import ImageCopy
from imsgate.api.ims.export import ImageExport
from imsgate.api.ims.images import CloudImages
from imsgate.api.ims.jobs import Jobs
from imsgate.api.ims.members import CloudMembers
from imsgate.api.ims.register import Register
from imsgate.api.ims.tags import ImageTags
from imsgate.api.info import Info
from imsgate.api.locations import Locations
from imsgate.api.members import Members
from imsgate.api.metrics import MetricsReport
from imsgate.api.tasks import Tasks
from imsgate.api.tus import TusUploads
from imsgate.api.uploads import UploadResource
from imsgate.http import responses
from imsgate.http.request import Request

#: Names in paths that may contain slashes, and whether a slash at the end belongs to the name:
#: ``a/`` is another tag than ``a``, and a server that decodes the path does not show whether the
#: client sent ``a/`` or ``a%2F``.
_WITH_SLASHES = {"tag": True, "key": True, "member_id": False}


@dataclasses.dataclass(frozen=True, slots=True)
class Route:
    """A path template with ``{names}``, and the handler of each method.

    A name of _WITH_SLASHES at the end stands for the rest of the path.

    The path may end with a slash unless ``slash`` is false: after a collection, a slash would
    ask for a member with an empty id.

    A handler of OPTIONS is for any id, whether it exists or not. Filters add what they accept.
    Elsewhere OPTIONS is refused, as in Glance.
    """

    template: str
    handlers: dict[str, Handler]
    slash: bool = True

    def pattern(self) -> str:
        path = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(self.template))
        for name in _WITH_SLASHES:
            path = re.sub(rf"\(\?P<{name}>\[\^/\]\+\)$", rf"(?P<{name}>(?s:.+?))", path)
        return path + "/?" if self.slash else path


def routes(
    *,
    info: Info,
    images: Images,
    upload: ImageUpload,
    resource: UploadResource,
    tus: TusUploads,
    download: ImageDownload,
    members: Members,
    imports: Imports,
    locations: Locations,
    tasks: Tasks,
    metrics: MetricsReport,
    repeatable: Repeatable,
) -> list[Route]:
    """Every call of the Image API. One that is ``repeatable`` may have an Idempotency-Key."""
    image = "/v2/images/{image_id}"
    limits: dict[str, Handler] = {"OPTIONS": resource.options}
    return [
        Route("/versions", {"GET": info.explicit_versions}),
        Route("/v2", {"GET": info.versions}),
        Route("/v2/schemas/{name}", {"GET": info.schema}),
        Route("/v2/info/import", {"GET": info.imports}),
        Route("/v2/info/stores", {"GET": info.list_stores}),
        Route("/v2/info/stores/detail", {"GET": info.stores_detail}),
        Route("/v2/info/usage", {"GET": info.usage}),
        Route("/v2/stores/{store_id}/{image_id}", {"DELETE": images.delete_copy}),
        Route("/v2/images", {"GET": images.index, "POST": repeatable(images.create)}, slash=False),
        Route(image, {"GET": images.show, "PATCH": images.update, "DELETE": images.delete}),
        Route(
            image + "/file",
            {"GET": download.download, "PUT": upload.upload, "POST": resource.post, **limits},
        ),
        Route(image + "/stage", {"PUT": upload.stage, **limits}),
        Route(
            image + "/upload",
            {"GET": resource.show, "PATCH": resource.append, "DELETE": resource.cancel, **limits},
        ),
        Route("/v2/uploads", {"POST": tus.create, "OPTIONS": tus.options}),
        Route(
            "/v2/uploads/{upload_id}",
            {
                "GET": tus.show,  # and HEAD
                "PATCH": tus.append,
                "DELETE": tus.cancel,
                "POST": tus.override,
                "OPTIONS": tus.options,
            },
        ),
        Route(image + "/import", {"POST": repeatable(imports.start)}),
        Route(image + "/locations", {"GET": locations.index, "POST": locations.add}),
        Route(image + "/tasks", {"GET": tasks.of_image}),
        Route("/v2/tasks", {"GET": tasks.index}, slash=False),
        Route("/v2/tasks/{task_id}", {"GET": tasks.show}),
        Route(image + "/actions/deactivate", {"POST": images.deactivate}),
        Route(image + "/actions/reactivate", {"POST": images.reactivate}),
        Route(image + "/tags/{tag}", {"PUT": images.add_tag, "DELETE": images.remove_tag}),
        Route(image + "/members", {"GET": members.index, "POST": members.create}, slash=False),
        Route(
            image + "/members/{member_id}",
            {"GET": members.show, "PUT": members.update, "DELETE": members.delete},
        ),
        Route("/metrics", {"GET": metrics.show}),
    ]


def ims_routes(
    *,
    about: About,
    images: CloudImages,
    jobs: Jobs,
    members: CloudMembers,
    register: Register,
    export: ImageExport,
    copy: ImageCopy,
    tags: ImageTags,
    repeatable: Repeatable,
) -> list[Route]:
    """Every call of IMS, Huawei's image service, that is not also one of the Image API.

    ``repeatable`` is as for ``routes``.
    """
    image, tagged = "/v1/cloudimages/{image_id}", "/v2/{project_id}/images"
    return [
        Route("/v2/cloudimages", {"GET": images.index}),
        *_job_calls(
            create=repeatable(register.create),
            quick_import=repeatable(register.quick_import),
            create_data=repeatable(register.create_data),
            export=repeatable(export.export),
            copy=repeatable(copy.copy),
        ),
        Route("/v2/cloudimages/{image_id}", {"PATCH": images.update}),
        Route("/v1/cloudimages/quota", {"GET": about.quota}),
        Route("/v1/cloudimages/os_version", {"GET": about.os_versions}),
        Route("/v1/cloudimages/tags", {"GET": tags.of_images, "PUT": tags.set}),
        Route(
            "/v1/cloudimages/members",
            {"POST": members.add, "PUT": members.answer, "DELETE": members.remove},
        ),
        Route("/v1/cloudimages/job/{job_id}", {"GET": jobs.show}),
        Route(image + "/upload", {"PUT": repeatable(register.register)}),
        Route("/v1/{project_id}/jobs/{job_id}", {"GET": jobs.show}),
        Route(
            "/v1/{project_id}/cloudimages/{image_id}/members", {"GET": members.index}, slash=False
        ),
        Route("/v1/{project_id}/cloudimages/{image_id}/members/{member_id}", {"GET": members.show}),
        Route(tagged + "/tags", {"GET": tags.of_project}),
        Route(tagged + "/resource_instances/action", {"POST": tags.find}),
        Route(tagged + "/{image_id}/tags", {"GET": tags.index, "POST": tags.add}),
        Route(tagged + "/{image_id}/tags/action", {"POST": tags.act}),
        Route(tagged + "/{image_id}/tags/{key}", {"DELETE": tags.remove}),
    ]


def _job_calls(
    *, create: Handler, quick_import: Handler, create_data: Handler, export: Handler, copy: Handler
) -> Iterator[Route]:
    """The calls of IMS that have a second path in ``/v2.1``, which newer SDKs use as well.

    The SDKs call these methods ``…_in_safe_mode``; bodies and answers are the same.
    """
    for path, handler in {
        "/v2/cloudimages/action": create,
        "/v2/cloudimages/quickimport/action": quick_import,
        "/v1/cloudimages/dataimages/action": create_data,
        "/v1/cloudimages/{image_id}/file": export,
        "/v1/cloudimages/{image_id}/copy": copy,
    }.items():
        yield Route(path, {"POST": handler})
        yield Route(re.sub("/v[12]/", "/v2.1/", path, count=1), {"POST": handler})


#: A path of an API version, or the root: both APIs list their versions there.
_VERSION = re.compile(r"/(v[0-9]+(\.[0-9]+)?/?)?")


class Router:
    """Calls the handler of a request. HEAD is allowed wherever GET is."""

    def __init__(self, table: Iterable[Route], versions: Handler) -> None:
        """``versions`` answers GET for unknown paths outside of the two APIs, as in Glance.

        What has the shape of the vendor's paths, and any such path in a signed request, is 404.
        """
        self._table = [(re.compile(route.pattern()), route) for route in table]
        self._versions = versions

    def __call__(self, request: Request) -> webob.Response:
        """Raises NotFound, MethodNotAllowed, BadRequest, BadQuery, and what handlers raise."""
        _check_text(request)
        path = request.route
        allowed: dict[str, None] = {}
        for pattern, route in self._table:
            if match := pattern.fullmatch(path):
                request.notes.route = route.template
                if handler := _handler(request, route.handlers):
                    arguments = _arguments(request, match)
                    request.notes.image_id = arguments.get("image_id")
                    response = handler(request, **arguments)
                    if request.method == "OPTIONS":
                        response.allow = tuple(route.handlers)
                    return response
                allowed |= dict.fromkeys(route.handlers)
        if allowed:
            methods = ", ".join(allowed)
            raise errors.MethodNotAllowed(allowed=methods, headers={"Allow": methods})
        if request.method in ("GET", "HEAD") and _lists_versions(request):
            return self._versions(request)
        raise errors.NoRoute(what="The resource")


def _lists_versions(request: Request) -> bool:
    """Whether an unknown path is answered with the versions."""
    if _VERSION.fullmatch(request.route):
        return True
    return not (request.route.startswith("/v2/") or responses.speaks_ims(request.environ))


def _check_text(request: Request) -> None:
    """Raises BadRequest and BadQuery for a path or a query that is not text without NUL."""
    try:
        # WebOb decodes both on access.
        _, query = request.path_info, request.GET.items()
    except UnicodeDecodeError as error:
        raise errors.BadRequest(problem="the path or the query is not UTF-8") from error
    if "\0" in request.route:
        raise errors.BadRequest(problem="the path contains a NUL character")
    for name, text in query:
        if "\0" in name + text:
            problem = "it contains a NUL character"
            raise errors.BadQuery(parameter=name.replace("\0", "?"), problem=problem)


def _handler(request: Request, handlers: dict[str, Handler]) -> Handler | None:
    return handlers.get("GET" if request.method == "HEAD" else request.method)


def _arguments(request: Request, match: re.Match[str]) -> dict[str, str]:
    """The names in a path. A name with slashes keeps them as the client sent them, where the path
    itself has one for several."""
    return {
        name: request.as_sent(text) if "/" in text or _WITH_SLASHES.get(name) else text
        for name, text in match.groupdict().items()
    }
