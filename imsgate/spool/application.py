"""Receives resumable uploads in front of ``imsgate.forward``, which passes on everything else."""

import hashlib
import logging
import re
from collections.abc import Callable, Iterable
from typing import Any

import webob

from imsgate import errors
from imsgate.api.tus import TusUploads
from imsgate.api.tus_headers import parse_metadata
from imsgate.api.uploads import UploadResource, is_resumable
from imsgate.app import work_in_background
from imsgate.config import Config
from imsgate.forward.application import Forward
from imsgate.forward.settings import ForwardSettings
from imsgate.http import responses
from imsgate.http.request import IDENTITY, SEALED_CREDENTIAL, Request
from imsgate.http.wsgi import Environ
from imsgate.jobs.settings import JobSettings
from imsgate.model import Identity
from imsgate.spool.services import Spool, load_spool

LOG = logging.getLogger(__name__)

#: Returns None for a request that is passed on. The names in the path are its other arguments.
Handler = Callable[..., webob.Response | None]


class Spooling:
    """The WSGI application."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        image, upload = "/v2/images/(?P<image_id>[^/]+)", "/v2/uploads/(?P<upload_id>[^/]+)/?"
        table: dict[str, Handler] = {
            f"(PUT|POST) {image}/file/?": self._upload,
            f"(GET|HEAD) {image}/upload/?": self._show,
            f"PATCH {image}/upload/?": lambda r, **names: self._resource(r).append(r, **names),
            f"DELETE {image}/upload/?": lambda r, **names: self._resource(r).cancel(r, **names),
            f"OPTIONS {image}/(file|upload)/?": lambda r, **_: spool.handlers(r)[0].options(r),
            "POST /v2/uploads/?": self._create,
            f"(GET|HEAD) {upload}": lambda r, **names: self._tus(r).show(r, **names),
            f"PATCH {upload}": lambda r, **names: self._tus(r).append(r, **names),
            f"DELETE {upload}": lambda r, **names: self._tus(r).cancel(r, **names),
            f"POST {upload}": lambda r, **names: self._tus(r).override(r, **names),
            "OPTIONS /v2/uploads(/[^/]+)?/?": lambda r, **_: spool.handlers(r)[1].options(r),
        }
        self._table = [(re.compile(call), handler) for call, handler in table.items()]

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = Request(environ)
        try:
            self.spool.read_only.check(request)
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
        for pattern, handler in self._table:
            if match := pattern.fullmatch(call):
                return handler(request, **match.groupdict())
        return None

    def _upload(self, request: Request, image_id: str) -> webob.Response | None:
        if is_resumable(request):
            return self._resource(request).create(request, image_id, staged=False)
        if request.method != "PUT":
            return None
        return self.spool.repeats.answer(request, self.spool.images(request), image_id)

    def _show(self, request: Request, image_id: str) -> webob.Response | None:
        if self.spool.registry.upload_of(image_id.lower()) is None:
            return None  # upstream may know an upload of its own
        return self._resource(request).show(request, image_id)

    def _create(self, request: Request) -> webob.Response:
        if "stage" in parse_metadata(request.headers.get("Upload-Metadata")):
            problem = "data is not staged in parts here"
            raise errors.BadHeader(header="Upload-Metadata", problem=problem)
        return self._tus(request).create(request)

    def _resource(self, request: Request) -> UploadResource:
        self._identify(request)
        return self.spool.handlers(request)[0]

    def _tus(self, request: Request) -> TusUploads:
        self._identify(request)
        return self.spool.handlers(request)[1]

    def _identify(self, request: Request) -> None:
        """Give the request a user, who alone may continue the upload, and the credential of its
        job. Without authentication here, whoever has the same credentials is the user. Raises
        Unauthenticated."""
        environ = request.environ
        if request.identity is None:
            headers = ("HTTP_X_AUTH_TOKEN", "HTTP_AUTHORIZATION")
            credentials = [environ.get(header) for header in headers]
            if not any(credentials):
                raise errors.Unauthenticated
            digest = hashlib.sha256(repr(credentials).encode()).hexdigest()
            environ[IDENTITY] = Identity(user_id=digest)
        sender = self.spool.forward.sender(request)
        environ[SEALED_CREDENTIAL] = lambda: self.spool.seal.close(sender)


def make_application(conf: Config, settings: ForwardSettings, forward: Forward) -> Spooling:
    """The application, which works in the background as well. Raises BadConfig."""
    spool = load_spool(conf, settings, forward)
    work_in_background(spool, conf.read(JobSettings).threads)
    return Spooling(spool)
