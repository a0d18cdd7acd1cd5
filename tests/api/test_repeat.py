"""An upload whose response was lost is sent again: compared with what is stored, never written."""

import dataclasses
import functools
import hashlib
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imsgate import errors
from imsgate.http.request import IDENTITY
from imsgate.model import Identity, Location, Status
from imsgate.testing import servers
from imsgate.testing.gateways import gateway
from imsgate.transfer import lease, repeat
from tests.api.people import PEOPLE, Person, add, replace

MIB = 1 << 20
OWNER = PEOPLE["owner"]
DATA = hashlib.shake_128(b"image").digest(3 * MIB + 5)
ACTIVE, STAGED = "file", "stage"
kinds = pytest.mark.parametrize("kind", [ACTIVE, STAGED])


def send(gate, path, body=DATA, *, kind=ACTIVE, who=OWNER, length=None, **more):
    """One PUT of a body with a length, or a ``chunked`` one; the response and the body."""
    step, chunked = more.pop("step", None), more.pop("chunked", False)
    stream = body if isinstance(body, servers.Input) else servers.Input(body, step=step)
    entries = {f"HTTP_{name.upper()}": text for name, text in more.items()}
    entries |= {"REQUEST_METHOD": "PUT", "PATH_INFO": f"{path}/{kind}", IDENTITY: who}
    size = None if chunked else len(body) if length is None else length
    request = servers.environ(stream, length=size, chunked=chunked, **entries)
    return servers.serve(gate.app, request), stream


def outcome(gate, path, *body, **more):
    answer, _ = send(gate, path, *body, **more)
    return answer.code, answer.reason


def headers(answer):
    """All but the request's id."""
    return [header for header in answer.headers if "Request-Id" not in header[0]]


def record(gate, path):
    return gate.registry.get(path.rpartition("/")[2])


def held(gate):
    return [backend.store.held() for backend in gate.stores]


@pytest.fixture
def path(owner):
    return owner.create(disk_format="raw", container_format="bare")


def changed(position, data=DATA):
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


@kinds
@pytest.mark.parametrize(
    "how", [{}, {"chunked": True}, {"step": 1000}, {"x_openstack_image_size": str(len(DATA))}]
)
def test_the_same_data_again_changes_nothing(gate, path, kind, how):
    first, _ = send(gate, path, kind=kind)
    was, kept = record(gate, path), held(gate)
    for _ in range(3):
        again, stream = send(gate, path, kind=kind, **how)
        assert (again.code, headers(again), again.body) == (204, headers(first), first.body)
        assert stream.given == len(DATA)
    assert record(gate, path) == was
    assert held(gate) == kept


def test_an_empty_image_may_be_repeated(gate, path):
    for _ in range(2):
        assert outcome(gate, path, b"") == (204, None)
    assert outcome(gate, path, b"", chunked=True) == (204, None)
    assert outcome(gate, path, b"x", chunked=True) == (409, "data_differs")


@kinds
@pytest.mark.parametrize("size", [0, len(DATA) - 1, len(DATA) + 1])
def test_another_size_is_refused_unread(gate, path, kind, size):
    send(gate, path, kind=kind)
    for told in ({"length": size}, {"chunked": True, "x_openstack_image_size": str(size)}):
        answer, stream = send(gate, path, kind=kind, **told)
        assert (answer.code, answer.reason) == (409, "data_differs")
        assert stream.asked == 0


DIFFERENT = {
    "first byte": (changed(0), {}, 0),
    "in the first chunk": (changed(70_000), {}, 70_000),
    "second MiB": (changed(MIB + 1), {}, MIB + 1),
    "last byte": (changed(len(DATA) - 1), {}, len(DATA) - 1),
    "chunked": (changed(70_000), {"chunked": True}, 70_000),
    "longer": (DATA + b"x", {"chunked": True}, len(DATA)),
    "shorter": (DATA[:-1], {"chunked": True}, len(DATA)),
    "nothing": (b"", {"chunked": True}, 0),
}


@kinds
@pytest.mark.parametrize(("body", "how", "position"), DIFFERENT.values(), ids=DIFFERENT)
def test_other_data_is_refused_where_it_differs(gate, path, kind, body, how, position):
    send(gate, path, kind=kind)
    was, kept = record(gate, path), held(gate)
    answer, stream = send(gate, path, body, kind=kind, step=1 << 16, **how)
    assert (answer.code, answer.reason) == (409, "data_differs")
    assert stream.given <= position + (1 << 16)
    assert record(gate, path) == was
    assert held(gate) == kept
    assert outcome(gate, path, kind=kind) == (204, None)


def test_the_message_names_the_byte(gate, owner, path):
    send(gate, path)
    answer = owner.put(f"{path}/file", changed(MIB + 1), Content_Type="application/octet-stream")
    assert f"is active and has other data: byte {MIB + 1} differs" in answer.text


@given(
    stored=st.binary(max_size=40),
    sent=st.none() | st.binary(max_size=40),
    pieces=st.integers(1, 20),
    steps=st.integers(1, 20),
    chunked=st.booleans(),
)
def test_only_equal_data_passes(stored, sent, pieces, steps, chunked):
    """However store and client cut it."""
    gate = gateway()
    path = Person(gate.app, OWNER).create(disk_format="raw", container_format="bare")
    send(gate, path, stored)
    store = gate.stores.get("fast")

    def read(location, offset=0):
        return (stored[at : at + pieces] for at in range(offset, len(stored), pieces))

    store.read = read
    sent = stored if sent is None else sent
    expected = (204, None) if sent == stored else (409, "data_differs")
    assert outcome(gate, path, sent, step=steps, chunked=chunked) == expected


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_cut_proves_nothing(gate, path, chunked):
    send(gate, path)
    was = record(gate, path)
    stream = servers.Input(DATA[:MIB], fails=ConnectionResetError())
    answer, _ = send(gate, path, stream, length=len(DATA), chunked=chunked)
    assert (answer.code, answer.reason) == (400, "body_cut")
    assert record(gate, path) == was


# Who, when, where


OTHERS = {
    "another user of the project": dataclasses.replace(OWNER, user_id="other"),
    "another project of the user": dataclasses.replace(
        OWNER, project_id="p0", roles=frozenset(("admin",))
    ),
    "an administrator": PEOPLE["admin"],
    "an unknown user": dataclasses.replace(OWNER, user_id=None),
}


@kinds
@pytest.mark.parametrize("who", OTHERS.values(), ids=OTHERS)
def test_nobody_else_repeats_an_upload(gate, path, kind, who):
    send(gate, path, kind=kind)
    answer, stream = send(gate, path, kind=kind, who=who)
    assert (answer.code, answer.reason, stream.asked) == (409, "wrong_status", 0)


def test_nobody_repeats_an_upload_of_an_unknown_user(gate, path):
    nobody = Identity(project_id="p1", roles=OWNER.roles)
    assert outcome(gate, path, who=nobody) == (204, None)
    assert outcome(gate, path, who=nobody) == (409, "wrong_status")
    assert (record(gate, path).uploaded_by, record(gate, path).uploaded_at) == (None, None)


@kinds
@pytest.mark.parametrize("window", [0, 1, 7])
def test_an_upload_may_be_repeated_for_a_while(monkeypatch, kind, window):
    gate = gateway(further={"upload": {"repeat_window": window}})
    path = Person(gate.app, OWNER).create(disk_format="raw", container_format="bare")
    now = types.SimpleNamespace(time=lambda: 1e9, sleep=None)
    monkeypatch.setattr(repeat, "time", now)
    send(gate, path, kind=kind)
    for passed in (0, window - 0.5, window, 2 * window):
        now.time = functools.partial(float, 1e9 + passed)
        expected = (204, None) if 0 <= passed < window else (409, "wrong_status")
        assert outcome(gate, path, kind=kind) == expected


@pytest.mark.parametrize(
    ("store", "expected"),
    [
        ("archive", (204, None)),
        ("fast", (409, "wrong_status")),
        ("tape", (409, "wrong_status")),
        ("../x", (400, "bad_header")),
    ],
)
def test_the_store_that_is_named_has_the_data(gate, path, store, expected):
    send(gate, path, x_image_meta_store="archive")
    assert outcome(gate, path, x_image_meta_store=store) == expected
    assert outcome(gate, path) == (204, None)


# What happened meanwhile


def imported(gate, owner, path):
    import_it(owner, path)
    assert gate.engine.run_one()


def import_it(owner, path):
    body = {"method": {"name": "glance-direct"}}
    assert owner.post(f"{path}/import", body).status_int == 202


def patched(gate, owner, path):
    operations = [replace("name", "other"), replace("tags", ["x"]), add("key", "value")]
    assert owner.patch(path, *operations).status_int == 200


def reactivated(gate, owner, path):
    admin = Person(gate.app, PEOPLE["admin"])
    for action in ("deactivate", "reactivate"):
        assert admin.post(f"{path}/actions/{action}").status_int == 204


def deactivated(gate, owner, path):
    admin = Person(gate.app, PEOPLE["admin"])
    assert admin.post(f"{path}/actions/deactivate").status_int == 204


def deleted(gate, owner, path):
    assert owner.delete(path).status_int == 204


def given_away(gate, owner, path):
    gate.registry.change(record(gate, path).id, {}, owner="p2")


MEANWHILE = {
    "patched": (ACTIVE, patched, (204, None)),
    "deactivated": (ACTIVE, deactivated, (409, "wrong_status")),
    "reactivated": (ACTIVE, reactivated, (204, None)),
    "deleted": (ACTIVE, deleted, (404, "not_found")),
    "given away": (ACTIVE, given_away, (404, "not_found")),
    "staged data is patched": (STAGED, patched, (204, None)),
    "an import begins": (STAGED, lambda gate, *of: import_it(*of), (409, "wrong_status")),
    "an import ends": (STAGED, imported, (409, "wrong_status")),
    "staged data is deleted": (STAGED, deleted, (404, "not_found")),
}


@pytest.mark.parametrize(("kind", "event", "expected"), MEANWHILE.values(), ids=MEANWHILE)
@pytest.mark.parametrize("when", ["before", "during"])
def test_something_happens_meanwhile(gate, owner, path, kind, event, expected, when):
    class Input(servers.Input):
        def read(self, size=-1):
            if self.given == 0 and when == "during":
                event(gate, owner, path)
            return super().read(size)

    send(gate, path, kind=kind)
    if when == "before":
        event(gate, owner, path)
    answer, _ = send(gate, path, Input(DATA, step=1000), kind=kind, length=len(DATA))
    assert (answer.code, answer.reason) == expected


def test_a_deletion_is_reported_even_if_the_store_fails(gate, owner, path):
    """The data of a deleted image cannot be read on."""
    send(gate, path)
    store = gate.stores.get("fast")
    read = store.read

    def fails(location, offset=0):
        yield from (chunk for _, chunk in zip(range(1), read(location, offset), strict=False))
        deleted(gate, owner, path)
        raise errors.StoreUnavailable(store="fast", problem="it is gone")

    store.read = fails
    assert outcome(gate, path) == (404, "not_found")


def test_staged_data_is_no_upload_of_the_image(gate, owner, path):
    send(gate, path, kind=STAGED)
    imported(gate, owner, path)
    assert record(gate, path).status == Status.ACTIVE
    assert outcome(gate, path) == (409, "wrong_status")


def test_an_earlier_stager_does_not_repeat_what_others_stage(gate, owner, path):
    other = dataclasses.replace(OWNER, user_id="other")
    send(gate, path, kind=STAGED)
    [location] = record(gate, path).locations
    gate.stores.get("fast").delete(location.url)
    imported(gate, owner, path)
    assert record(gate, path).status == Status.QUEUED

    class Input(servers.Input):
        def read(self, size=-1):
            assert outcome(gate, path, kind=STAGED) == (409, "wrong_status")
            return super().read(size)

    answer, _ = send(gate, path, Input(DATA), kind=STAGED, who=other, length=len(DATA))
    assert answer.code == 204
    assert outcome(gate, path, kind=STAGED) == (409, "wrong_status")
    assert outcome(gate, path, kind=STAGED, who=other) == (204, None)


def test_a_running_upload_is_not_repeated(gate, path):
    class Input(servers.Input):
        def read(self, size=-1):
            assert outcome(gate, path) == (409, "wrong_status")
            return super().read(size)

    assert send(gate, path, Input(DATA), length=len(DATA))[0].code == 204


# Stores


@pytest.fixture
def copies(gate, path):
    """An image that two stores hold; the default one's copy comes first."""
    send(gate, path)
    image = record(gate, path)
    with gate.stores.get("archive").create("copy", len(DATA)) as sink:
        sink.write(DATA)
        location = Location("archive", sink.commit())
    gate.registry.change(image.id, {}, locations=(*image.locations, location))
    return path


def away(store, after=None):
    """Make a store fail at once, or after some chunks."""
    read = store.read

    def fail():
        raise errors.StoreUnavailable(store=store.name, problem="away")

    def chunks(location, offset):
        for _, chunk in zip(range(after), read(location, offset), strict=False):
            yield chunk
        fail()

    store.read = lambda location, offset=0: fail() if after is None else chunks(location, offset)


def lost(store):
    for key in store.held():
        store.delete(key)


BREAKS = {"away": away, "away soon": lambda store: away(store, 1), "lost": lost}


@pytest.mark.parametrize("breaks", BREAKS.values(), ids=BREAKS)
def test_another_copy_replaces_one_that_cannot_be_read(gate, copies, breaks):
    breaks(gate.stores.get("fast"))
    assert outcome(gate, copies) == (204, None)
    assert outcome(gate, copies, changed(2 * MIB)) == (409, "data_differs")


NO_COPY = {
    "away": (away, (503, "store_unavailable"), 0),
    "away soon": (lambda store: away(store, 1), (503, "store_unavailable"), len(DATA)),
    "lost": (lost, (404, "not_found"), 0),
}


@pytest.mark.parametrize(("breaks", "expected", "read"), NO_COPY.values(), ids=NO_COPY)
def test_without_any_copy_there_is_nothing_to_compare(gate, copies, breaks, expected, read):
    for backend in gate.stores:
        breaks(backend.store)
    was = record(gate, copies)
    answer, stream = send(gate, copies, step=1 << 16)
    assert (answer.code, answer.reason) == expected
    assert stream.given <= read
    assert (answer.header("Retry-After") is not None) is (expected[0] == 503)
    assert record(gate, copies) == was


def test_a_copy_that_is_being_removed_is_not_read(gate, copies):
    image = record(gate, copies)
    lost(gate.stores.get("fast"))
    removed = {"upload_store": "fast", "upload_key": image.locations[0].place}
    gate.registry.change(image.id, {}, **removed, upload_expires=2e9)
    assert outcome(gate, copies) == (204, None)
    assert outcome(gate, copies, x_image_meta_store="fast") == (409, "wrong_status")


# The end


def test_an_outage_of_the_database_is_waited_out(monkeypatch, gate, path):
    send(gate, path)
    get, failures = gate.registry.get, []

    class Input(servers.Input):
        def read(self, size=-1):
            gate.registry.get = fails
            return super().read(size)

    def fails(image_id):
        if len(failures) < 3:
            failures.append(image_id)
            raise errors.Unavailable(what="The database")
        return get(image_id)

    monkeypatch.setattr(lease, "RETRY_PAUSES_SECONDS", [0] * 3)
    answer, _ = send(gate, path, Input(DATA), length=len(DATA))
    assert (answer.code, len(failures)) == (204, 3)


def test_permission_is_asked_again(path, gate):
    class Input(servers.Input):
        def read(self, size=-1):
            request["imsgate.identify"] = lambda: PEOPLE["reader"]
            return super().read(size)

    send(gate, path)
    entries = {"REQUEST_METHOD": "PUT", "PATH_INFO": f"{path}/file", IDENTITY: OWNER}
    request = servers.environ(Input(DATA), length=len(DATA), **entries)
    answer = servers.serve(gate.app, request)
    assert (answer.code, answer.reason) == (403, "forbidden")
