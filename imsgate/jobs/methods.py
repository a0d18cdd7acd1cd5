"""The import methods: what each requires, and where its data comes from.

A new method is one more row of the table, and a source if none of the existing ones opens it.
"""

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from imsgate.errors import BadRequest, SourceFailed
from imsgate.jobs.arguments import ImportArguments
from imsgate.jobs.context import Context
from imsgate.model import Image, Job, Status
from imsgate.sources.base import Source, lost_data_fails_source
from imsgate.sources.bucket import BucketSources
from imsgate.sources.download_request import DownloadRequest
from imsgate.sources.downloads import WebSources
from imsgate.sources.glance import GlanceSources
from imsgate.sources.staged import StagedSources
from imsgate.sources.stored import StoredSources
from imsgate.transfer.reservation import INITIAL_BYTES

#: The kinds of import jobs. REGISTER imports into an existing image, CREATE into one that was
#: made for it and is deleted if the import fails. COPY is CREATE with another image's data.
IMPORT, REGISTER, CREATE, COPY = "import", "ims-register", "ims-create", "ims-copy"

#: The methods of Glance's API.
GLANCE_DIRECT, WEB_DOWNLOAD, COPY_IMAGE = "glance-direct", "web-download", "copy-image"
GLANCE_DOWNLOAD = "glance-download"


_UUID = re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ImportSources:
    """What opens the data of imports. ``objects`` is None where no buckets are configured, and
    ``remote`` where no Keystone identifies users."""

    staged: StagedSources
    web: WebSources
    remote: GlanceSources | None = None
    objects: BucketSources | None = None


Open = Callable[[ImportSources, Image, Job, Context], contextlib.AbstractContextManager[Source]]


def _open_staged(
    sources: ImportSources, image: Image, job: Job, context: Context
) -> contextlib.AbstractContextManager[Source]:
    certificate = ImportArguments.of(job).certificate
    return sources.staged.open(image, certificate=certificate, check=context.check)


def _open_download(
    sources: ImportSources, image: Image, job: Job, context: Context
) -> contextlib.AbstractContextManager[Source]:
    arguments = ImportArguments.of(job)
    return sources.web.open(
        image,
        request=DownloadRequest.of(arguments.method),
        certificate=arguments.certificate,
        attempt=arguments.postponed,
        wait=context.wait,
        check=context.check,
    )


def _open_remote(
    sources: ImportSources, image: Image, job: Job, context: Context
) -> contextlib.AbstractContextManager[Source]:
    arguments = ImportArguments.of(job)
    method, remote = arguments.method, sources.remote
    assert remote is not None
    if arguments.endpoint is None:
        interface, region = method["glance_service_interface"], method["glance_region"]
        problem = f"{interface} glance endpoint not found for region {region}"
        raise SourceFailed(problem=problem)
    return remote.open(
        image,
        endpoint=arguments.endpoint,
        image_id=method["glance_image_id"],
        token=remote.token(job),
        adopt=lambda record: context.retry_while_unavailable(
            lambda: remote.adopt(job, image, record)
        ),
        certificate=arguments.certificate,
        wait=context.wait,
        check=context.check,
    )


def _open_object(
    sources: ImportSources, image: Image, job: Job, context: Context
) -> contextlib.AbstractContextManager[Source]:
    arguments = ImportArguments.of(job)
    assert sources.objects is not None, "no engine does such jobs without buckets"
    assert arguments.url is not None
    return sources.objects.open(
        image,
        project=job.project,
        url=arguments.url,
        formats=arguments.formats,
        certificate=arguments.certificate,
        check=context.check,
        renew=context.renew,
    )


@contextlib.contextmanager
def _open_copy(
    sources: ImportSources, image: Image, job: Job, context: Context
) -> Iterator[Source]:
    arguments = ImportArguments.of(job)
    assert arguments.origin is not None
    stored = StoredSources(stores=sources.staged.stores, inspector=sources.staged.inspector)
    with (
        lost_data_fails_source(arguments.origin),
        stored.open(image, arguments.origin, certificate=arguments.certificate) as source,
    ):
        yield source


def _check_nothing(sources: ImportSources, method: Mapping[str, Any]) -> None:
    pass


def _check_download(sources: ImportSources, method: Mapping[str, Any]) -> None:
    sources.web.downloads.check(DownloadRequest.of(method))


def _check_remote(sources: ImportSources, method: Mapping[str, str]) -> None:
    for name in ("glance_region", "glance_image_id"):
        if name not in method:
            problem = f"'{name}' needs to be set for glance-download import method"
            raise BadRequest(problem=problem)
    if not _UUID.fullmatch(method["glance_image_id"]):
        problem = f"Remote image id does not look like a UUID: {method['glance_image_id']}"
        raise BadRequest(problem=problem)


def _known_size(image: Image, stores: int) -> int:
    return (image.size or 0) * stores


def _unknown_size(image: Image, stores: int) -> int:
    return INITIAL_BYTES


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ImportMethod:
    """One way to import.

    ``kind`` is that of its jobs. The image must be in the status ``requires``; it is in
    ``during`` while the job runs, and in ``failed`` if the job fails. ``rule`` is the policy rule.

    ``open`` opens the data; None means that the image's own data is copied. ``check(sources,
    method)`` refuses a request (``method`` as in Glance's API) that cannot succeed, before there
    is a job. ``reservation(image, stores)`` returns the bytes to reserve at the start of an import
    into that many stores; more are reserved as more is known. ``converts`` is whether the data is
    converted where the operator wants that.
    """

    name: str
    kind: str
    requires: Status
    during: Status
    failed: Status
    rule: str
    open: Open | None
    check: Callable[[ImportSources, Mapping[str, Any]], None] = _check_nothing
    reservation: Callable[[Image, int], int]
    converts: bool = True

    def started(self, image: Image) -> Image:
        """A new image whose record begins with its import into one store."""
        reserved = self.reservation(image, 1)
        return dataclasses.replace(image, status=self.during, upload_reserved=reserved)


METHODS: Mapping[str, ImportMethod] = {
    method.name: method
    for method in (
        ImportMethod(
            name=GLANCE_DIRECT,
            kind=IMPORT,
            requires=Status.UPLOADING,
            during=Status.IMPORTING,
            failed=Status.QUEUED,
            rule="modify_image",
            open=_open_staged,
            reservation=_known_size,
        ),
        ImportMethod(
            name=WEB_DOWNLOAD,
            kind=IMPORT,
            requires=Status.QUEUED,
            during=Status.IMPORTING,
            failed=Status.QUEUED,
            rule="modify_image",
            open=_open_download,
            check=_check_download,
            reservation=_unknown_size,
        ),
        ImportMethod(
            name=GLANCE_DOWNLOAD,
            kind=IMPORT,
            requires=Status.QUEUED,
            during=Status.IMPORTING,
            failed=Status.QUEUED,
            rule="modify_image",
            open=_open_remote,
            check=_check_remote,
            reservation=_unknown_size,
        ),
        ImportMethod(
            name=COPY_IMAGE,
            kind=IMPORT,
            requires=Status.ACTIVE,
            during=Status.ACTIVE,
            failed=Status.ACTIVE,
            rule="copy_image",
            open=None,
            reservation=_known_size,
            converts=False,
        ),
        ImportMethod(
            name=REGISTER,
            kind=REGISTER,
            requires=Status.QUEUED,
            during=Status.IMPORTING,
            failed=Status.QUEUED,
            rule="register_image",
            open=_open_object,
            reservation=_unknown_size,
        ),
        ImportMethod(
            name=CREATE,
            kind=CREATE,
            requires=Status.QUEUED,
            during=Status.IMPORTING,
            failed=Status.DELETED,
            rule="register_image",
            open=_open_object,
            reservation=_unknown_size,
        ),
        ImportMethod(
            name=COPY,
            kind=COPY,
            requires=Status.QUEUED,
            during=Status.IMPORTING,
            failed=Status.DELETED,
            rule="modify_image",
            open=_open_copy,
            reservation=_unknown_size,
            converts=False,
        ),
    )
}

#: The methods of Glance's API, in the order in which it lists them, and those that it enables.
GLANCE_METHODS = (GLANCE_DIRECT, WEB_DOWNLOAD, COPY_IMAGE, GLANCE_DOWNLOAD)
DEFAULT_METHODS = (GLANCE_DIRECT, WEB_DOWNLOAD, COPY_IMAGE)
