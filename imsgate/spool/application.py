"""Receives resumable uploads in front of ``imsgate.forward``, which passes on everything else."""

import dataclasses
import hashlib
import logging
import re
from collections.abc import Callable, Iterable
from typing import Any

import webob

from imsgate import errors
from imsgate.api import schemas
from imsgate.api.dialect import Dialect
from imsgate.api.job_starter import JobStarter
from imsgate.api.receiver import Receiver
from imsgate.api.signatures import Signing
from imsgate.api.tus import TusUploads, parse_metadata
from imsgate.api.uploads import UploadResource, is_resumable
from imsgate.app import work_in_background
from imsgate.auth.policy import Policy
from imsgate.config import Config, DefaultSettings
from imsgate.errors import BadConfig
from imsgate.forward.application import Forward
from imsgate.forward.settings import GROUP, ForwardSettings
from imsgate.http import responses
from imsgate.http.request import IDENTITY, SEALED_CREDENTIAL, Request
from imsgate.http.wsgi import Environ
from imsgate.jobs.engine import Engine
from imsgate.jobs.settings import JobSettings
from imsgate.model import Identity
from imsgate.quotas import quota
from imsgate.quotas.quota import Quotas
from imsgate.records.settings import ApiSettings
from imsgate.registry.base import Registry
from imsgate.services import load_registry, make_engine, source_inspector
from imsgate.sources.inspected import SourceInspector
from imsgate.sources.stored import StoredSources
from imsgate.spool.job import KIND, ForwardUpload
from imsgate.spool.seal import CredentialSeal
from imsgate.spool.upstream import (
    UpstreamAccess,
    UpstreamDeployment,
    UpstreamImages,
    UpstreamRecords,
    UpstreamStores,
)
from imsgate.stores import loader
from imsgate.stores.base import Resumable
from imsgate.stores.enabled import Stores
from imsgate.transfer import media
from imsgate.transfer.cleanup import Cleanup
from imsgate.transfer.resumable import ResumableUploads
from imsgate.transfer.settings import UploadSettings

LOG = logging.getLogger(__name__)

#: Calls by method and path.
_IMAGE, _UPLOAD = "/v2/images/(?P<image_id>[^/]+)", "/v2/uploads/(?P<upload_id>[^/]+)/?"
_CREATE = re.compile(f"(PUT|POST) {_IMAGE}/file/?")
_SHOW = re.compile(f"(GET|HEAD) {_IMAGE}/upload/?")
_CALLS: tuple[tuple[re.Pattern[str], str], ...] = (
    (_CREATE, "create"),
    (_SHOW, "show"),
    (re.compile(f"PATCH {_IMAGE}/upload/?"), "append"),
    (re.compile(f"DELETE {_IMAGE}/upload/?"), "cancel"),
    (re.compile(f"OPTIONS {_IMAGE}/(file|upload)/?"), "options"),
)
_TUS_CALLS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile("POST /v2/uploads/?"), "create"),
    (re.compile(f"(GET|HEAD) {_UPLOAD}"), "show"),
    (re.compile(f"PATCH {_UPLOAD}"), "append"),
    (re.compile(f"DELETE {_UPLOAD}"), "cancel"),
    (re.compile(f"POST {_UPLOAD}"), "override"),
    (re.compile("OPTIONS /v2/uploads(/[^/]+)?/?"), "options"),
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Spool:
    """What requests, jobs and sweeps share."""

    registry: Registry
    stores: Stores
    cleanup: Cleanup
    resumable: ResumableUploads
    engine: Engine
    quotas: Quotas
    inspector: SourceInspector
    policy: Policy
    api: ApiSettings
    dialect: Dialect
    seal: CredentialSeal
    forward: Forward
    public_endpoint: str | None

    def handlers(self, request: Request) -> tuple[UploadResource, TusUploads]:
        """Those of both protocols, in the name of the user who sent the request."""
        images = UpstreamImages(self.forward, self.forward.sender(request))
        access = UpstreamAccess(registry=self.registry, policy=self.policy, images=images)
        records = UpstreamRecords(
            registry=self.registry,
            access=access,
            cleanup=self.cleanup,
            resumable=self.resumable,
            quotas=self.quotas,
            settings=self.api,
            images=images,
        )
        signing = Signing(signatures=self.inspector.signatures, source=None)
        receiver = Receiver(
            access=access,
            uploads=self.resumable,
            inspector=self.inspector,
            deployment=UpstreamDeployment(
                stores=UpstreamStores(),
                import_methods=(),
                detects_formats=True,
                allowed_buckets=None,
                public_endpoint=self.public_endpoint,
                images=images,
            ),
            jobs=JobStarter(
                engine=self.engine, records=records, quotas=self.quotas, signing=signing
            ),
            finishing=KIND,
        )
        resource = UploadResource(receiver=receiver)
        return resource, TusUploads(receiver=receiver, records=records, dialect=self.dialect)


class Spooling:
    """The WSGI application."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        try:
            response = self._answer(request)
            if response is None:
                return self.spool.forward(environ, start_response)
            answer = responses.identified(response, environ)
        except errors.OverLimit as error:
            answer = responses.refusal(errors.SpoolFull())
            LOG.warning("An upload does not fit into the spool: %s", error)
        except errors.Error as error:
            if error.needs_operator or isinstance(error, errors.UpstreamFailed):
                LOG.error("%s", error)
            answer = responses.refusal(error)
        return answer(environ, start_response)

    def _answer(self, request: Request) -> webob.Response | None:
        """None for a request that is passed on. Raises what handlers raise."""
        call = f"{request.method} {request.route}"
        for number, calls in enumerate((_CALLS, _TUS_CALLS)):
            for pattern, name in calls:
                if (match := pattern.fullmatch(call)) and self._is_for_spool(
                    request, pattern, match
                ):
                    if request.method != "OPTIONS":
                        self._identify(request)
                    return self._call(request, number, name, match)
        return None

    def _is_for_spool(
        self, request: Request, pattern: re.Pattern[str], match: re.Match[str]
    ) -> bool:
        """Whether it is about an upload here: upstream may know some of its own."""
        if pattern is _CREATE:
            return is_resumable(request)
        if pattern is _SHOW:
            return self.spool.registry.upload_of(match["image_id"].lower()) is not None
        return True

    def _identify(self, request: Request) -> None:
        """Let the request have a user, who alone may continue the upload, and the credential of its
        job. Without authentication here, it is who has the same credentials. Raises
        Unauthenticated."""
        environ = request.environ
        if request.identity is None:
            credentials = [
                environ.get(f"HTTP_{name}") for name in ("X_AUTH_TOKEN", "AUTHORIZATION")
            ]
            if not any(credentials):
                raise errors.Unauthenticated
            digest = hashlib.sha256(repr(credentials).encode()).hexdigest()
            environ[IDENTITY] = Identity(user_id=digest)
        environ[SEALED_CREDENTIAL] = lambda: self.spool.seal.close(
            self.spool.forward.sender(request)
        )

    def _call(
        self, request: Request, number: int, name: str, match: re.Match[str]
    ) -> webob.Response:
        resource, tus = self.spool.handlers(request)
        names = {key: text for key, text in match.groupdict().items() if text is not None}
        if number:
            if name == "create" and "stage" in parse_metadata(
                request.headers.get("Upload-Metadata")
            ):
                problem = "data is not staged in parts here"
                raise errors.BadHeader(header="Upload-Metadata", problem=problem)
            return getattr(tus, name)(request, **names)
        more = {"staged": False} if name == "create" else {}
        return getattr(resource, name)(request, **names, **more)


def make_application(conf: Config, settings: ForwardSettings, forward: Forward) -> Spooling:
    """The application, which works in the background as well. Raises BadConfig."""
    spool = load_spool(conf, settings, forward)
    work_in_background(spool, conf.read(JobSettings).threads)
    return Spooling(spool)


def load_spool(conf: Config, settings: ForwardSettings, forward: Forward) -> Spool:
    """The spool that ``[forward]`` describes. Raises BadConfig, naming the option."""
    registry, stores = load_registry(conf), loader.load(conf)
    media.check(registry, stores)
    _check_store(stores, str(settings.spool_store))
    upload = dataclasses.replace(conf.read(UploadSettings), spool_store=settings.spool_store)
    inspector = source_inspector(conf)
    quotas = _quotas(settings.spool_limit)
    resumable = ResumableUploads(
        registry=registry,
        stores=stores,
        settings=upload,
        limit=min(inspector.limit, settings.spool_limit << 20),
        quotas=quotas,
    )
    seal = CredentialSeal(settings.spool_seal_file)
    work = ForwardUpload(
        uploads=resumable,
        sources=StoredSources(stores=stores, inspector=inspector),
        forward=forward,
        seal=seal,
    )
    formats = conf.read(schemas.FormatSettings)
    schema = schemas.image(formats.disk_formats, formats.container_formats)
    return Spool(
        registry=registry,
        stores=stores,
        cleanup=Cleanup(registry=registry, stores=stores, lease=upload.lease),
        resumable=resumable,
        engine=make_engine(registry, {KIND: work}, conf.read(JobSettings)),
        quotas=quotas,
        inspector=inspector,
        policy=Policy(conf.native),
        api=conf.read(ApiSettings),
        dialect=Dialect(schemas.Checker(schema)),
        seal=seal,
        forward=forward,
        public_endpoint=conf.read(DefaultSettings).public_endpoint,
    )


def _quotas(mib: int) -> Quotas:
    """All records here have the same owner, whose quota is what the spool may occupy."""
    unlimited = dict.fromkeys((str(option.dest) for option in quota.OPTS), -1)
    return Quotas(lambda _: {**unlimited, "image_size_total": mib})


def _check_store(stores: Stores, name: str) -> None:
    """Raises BadConfig. Of a store that is unavailable now, only the existence is checked."""
    key, backends = f"[{GROUP}] spool_store", {each.id: each for each in stores}
    if name not in backends:
        raise BadConfig(key, f"there is no store {name!r}")
    store = backends[name].started
    if store is not None and store.read_only:
        raise BadConfig(key, f"the store {name!r} is read-only")
    if not isinstance(store, Resumable | None):
        raise BadConfig(key, f"the store {name!r} cannot keep a part of an upload")
