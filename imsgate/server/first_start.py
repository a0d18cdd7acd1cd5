"""What ``imsgate serve`` prepares on its first start, and how it announces itself."""

import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from imsgate import config
from imsgate.auth import token_file
from imsgate.filters.tokens import Tokens, TokensSettings
from imsgate.forward.settings import ForwardSettings
from imsgate.registry.sql import schema
from imsgate.registry.sql.database import DatabaseSettings
from imsgate.server import pastefile, state

#: The factories of the applications that have a database.
_WITH_RECORDS = ("imsgate.app:app_factory", "imsgate.bridge_app:app_factory")
_FORWARD = "imsgate.spool.factory:app_factory"


def prepare(conf: config.Config, parts: Sequence[Any]) -> None:
    """Create the state directory and what the pipeline stores there: an embedded database if it
    ends in ``gate`` or ``bridge``, or in ``forward`` with a spool, and an admin token if ``tokens``
    runs. ``parts`` are those of ``pastefile.loaded_parts``.

    The database of a database server is left alone: ``imsgate db upgrade`` migrates it when its
    operator decides to. Raises BadConfig.
    """
    state.create_directory(conf)
    forwarding = pastefile.app_options(parts, _FORWARD)
    spools = forwarding is not None and conf.read(ForwardSettings, forwarding).spool_store
    if spools or any(pastefile.has_app(parts, factory) for factory in _WITH_RECORDS):
        database = conf.read(DatabaseSettings)
        if schema.is_embedded(database):
            schema.upgrade(database)
    overrides = pastefile.filter_options(parts, Tokens.NAME)
    if overrides is not None:
        tokens = conf.read(TokensSettings, overrides).token_file
        if not os.path.exists(tokens):
            _create_admin_token(tokens, _admin_token(conf.state_path))


def announce(bind: str, state_path: str, *, page: bool = False) -> None:
    """Print commands for a first upload to stderr, if there is an admin token.

    ``page`` says whether the page for browsers is served. Prints nothing for a Unix socket, which
    OpenStack's clients cannot connect to.
    """
    path = _admin_token(state_path)
    if bind.startswith("unix:") or not path.exists():
        return
    url = f"http://{bind}"
    sys.stderr.write(
        f"imsgate serves {url} and keeps all its data under {state_path}. To try it:\n\n"
        f"  export OS_AUTH_TYPE=admin_token OS_ENDPOINT={url}/v2 OS_TOKEN=$(cat {path})\n"
        f"  openstack image create --disk-format qcow2 --file disk.qcow2 first\n"
        f"  openstack image list\n\n"
    )
    if page:
        sys.stderr.write(
            f"Or open {url}/ui/ in a browser, and sign in with the token in {path}.\n\n"
        )
    sys.stderr.flush()


def _admin_token(state_path: str) -> pathlib.Path:
    return pathlib.Path(state_path, "admin-token")


def _create_admin_token(tokens: str, path: pathlib.Path) -> None:
    token = token_file.new()
    # In this order, so that a crash in between leaves no valid token that nobody knows.
    with state.writing_to(str(path), "[DEFAULT] state_path"):
        path.touch(mode=0o600)
        path.write_text(token + "\n")
    roles = ["admin", "member"]
    token_file.add(tokens, user="admin", project="admin", roles=roles, presented=token)
