"""Idempotency-Key: what is sent again is not done again, and gets the first answer."""

import contextlib
import json
import multiprocessing
import os
import pathlib
import signal
import sqlite3
import types

import pytest

from imsgate import errors
from imsgate.api import idempotency
from imsgate.http import responses
from imsgate.model import Location, Status
from imsgate.registry import sql
from imsgate.registry.base import Query
from imsgate.registry.sql import keys, schema
from imsgate.testing.gateways import gateway
from tests.api.buckets import MemoryBuckets, options
from tests.api.people import PEOPLE, Person, reason
from tests.registry.conftest import settings_of

UUID = "8e03978e-40d5-43e8-bc93-6894a57f9324"
IN_USE = 409, "idempotency_key_in_use"
REUSED = 422, "idempotency_key_reused"
PROBLEM = "application/problem+json"


def _made(registry=None, **further):
    """A gateway and its people; the project p1 has a bucket with an object."""
    buckets = MemoryBuckets()
    buckets.objects["bkt", "a.raw"] = b"\1" * 1024
    parts = gateway(
        registry=registry, buckets=buckets, further={**options("none", "p1:bkt"), **further}
    )
    people = {name: Person(parts.app, who) for name, who in PEOPLE.items()}
    return types.SimpleNamespace(parts=parts, registry=parts.registry, **people)


@pytest.fixture
def site():
    return _made()


def _queued(owner):
    return owner.create(name="n", disk_format="raw", container_format="bare")


def _active(owner):
    path = _queued(owner)
    owner.upload(path)
    return path


def _id(path):
    return path.rpartition("/")[2]


NEW = {"name": "n", "image_url": "bkt:a.raw", "min_disk": 40, "os_version": "Debian GNU/Linux 12"}


def _create(owner):
    return "POST", "/v2/images", {"name": "new"}


def _import(owner):
    path = _queued(owner)
    staged = owner.put(f"{path}/stage", b"data", Content_Type="application/octet-stream")
    assert staged.status_int == 204
    return "POST", f"{path}/import", {"method": {"name": "glance-direct"}}


def _register(owner):
    url = f"/v1/cloudimages/{_id(_queued(owner))}/upload"
    return "PUT", url, {"image_url": "bkt:a.raw"}


def _export(owner):
    body = {"bucket_url": "bkt:out.raw", "file_format": "raw"}
    return "POST", f"/v1/cloudimages/{_id(_active(owner))}/file", body


def _copy(owner):
    return "POST", f"/v1/cloudimages/{_id(_active(owner))}/copy", {"name": "copy"}


def _action(owner):
    return "POST", "/v2/cloudimages/action", NEW


def _quick(owner):
    return "POST", "/v2/cloudimages/quickimport/action", NEW


def _data(owner):
    body = {"name": "n", "image_url": "bkt:a.raw", "min_disk": 40}
    return "POST", "/v1/cloudimages/dataimages/action", body


CALLS = [_create, _import, _register, _export, _copy, _action, _quick, _data]


def _recorded(registry):
    """The ids of all images and jobs."""
    images = registry.list(Query(admin=True, limit=100))
    return {one.id for one in images} | {one.id for one in registry.jobs(None)}


def _kept(answer):
    own = {"X-Request-Id", "Content-Length"}
    return (
        answer.status_int,
        {name: text for name, text in answer.headers.items() if name not in own},
        answer.body,
    )


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("ended", [False, True])
def test_what_is_sent_again_gets_the_first_answer(site, call, ended):
    method, path, body = call(site.owner)
    first = site.owner.ask(method, path, body, Idempotency_Key=f'"{UUID}"')
    assert first.status_int in (200, 201, 202), first
    recorded = _recorded(site.registry)
    if ended:
        while site.parts.engine.run_one():
            pass
    for key in (f'"{UUID}"', UUID, f' "{UUID}" ', f'"{UUID}";a=1'):
        again = site.owner.ask(method, path, body, Idempotency_Key=key)
        assert _kept(again) == _kept(first)
    assert _recorded(site.registry) <= recorded
    other = site.owner.ask(method, path, {**body, "name": "other"}, Idempotency_Key=UUID)
    assert (reason(other), other.content_type) == (REUSED, PROBLEM)
    assert other.json["type"].startswith("https://datatracker.ietf.org/doc/html/draft-ietf-httpapi")
    assert (other.json["status"], other.json["reason"]) == REUSED
    assert _recorded(site.registry) <= recorded


def test_the_first_answer_has_its_headers(site):
    answers = [
        site.owner.post("/v2/images", {}, Idempotency_Key=UUID, X_Unknown=text) for text in "ab"
    ]
    first, again = answers
    assert first.headers["Location"] == again.headers["Location"]
    assert first.headers["Location"].endswith(first.json["id"])
    assert "web-download" in again.headers["OpenStack-image-import-methods"]
    assert first.headers["X-Request-Id"] != again.headers["X-Request-Id"]
    site.owner.delete(first.json["self"])
    deleted = site.owner.post("/v2/images", {}, Idempotency_Key=UUID)
    assert _kept(deleted) == _kept(first)


def test_without_a_key_each_request_is_one(site):
    first, second = (site.owner.post("/v2/images", {"name": "n"}) for _ in range(2))
    assert first.json["id"] != second.json["id"]


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "same"),
    [
        ("POST", "/v2/images", b'{"name": "n"}', {}, True),
        ("POST", "/v2.9//images", b'{"name": "n"}', {"Accept": "text/html"}, True),
        ("POST", "/v2/images", b'{"name":"n"}', {}, False),
        ("POST", "/v2/images", b"", {}, False),
        ("POST", "/v2/images", b'{"name": "n"}', {"X_Image_Meta_Store": "fast"}, False),
        ("POST", "/v2/cloudimages/action", b'{"name": "n"}', {}, False),
        ("PUT", f"/v1/cloudimages/{UUID}/upload", b'{"name": "n"}', {}, False),
    ],
)
def test_what_makes_a_request_another_one(site, method, path, body, headers, same):
    first = site.owner.post("/v2/images", b'{"name": "n"}', Idempotency_Key=UUID)
    answer = site.owner.ask(method, path, body, Idempotency_Key=UUID, **headers)
    assert (_kept(answer) == _kept(first)) if same else (reason(answer) == REUSED)


@pytest.mark.parametrize("who", ["other", "admin"])
def test_keys_of_other_users_are_independent(site, who):
    ids = {
        person.post("/v2/images", {}, Idempotency_Key=UUID).json["id"]
        for person in (site.owner, getattr(site, who))
    }
    assert len(ids) == 2
    assert reason(site.nobody.post("/v2/images", {}, Idempotency_Key=UUID))[0] == 401


@pytest.mark.parametrize(
    "key",
    ["", '""', '"a', '"a","b"', "a,b", "a b", ":YWJj:", "?1", '"\xfc"', '"' + "x" * 256 + '"'],
)
@pytest.mark.parametrize("path", ["/v2/images", "/v2/cloudimages/action"])
def test_invalid_keys(site, path, key):
    answer = site.owner.post(path, NEW, Idempotency_Key=key)
    assert (reason(answer), answer.content_type) == ((400, "bad_header"), PROBLEM)
    assert _recorded(site.registry) == set()


def test_a_key_of_full_length(site):
    key = "x" * 255
    ids = {
        site.owner.post("/v2/images", {}, Idempotency_Key=text).json["id"]
        for text in (key, f'"{key}"')
    }
    assert len(ids) == 1


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v2/images", b"{", 400),
        ("/v2/images", b'{"status": "active"}', 403),
        (f"/v2/images/{UUID}/import", b'{"method": {"name": "web-download", "uri": "x"}}', 404),
        ("/v2/cloudimages/action", b"{}", 400),
    ],
)
def test_final_refusals_are_kept(site, monkeypatch, path, body, status):
    first = site.owner.post(path, body, Idempotency_Key=UUID)
    assert first.status_int == status
    monkeypatch.setattr(responses, "refusal", None)  # nothing is refused any more
    again = site.owner.post(path, body, Idempotency_Key=UUID)
    assert _kept(again) == _kept(first)


def _refuse(monkeypatch, site, failure):
    def refuse(*args, **more):
        raise failure

    monkeypatch.setattr(site.registry, "add", refuse)


@pytest.mark.parametrize(
    "failure",
    [
        errors.Unavailable(what="x"),
        errors.Conflict(problem="x"),
        errors.QuotaExceeded(resource="x", limit=1),
        errors.Unauthenticated(),
        errors.KeyInUse(),
        errors.BadRequest(problem="x" * 8192),
        errors.Error(),
    ],
    ids=lambda failure: f"{failure.status} {failure.reason}",
)
def test_after_other_refusals_the_request_is_processed(site, monkeypatch, failure):
    with monkeypatch.context() as patched:
        _refuse(patched, site, failure)
        assert site.owner.post("/v2/images", {}, Idempotency_Key=UUID).status_int == failure.status
    assert site.owner.post("/v2/images", {}, Idempotency_Key=UUID).status_int == 201
    assert len(_recorded(site.registry)) == 1


def test_after_a_bug_the_request_is_processed(site, monkeypatch):
    with monkeypatch.context() as patched:
        _refuse(patched, site, RuntimeError("bug"))
        with pytest.raises(RuntimeError, match="bug"):
            site.owner.post("/v2/images", {}, Idempotency_Key=UUID)
    assert site.owner.post("/v2/images", {}, Idempotency_Key=UUID).status_int == 201


def test_over_a_limit_the_request_is_done_later():
    site = _made(quota={"image_count_total": 1})
    path = _queued(site.owner)
    key = {"Idempotency_Key": UUID}
    assert reason(site.owner.post("/v2/images", {}, **key)) == (413, "limit_exceeded")
    site.owner.delete(path)
    assert site.owner.post("/v2/images", {}, **key).status_int == 201


def test_an_answer_that_is_too_long_is_not_given(site, monkeypatch):
    monkeypatch.setattr(idempotency, "_MAX_ANSWER_BYTES", 100)
    answer = site.owner.post("/v2/images", {}, Idempotency_Key=UUID)
    assert reason(answer) == (400, "bad_request")
    assert _recorded(site.registry) == set()


def test_an_import_with_nothing_to_do_is_answered_once(site):
    path = _active(site.owner)
    body = {"method": {"name": "copy-image"}, "all_stores": True}
    first = site.admin.post(f"{path}/import", body, Idempotency_Key=UUID)
    assert first.status_int == 202
    site.owner.delete(path)
    assert _kept(site.admin.post(f"{path}/import", body, Idempotency_Key=UUID)) == _kept(first)


def test_a_start_whose_response_was_lost_is_not_undone(site, monkeypatch):
    """The database recorded it, and only its answer was lost."""
    add = site.registry.add_with_job

    def unheard(*args):
        add(*args)
        raise errors.Unavailable(what="The database")

    with monkeypatch.context() as patched:
        patched.setattr(site.registry, "add_with_job", unheard)
        assert (
            site.owner.post("/v2/cloudimages/action", NEW, Idempotency_Key=UUID).status_int == 503
        )
    answer = site.owner.post("/v2/cloudimages/action", NEW, Idempotency_Key=UUID)
    (job,) = site.registry.jobs(None)
    assert answer.json == {"job_id": job.id.replace("-", "")}
    assert site.registry.get(job.image_id)


# A process that is killed


def _answered(directory):
    """The site on the database of this directory."""
    return _made(sql.SqlRegistry(settings_of(directory)))


#: Each process is a copy of one that has imported everything.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload([__name__])


def _die():
    os.kill(os.getpid(), signal.SIGKILL)


def _dies_before(owner, name):
    setattr(owner, name, lambda *args, **more: _die())


def _dies_after(owner, name):
    step = getattr(owner, name)

    def dying(*args, **more):
        step(*args, **more)
        _die()

    setattr(owner, name, dying)


_STEPS = {
    "_create": "add",
    "_import": "add_job",
    "_copy": "add_with_job",
    "_action": "add_with_job",
}

#: Where a process dies, and whether the request was done by then.
_MOMENTS = {
    "claimed": (lambda registry, step: _dies_after(registry, "claim_key"), False),
    "begins to record": (_dies_before, False),
    "recorded all but the answer": (lambda registry, step: _dies_before(keys, "end"), False),
    "not committed": (lambda registry, step: _dies_after(keys, "end"), False),
    "committed": (_dies_after, True),
    "answers": (lambda registry, step: _dies_after(idempotency.Repeatable, "_handle"), True),
}


def _ask_and_die(directory, moment, step, method, path, body):
    site = _answered(directory)
    _MOMENTS[moment][0](site.registry, step)
    site.owner.ask(method, path, body, Idempotency_Key=UUID)


@pytest.mark.parametrize("moment", _MOMENTS)
@pytest.mark.parametrize("call", [_create, _import, _copy, _action], ids=lambda call: call.__name__)
def test_a_killed_process_has_done_all_or_nothing(tmp_path: pathlib.Path, call, moment):
    schema.upgrade(settings_of(tmp_path))
    site = _answered(tmp_path)
    with contextlib.closing(site.registry):
        if call is _copy:  # its data is in the memory of a process
            path = _queued(site.owner)
            _set_active(site, _id(path))
            method, path, body = "POST", f"/v1/cloudimages/{_id(path)}/copy", {"name": "copy"}
        else:
            method, path, body = call(site.owner)
        before = _recorded(site.registry)
        arguments = (tmp_path, moment, _STEPS[call.__name__], method, path, body)
        process = _PROCESSES.Process(target=_ask_and_die, args=arguments)
        process.start()
        process.join(300)
        assert process.exitcode == -signal.SIGKILL
        done = _recorded(site.registry) - before

        def ask():
            return site.owner.ask(method, path, body, Idempotency_Key=UUID)

        if _MOMENTS[moment][1]:
            assert done
        else:
            assert not done
            assert reason(ask()) == IN_USE
            assert int(ask().headers["Retry-After"]) > 0
            with contextlib.closing(sqlite3.connect(tmp_path / "imsgate.sqlite")) as db, db:
                db.execute("UPDATE idempotency_keys SET lease = 1")
        answer = ask()
        assert answer.status_int in (200, 201, 202), answer
        done = done or _recorded(site.registry) - before
        assert _kept(ask()) == _kept(answer)
        assert _recorded(site.registry) - before == done
        if answer.body:
            told = json.loads(answer.body)
            ids = {one.replace("-", "") for one in done}
            assert str(told.get("id") or told.get("job_id")).replace("-", "") in ids


def _set_active(site, image_id):
    site.registry.change(image_id, {}, status=Status.SAVING)
    data = {"size": 1, "locations": (Location("fast", "memory://fast/x"),)}
    site.registry.change(image_id, {}, status=Status.ACTIVE, **data)
