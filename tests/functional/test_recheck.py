"""Who may upload is asked twice: when an upload begins, and again before it becomes an image."""

import json
import pathlib
import secrets
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from imsgate.auth import jsonl
from tests.functional import importing
from tests.functional.gateway import PATIENCE, Gateway, eventually
from tests.functional.importing import begin, slow
from tests.functional.keystone import Keystone, StackGateway
from tests.functional.wire import Wire, length
from tests.sources import web_server

DATA = bytes(1 << 20)

Outcome = tuple[int, str | None]


def begun(gateway: Gateway, wire: Wire, token: str, *fields: tuple[str, str]) -> str:
    """An upload that lacks its last byte; the image's id."""
    image_id = gateway.create(token=gateway.token())
    wire.put(image_id, [*length(len(DATA)), *fields], token)
    wire.send(DATA[:-1]).saving(image_id)
    return image_id


def ended(gateway: Gateway, wire: Wire, image_id: str) -> Outcome:
    """How the upload ends. A refused one leaves its image queued and nothing in the store."""
    answer = wire.send(DATA[-1:]).answer()
    if answer.status == 204:
        assert gateway.status(image_id) == "active"
    else:
        gateway.assert_untouched(image_id)
    return answer.outcome


# With a token file


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({}, (204, None)),
        ({"roles": ["reader"]}, (403, "forbidden")),
        ({"project": "another"}, (404, "not_found")),
        ({"sha256": "0" * 64}, (401, "unauthenticated")),
        ({"sha256": "broken"}, (401, "unauthenticated")),
        ({"expires": 1.0}, (401, "unauthenticated")),
    ],
    ids=["unchanged", "role", "project", "revoked", "broken", "expired"],
)
def test_a_token_file_that_changed_meanwhile(
    gateway: Gateway, change: dict[str, Any], outcome: Outcome
) -> None:
    token, path = gateway.token(roles=("member",)), gateway.state / "tokens"
    # The others are made first: the file is put back as it was.
    assert gateway.token()
    assert gateway.admin
    with Wire(gateway) as wire:
        image_id = begun(gateway, wire, token)
        kept = path.read_text()
        _rewrite(path, jsonl.digest(token), change)
        answer = wire.send(DATA[-1:]).answer()
        path.write_text(kept)
    assert answer.outcome == outcome
    if outcome[0] != 204:
        gateway.assert_untouched(image_id)


def _rewrite(path: pathlib.Path, digest: str, change: dict[str, Any]) -> None:
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    lines = [{**entry, **change} if entry["sha256"] == digest else entry for entry in entries]
    new = path.with_suffix(".edited")
    new.write_text("\n".join(map(json.dumps, lines)))
    new.replace(path)


# With Keystone


@pytest.fixture
def uploader(keystone: Keystone) -> str:
    """A new user with two roles in ``demo``."""
    name = f"uploader-{secrets.token_hex(4)}"
    for role in ("member", "reader"):
        keystone.grant(name, "demo", role)
    return name


def _nothing(keystone: Keystone, user: str, token: str) -> None:
    pass


def _revoke_role(keystone: Keystone, user: str, token: str) -> None:
    keystone.grant(user, "demo", "member", "DELETE")


def _revoke_token(keystone: Keystone, user: str, token: str) -> None:
    keystone.call("DELETE", "/auth/tokens", X_Subject_Token=token)


def _disable_user(keystone: Keystone, user: str, token: str) -> None:
    body = {"user": {"enabled": False}}
    keystone.call("PATCH", f"/users/{keystone.id('user', user)}", body)


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        (_nothing, (204, None)),
        (_revoke_role, (403, "forbidden")),
        (_revoke_token, (401, "unauthenticated")),
        (_disable_user, (401, "unauthenticated")),
    ],
)
def test_what_keystone_revoked_meanwhile(
    stack: StackGateway, keystone: Keystone, uploader: str, change: Any, outcome: Outcome
) -> None:
    token = keystone.token(uploader, "demo")
    with Wire(stack) as wire:
        image_id = begun(stack, wire, token)
        change(keystone, uploader, token)
        assert ended(stack, wire, image_id) == outcome


@pytest.fixture
def source() -> Iterator[Any]:
    with web_server.serving() as server:
        yield server


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_nothing, None),
        (_revoke_role, "forbidden"),
        (_revoke_token, "unauthenticated"),
        (_disable_user, "unauthenticated"),
    ],
)
def test_an_import_is_asked_about_again(
    stack: StackGateway, keystone: Keystone, uploader: str, source: Any, change: Any, code: Any
) -> None:
    ready, go_on = threading.Event(), threading.Event()
    source.routes["/image"] = slow(DATA, ready, go_on)
    token = keystone.token(uploader, "demo")
    image_id = stack.create(token=token)
    assert begin(stack, image_id, "web-download", token, uri=f"{source.url}/image").status == 202
    try:
        assert ready.wait(PATIENCE)
        assert _records(stack).count(b"gAAAA") > 0, "the token is kept sealed"
        assert token.encode() not in _records(stack)
        change(keystone, uploader, token)
    finally:
        go_on.set()
    found = importing.ended(stack, image_id)
    if code is None:
        assert found["status"] == "success"
        assert stack.download(image_id).body == DATA
    else:
        assert (found["status"], found["result"]) == ("failure", {"error_code": code})
        stack.assert_untouched(image_id)


def _records(stack: StackGateway) -> bytes:
    """The database, and what has not come into it yet."""
    return b"".join(path.read_bytes() for path in stack.state.glob("imsgate.sqlite*"))


def test_an_import_may_outlive_its_token(
    stack: StackGateway, keystone: Keystone, hasty: Keystone, source: Any
) -> None:
    ready, go_on = threading.Event(), threading.Event()
    source.routes["/image"] = slow(DATA, ready, go_on)
    image_id = stack.create()
    token = hasty.token("demo")
    assert begin(stack, image_id, "web-download", token, uri=f"{source.url}/image").status == 202
    try:
        eventually(lambda: not keystone.validates(token), "the token has expired")
    finally:
        go_on.set()
    assert importing.ended(stack, image_id)["status"] == "success"


def test_a_keystone_that_is_away_is_503(start: Callable[..., Gateway], keystone: Keystone) -> None:
    # One process: each remembers only the tokens that it has seen.
    gateway = start(keystone=keystone, workers=1)
    known, unknown = gateway.token(), keystone.token("alt")
    with Wire(gateway) as wire:
        image_id = begun(gateway, wire, known)
        with keystone.away():
            answer = wire.send(DATA[-1:]).answer()
            assert answer.outcome == (503, "unavailable")
            answer = gateway.call("GET", "/v2/images", token=unknown)
            assert answer.outcome == (503, "unavailable")
            # It remembers a token for a while, as everywhere.
            answer = gateway.call("GET", f"/v2/images/{image_id}", token=known)
            assert answer.json["status"] == "queued"
    gateway.assert_untouched(image_id)


@pytest.fixture(scope="module")
def hasty(keystone: Keystone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keystone]:
    """The same Keystone, but the tokens it issues expire in five seconds."""
    server = Keystone(tmp_path_factory.mktemp("hasty"), of=keystone, expiration=5)
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.mark.parametrize("by_service", [True, False], ids=["for-user", "by-user"])
def test_an_upload_may_outlive_its_token(
    stack: StackGateway, keystone: Keystone, hasty: Keystone, by_service: bool
) -> None:
    """The service's token expires with the user's: both were valid when the request began."""
    service = ("X-Service-Token", hasty.token("svc", "service"))
    token = hasty.token("demo")
    with Wire(stack) as wire:
        image_id = begun(stack, wire, token, *([service] if by_service else []))
        eventually(lambda: not keystone.validates(token), "the token has expired")
        eventually(lambda: not keystone.validates(service[1]), "the service's token, too")
        assert ended(stack, wire, image_id) == (204, None)


def test_an_expired_token_begins_only_beside_a_service_token(
    stack: StackGateway, keystone: Keystone, hasty: Keystone
) -> None:
    token = hasty.token("demo")
    eventually(lambda: not keystone.validates(token), "the token has expired")

    def listed(**headers: str) -> Outcome:
        fields = {name.replace("_", "-"): text for name, text in headers.items()}
        return stack.call("GET", "/v2/images", token=token, headers=fields).outcome

    assert listed() == (401, "unauthenticated")
    assert listed(X_Service_Token=keystone.token("alt")) == (401, "unauthenticated")
    assert listed(X_Service_Token="forged") == (401, "unauthenticated")
    assert listed(X_Service_Token=keystone.token("svc", "service")) == (200, None)
