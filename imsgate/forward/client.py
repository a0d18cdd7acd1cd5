"""Requests of this service itself to upstream, beside those that it passes on."""

import contextlib
import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from imsgate.errors import UpstreamFailed
from imsgate.forward import fields, upstream
from imsgate.forward.asking import whole
from imsgate.forward.connection import UpstreamConnection
from imsgate.forward.credentials import Authenticator
from imsgate.forward.exchange import Exchanges, UpstreamRequest
from imsgate.forward.pool import Pool
from imsgate.forward.settings import ForwardSettings


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """A whole response. The names of ``headers`` are in lower case; ``body`` is at most 1 MiB."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def document(self) -> dict[str, Any]:
        """The JSON object in the body. Raises UpstreamFailed if it is none."""
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise UpstreamFailed(problem="sent an invalid response") from error
        if not isinstance(document, dict):
            raise UpstreamFailed(problem="sent an invalid response")
        return document


class UpstreamClient:
    """Sends JSON documents to upstream, and receives its responses whole."""

    def __init__(self, settings: ForwardSettings, credentials: Authenticator) -> None:
        """Raises BadConfig, naming the option."""
        self._settings = settings
        self._upstream = upstream.load(settings)
        self.pool = Pool(
            lambda: UpstreamConnection(self._upstream.connect(settings.connect_timeout)), settings
        )
        self._exchanges = Exchanges(self.pool, settings, credentials)

    def call(
        self, method: str, path: str, *, project: str | None, body: Mapping[str, Any] | None = None
    ) -> Reply:
        """One request in the name of a project. ``path`` is encoded.

        Raises UpstreamFailed, which leaves open whether upstream has processed a request that
        changes something; BusyUpstream, and what the credentials raise.
        """
        named = [("Accept", "application/json"), ("Accept-Encoding", "identity")]
        if body is not None:
            named.append(("Content-Type", "application/json"))
        request = UpstreamRequest(
            method=method,
            target=self._upstream.path + path,
            authority=self._upstream.authority,
            fields=[*named, ("Via", fields.VIA)],
            document=b"" if body is None else json.dumps(body).encode(),
            project=project,
        )
        self.pool.enter()
        try:
            return self._reply(request)
        finally:
            self.pool.leave()

    def _reply(self, request: UpstreamRequest) -> Reply:
        connection, response = self._exchanges.send(request)
        with contextlib.ExitStack() as on_error:
            on_error.callback(connection.abort)
            content = whole(iter(lambda: connection.data(self._settings.idle_timeout), b""))
            on_error.pop_all()
        self.pool.give_back(connection)
        headers = {
            name.decode("latin-1").lower(): text.decode("latin-1")
            for name, text in response.headers.raw_items()
        }
        return Reply(response.status_code, headers, content)
