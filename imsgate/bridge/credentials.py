"""The access keys of the cloud: one for all projects, or one for each."""

import os
import time
from collections.abc import Callable
from typing import Any

from imsgate import errors
from imsgate.auth import jsonl
from imsgate.bridge.settings import GROUP, BridgeSettings
from imsgate.errors import BadConfig
from imsgate.forward.credentials import (
    Authenticator,
    Signable,
    SigningKey,
    UpstreamCredentials,
    signed,
)
from imsgate.forward.fields import Fields
from imsgate.forward.settings import GROUP as FORWARD
from imsgate.forward.settings import ForwardSettings

_OPTION = f"[{GROUP}] projects_file"
_FIELDS = {"project", "access_key", "secret_key"}


class ProjectCredentials:
    """An access key for each project, from ``[bridge] projects_file``."""

    replace = True

    def __init__(self, path: str, clock: Callable[[], float] = time.time) -> None:
        """Raises BadConfig."""
        self._clock = clock
        self._keys = jsonl.WatchedFile([path], lambda: _load(path))

    def replacing(self, request: Signable) -> Fields:
        """See Authenticator. Raises Forbidden for a project without a key."""
        keys = self._keys.current(_no_keys)
        key = None if request.project is None else keys.get(request.project)
        if key is None:
            raise errors.Forbidden(
                action=f"use the image service behind this gateway: it has no access key for "
                f"project {request.project}"
            )
        return signed(request, key, self._clock())


def _no_keys(problem: BadConfig) -> dict[str, SigningKey]:
    raise errors.Unavailable(what="The access key for the image service") from problem


def _load(path: str) -> dict[str, SigningKey]:
    """All keys by their projects. Raises BadConfig."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise BadConfig(_OPTION, f"{path} cannot be read: {error}") from error
    if mode & 0o077:
        raise BadConfig(_OPTION, f"{path} must be accessible to its owner only (chmod 600)")
    keys: dict[str, SigningKey] = {}

    def parse(entry: Any) -> None:
        if unknown := set(entry) - _FIELDS:
            raise ValueError(f"{min(unknown)!r} is not a field")
        project = entry["project"]
        jsonl.check_printable(project, entry["access_key"], entry["secret_key"])
        if project in keys:
            raise ValueError(f"project {project} is in an earlier line already")
        keys[project] = SigningKey(
            access=entry["access_key"], secret=entry["secret_key"], project=project
        )

    jsonl.read(path, _OPTION, parse)
    return keys


def load(forward: ForwardSettings, bridge: BridgeSettings) -> Authenticator:
    """The configured credentials. Raises BadConfig, naming the option."""
    shared = UpstreamCredentials(forward, project=bridge.project_id)
    if not bridge.projects_file:
        if not shared.replace:
            raise BadConfig(
                f"[{FORWARD}] access_key",
                f"the bridge needs an access key of the cloud here, or {_OPTION}",
            )
        return shared
    if shared.replace:
        raise BadConfig(_OPTION, f"it cannot be combined with credentials in [{FORWARD}]")
    if bridge.project_id:
        raise BadConfig(f"[{GROUP}] project_id", "it cannot be combined with projects_file")
    return ProjectCredentials(bridge.projects_file)
