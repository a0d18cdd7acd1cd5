"""IMS as this service uses it: a record, its registration, and the job that this is there."""

import dataclasses
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

from imsgate import errors
from imsgate.bridge import credentials
from imsgate.bridge.settings import BridgeSettings
from imsgate.config import Config
from imsgate.forward.client import Reply, UpstreamClient
from imsgate.forward.credentials import Authenticator
from imsgate.forward.settings import ForwardSettings
from imsgate.model import JobState

#: Ids of images. Nothing else becomes a part of a path.
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
#: The members of an error that the vendor's SDKs read, at the top of the document or one level
#: below.
_PAIRS = (("error_code", "error_msg"), ("errorCode", "errorMsg"), ("code", "message"))

_DEFAULT_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 30, 3600


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RemoteJob:
    """A job of IMS. ``done`` is between 0 and 1. A failed job has a code and a reason."""

    state: str
    done: float = 0.0
    code: str = ""
    reason: str = ""


class Remote:
    """The image service of the cloud.

    All methods raise UpstreamFailed if it fails or cannot be reached, UpstreamDenied if it refuses
    this gateway's credentials, UpstreamBusy, BusyUpstream, and Forbidden for a project without
    credentials.
    """

    def __init__(
        self, settings: ForwardSettings, keys: Authenticator, project_id: str | None = None
    ) -> None:
        """``project_id`` is the cloud's project for all projects here; None if each is itself a
        project of the cloud. Raises BadConfig."""
        self.settings = settings
        self.credentials = keys
        self._project_id = project_id
        self._shared = not isinstance(keys, credentials.ProjectCredentials)
        self.client = UpstreamClient(settings, keys)

    def project(self, project: str | None) -> str | None:
        """The cloud's project for a project here; None if it is unknown."""
        return self._project_id if self._shared else project

    def is_alike(self, project: str | None, other: str | None) -> bool:
        """Whether two projects here see the same images."""
        return self._shared or project == other

    def image(self, project: str | None, image_id: str) -> dict[str, Any]:
        """The record of an image. Raises NoImageUpstream."""
        missing = errors.NoImageUpstream(image_id=image_id)
        if not _UUID.fullmatch(image_id):
            raise missing
        reply = self._call(project, "GET", f"/v2/images/{image_id.lower()}")
        if reply.status == 404 and not _is_of_gateway(reply):
            raise missing
        record = _expected(reply).document()
        if not isinstance(record.get("status"), str):
            raise errors.UpstreamFailed(problem="sent an invalid response")
        return record

    def register(self, project: str | None, image_id: str, image_url: str) -> str:
        """Have an object (``bucket:object``) become the data of an image; return the job's id.

        After any UpstreamFailed, IMS may have begun. Raises RegistrationFailed if it refuses.
        """
        body = {"image_url": image_url}
        reply = self._call(project, "PUT", f"/v1/cloudimages/{image_id}/upload", body)
        if 400 <= reply.status < 500:
            code, message = _reported(reply)
            raise errors.RegistrationFailed(vendor_code=code, problem=message)
        job_id = _expected(reply).document().get("job_id")
        if not isinstance(job_id, str) or not job_id:
            raise errors.UpstreamFailed(problem="sent an invalid response")
        return job_id

    def job(self, project: str | None, job_id: str) -> RemoteJob | None:
        """A job; None if IMS does not know it (any more)."""
        quoted = urllib.parse.quote(job_id, safe="")
        reply = self._call(project, "GET", f"/v1/cloudimages/job/{quoted}")
        named = self.project(project) or project
        if reply.status == 404 and named:
            # OTC has the older path only.
            path = f"/v1/{urllib.parse.quote(named, safe='')}/jobs/{quoted}"
            reply = self._call(project, "GET", path)
        if reply.status in (400, 404):
            return None
        return _job(_expected(reply).document())

    def _call(
        self,
        project: str | None,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
    ) -> Reply:
        reply = self.client.call(method, path, project=project, body=body)
        code, message = _reported(reply) if reply.status >= 400 else ("", "")
        if reply.status == 429:
            raise errors.UpstreamBusy(retry_after=_pause(reply))
        # A role that lacks a permission has an IMG code: that is about the request.
        if reply.status == 401 or (reply.status == 403 and not code.startswith("IMG.")):
            raise errors.UpstreamDenied(problem=f"{code}: {message}")
        if reply.status >= 500:
            raise errors.UpstreamFailed(problem=f"answered {reply.status}")
        return reply


def _expected(reply: Reply) -> Reply:
    if reply.status != 200:
        code, message = _reported(reply)
        raise errors.UpstreamFailed(problem=f"answered {reply.status} ({code}: {message})")
    return reply


def _is_of_gateway(reply: Reply) -> bool:
    """Whether the vendor's API gateway has answered, which knows no images."""
    return _reported(reply)[0].startswith("APIGW.")


def _pause(reply: Reply) -> int:
    text = reply.headers.get("retry-after", "")
    seconds = int(text) if re.fullmatch("[0-9]{1,9}", text) else _DEFAULT_PAUSE_SECONDS
    return min(seconds, _LONGEST_PAUSE_SECONDS)


def _reported(reply: Reply) -> tuple[str, str]:
    """Code and message of an error, as the vendor's SDKs find them."""
    try:
        document = reply.document()
    except errors.UpstreamFailed:
        document = {}
    levels = [document, *(value for value in document.values() if isinstance(value, dict))]
    for level in levels:
        for code, message in _PAIRS:
            if code in level and message in level:
                return str(level[code])[:64], str(level[message])[:500]
    return str(reply.status), "no further details"


def _job(document: Mapping[str, Any]) -> RemoteJob:
    entities = document.get("entities")
    percent = entities.get("process_percent") if isinstance(entities, dict) else None
    failed = document.get("status") == JobState.FAIL
    return RemoteJob(
        state=str(document.get("status")),
        done=min(max(float(percent), 0.0), 1.0) if isinstance(percent, int | float) else 0.0,
        code=str(document.get("error_code") or "IMG.0061")[:64] if failed else "",
        reason=str(document.get("fail_reason") or "no reason given")[:500] if failed else "",
    )


def load(conf: Config) -> Remote:
    """The configured image service. Raises BadConfig, naming the option."""
    forward, bridge = conf.read(ForwardSettings), conf.read(BridgeSettings)
    return Remote(forward, credentials.load(forward, bridge), bridge.project_id)
