"""The SQL registry on SQLite: the contract, start, outages, and the number of statements."""

import contextlib
import dataclasses
import itertools
import re
import sqlite3
import types

import pytest
import sqlalchemy as sa

from imsgate import errors
from imsgate.api.listing import SORT_KEYS
from imsgate.config import Section
from imsgate.model import Limits, Location
from imsgate.registry.base import Condition, Op, Query
from imsgate.registry.sql import SqlRegistry, candidates, database, lists, outages, schema
from imsgate.testing.records import after, image, member, upload
from imsgate.testing.registries import RegistryContract
from tests import databases


@pytest.fixture
def registry(migrated):
    with contextlib.closing(SqlRegistry(migrated)) as registry:
        yield registry


@pytest.fixture(scope="module")
def _shared(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sqlite")
    shared = databases.Shared(f"sqlite:///{directory}/imsgate.sqlite", directory)
    with contextlib.closing(shared):
        yield shared


@pytest.fixture(scope="module")
def _registry(_shared):
    with contextlib.closing(SqlRegistry(_shared.settings)) as registry:
        yield registry


class TestSqlite(RegistryContract):
    @pytest.fixture
    def registry(self, _registry, _shared):
        _shared.emptied()
        return _registry


def with_connection(settings, connection):
    return Section(**(vars(settings) | {"connection": connection}))


# Starting


def test_default_is_a_file_in_the_state_directory(settings, tmp_path):
    assert settings.connection == f"sqlite:///{tmp_path}/imsgate.sqlite"
    assert schema.is_embedded(settings)
    assert not schema.is_embedded(with_connection(settings, "postgresql://db/imsgate"))


def test_a_new_file_is_its_owners_alone(settings, tmp_path):
    tmp_path.chmod(0o755)
    schema.upgrade(settings)
    with contextlib.closing(SqlRegistry(settings)) as registry:
        registry.add(image())
        files = sorted(tmp_path.glob("imsgate.sqlite*"))
        made = [(path.name.partition(".")[2], path.stat().st_mode & 0o777) for path in files]
    assert made == [("sqlite", 0o600), ("sqlite-shm", 0o600), ("sqlite-wal", 0o600)]


@pytest.mark.parametrize(
    ("connection", "problem"),
    [
        ("", "not a SQLAlchemy URL"),
        ("user:secret@host", "not a SQLAlchemy URL"),
        ("postgresql+psycopg://u:se@secret@127.0.0.1:1/d", "write %40"),
        ("nosuch://user:secret@host/db", "no driver for 'nosuch'"),
        ("sqlite+nosuch://user:secret@host/db", "no driver for"),
        ("sqlite://user:secret@/db?sslpassword=a-secret", "Invalid SQLite URL"),
        ("sqlite://", "has no tables yet"),
        ("sqlite:////no/such/directory/db", "has no tables yet"),
        ("sqlite:////", "cannot be used: /: unable to open"),
    ],
)
def test_unusable_connection_is_refused(settings, connection, problem):
    with pytest.raises(errors.BadConfig, match=problem) as refusal:
        SqlRegistry(with_connection(settings, connection))
    assert refusal.value.key == "[database] connection"
    assert "secret" not in str(refusal.value)


def test_upgrade_names_the_connection_it_cannot_use(settings):
    with pytest.raises(errors.BadConfig, match=r"\[database\] connection: .* unable to open"):
        schema.upgrade(with_connection(settings, "sqlite:////no/such/directory/db"))


def test_new_file_that_another_process_has_just_begun_with(settings, tmp_path, monkeypatch):
    with contextlib.closing(sqlite3.connect(tmp_path / "imsgate.sqlite")) as other:
        other.execute("BEGIN EXCLUSIVE")
        # Only in this module: threads that other tests left behind may sleep.
        waits = types.SimpleNamespace(sleep=lambda seconds: other.rollback())
        monkeypatch.setattr(outages, "time", waits)
        monkeypatch.setattr(database, "_SQLITE_WAIT_SECONDS", 0)
        schema.upgrade(settings)
    SqlRegistry(settings).close()


def test_missing_database_is_refused_and_not_made(settings, tmp_path):
    with pytest.raises(errors.BadConfig, match="imsgate db upgrade"):
        SqlRegistry(settings)
    assert not (tmp_path / "imsgate.sqlite").exists()


def test_foreign_file_is_refused(settings, tmp_path):
    (tmp_path / "imsgate.sqlite").write_text("This is no database. " * 100)
    for use in (SqlRegistry, schema.upgrade):
        with pytest.raises(errors.BadConfig, match="file is not a database"):
            use(settings)


def test_newer_database_is_refused_and_left_alone(migrated):
    engine = sa.create_engine(migrated.connection)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    for use in (SqlRegistry, schema.upgrade):
        with pytest.raises(errors.BadConfig, match="newer release"):
            use(migrated)
    with engine.begin() as connection:
        version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    engine.dispose()
    assert version == "9999"


def test_half_migrated_database_is_refused(migrated):
    engine = sa.create_engine(migrated.connection)
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM alembic_version")
    engine.dispose()
    with pytest.raises(errors.BadConfig, match="imsgate db upgrade"):
        SqlRegistry(migrated)


# Running


def test_records_outlive_the_registry(migrated):
    given = image(name="kept", tags=frozenset({"x"}))
    with contextlib.closing(SqlRegistry(migrated)) as registry:
        registry.add(given)
    with contextlib.closing(SqlRegistry(migrated)) as registry:
        assert registry.get(given.id) == given


def test_outage_is_reported_without_the_path(migrated, tmp_path):
    registry = SqlRegistry(migrated)
    file = tmp_path / "imsgate.sqlite"
    file.unlink()
    file.mkdir()
    steps = [
        lambda: registry.get("id"),
        lambda: registry.add(image()),
        lambda: registry.list(Query()),
        lambda: registry.change("id", {}, name="name"),
        lambda: registry.expired(0.0),
        lambda: registry.add_member(member("id", "a")),
        lambda: registry.add_upload(upload("id")),
        lambda: registry.change_upload("id", 0, {}),
    ]
    for step in steps:
        with pytest.raises(errors.Unavailable) as outage:
            step()
        assert outage.value.status == 503
        assert str(tmp_path) not in str(outage.value)
    file.rmdir()
    schema.upgrade(migrated)
    assert registry.list(Query()) == []
    registry.close()


def test_problems_are_reported_without_secrets():
    url = sa.make_url("postgresql://user:s3cret@db/imsgate?sslpassword=0ther&sslmode=require")
    problem = OSError("user s3cret\nand 0ther may not require")
    assert database.without_secrets(url, problem) == "user *** and *** may not require"


def test_nothing_is_held_between_calls(registry, migrated):
    """Another process may lock the whole database between calls."""
    registry.add(image())
    registry.list(Query())
    engine = sa.create_engine(migrated.connection, connect_args={"timeout": 0})
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN EXCLUSIVE")
        connection.rollback()
    engine.dispose()


def test_commits_survive_a_power_failure(registry):
    with registry._database.writing() as connection:
        switches = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert switches == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


# Number of statements


@contextlib.contextmanager
def statements():
    """Collects the statements that are sent, without those that begin a transaction."""
    sent = []

    def note(connection, cursor, statement, *rest):
        if not statement.startswith("BEGIN"):
            sent.append(re.sub(r"\s+", " ", statement))

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)


def _full(number, **fields):
    return image(
        **{"owner": "me", **fields},
        created_at=after(number),
        properties={"a": "1", "b": "2", "n": str(number)},
        tags=frozenset({"x", "y"}),
        locations=(Location("fast", f"a{number}"), Location("slow", f"b{number}")),
    )


@pytest.fixture
def any_registry(any_database):
    with contextlib.closing(SqlRegistry(any_database)) as registry:
        yield registry


def test_statements_do_not_grow_with_the_records(any_registry):
    registry = any_registry
    for number in range(30):
        registry.add(_full(number))
    one = _full(31)
    known = {"status": one.status, "updated_at": one.updated_at}
    within = Limits("project", {"image_size_total": 1 << 60, "image_count_total": 1000})
    ours = _full(32, owner="project")
    registry.add(image(owner="project"), within)
    begun = upload(one.id)
    steps = {
        "create": (4, lambda: registry.add(one)),
        "show": (2, lambda: registry.get(one.id)),
        "page of 25": (2, lambda: registry.list(Query(admin=True, marker=one))),
        "lease": (3, lambda: registry.change(one.id, known, upload_expires=1.0)),
        "same": (3, lambda: registry.change(one.id, {}, properties=dict(one.properties))),
        "change": (7, lambda: registry.change(one.id, {}, properties={"c": "1"}, tags={"z"})),
        "usage": (1, lambda: registry.usage("project")),
        "create within limits": (6, lambda: registry.add(ours, within)),
        "reserve": (7, lambda: registry.change(ours.id, {}, within, upload_reserved=1)),
        "expired": (2, lambda: registry.expired(2.0)),
        "members": (1, lambda: registry.members(one.id)),
        "a project's page of 25": (2, lambda: registry.list(Query(viewer="me"))),
        "with a property": (3, lambda: registry.list(Query(viewer="me", properties={"a": "1"}))),
        "with two": (4, lambda: registry.list(Query(viewer="me", properties={"a": "1", "b": "2"}))),
        "with one that nobody has": (1, lambda: registry.list(Query(properties={"a": "9"}))),
        "begin an upload": (4, lambda: registry.add_upload(begun, {}, upload_key="k")),
        "show an upload": (1, lambda: registry.get_upload(begun.id)),
        "an image's upload": (1, lambda: registry.upload_of(one.id)),
        "take over": (2, lambda: registry.change_upload(begun.id, 0, {"epoch": 1})),
        "offset": (5, lambda: registry.change_upload(begun.id, 1, {"offset": 9}, {}, name="n")),
        "forget uploads": (1, lambda: registry.forget_uploads(begun.expires + 1)),
    }
    for name, (expected, step) in steps.items():
        with statements() as sent:
            step()
        assert len(sent) == expected, (name, sent)


#: The index that has images in the order of a sort key.
_ORDERED_BY = {
    "created_at": "ix_images_alive_created_at_id",
    "id": "ix_images_alive_id",
    **{
        key: f"ix_images_alive_{key}_created_at_id"
        for key in ("name", "updated_at", "status", "size", "disk_format", "container_format")
    },
}


_MARKER = image(name="m", size=1, disk_format="raw", container_format="bare")


@pytest.mark.parametrize("key", SORT_KEYS)
@pytest.mark.parametrize("down", [False, True], ids=["up", "down"])
@pytest.mark.parametrize("marker", [None, _MARKER], ids=["first", "later"])
def test_page_is_read_from_an_index_in_order(registry, key, down, marker):
    query, index = Query(admin=True, sort=[(key, down)]), _ORDERED_BY[key]
    page = lists.page(dataclasses.replace(query, marker=marker), nulls_are_largest=False)
    steps = _plan(registry, page)
    searches = [step for step in steps if "images" in step]
    assert searches
    assert all(f"INDEX {index} (alive=?" in step for step in searches), steps
    # What may be sorted is a pageful of each range of the index.
    for before, step in itertools.pairwise(steps):
        assert "TEMP B-TREE" not in step or before.startswith("SCAN anon_"), steps


def _plan(registry, select):
    with registry._database.reading() as connection:
        rendering = {"literal_binds": True, "render_postcompile": True}
        text = select.compile(connection, compile_kwargs=rendering)
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}").mappings().all()
    return [row["detail"] for row in plan]


@pytest.mark.parametrize(
    "condition",
    [
        Condition("name", Op.EQ, "a"),
        Condition("status", Op.EQ, "queued"),
        Condition("size", Op.EQ, 1),
        Condition("size", Op.GTE, 1),
        Condition("virtual_size", Op.LTE, 1),
        Condition("disk_format", Op.EQ, "iso"),
        Condition("disk_format", Op.IN, ("iso", "udf")),
        Condition("container_format", Op.EQ, "ova"),
        Condition("min_disk", Op.GTE, 1),
        Condition("min_ram", Op.EQ, 1),
        Condition("checksum", Op.EQ, "0" * 32),
        Condition("os_hash_value", Op.EQ, "0" * 128),
        Condition("protected", Op.EQ, True),
        Condition("os_hidden", Op.EQ, True),
    ],
    ids=str,
)
def test_images_with_an_attribute_are_found_by_its_index(registry, condition):
    """SQLite preferred an index in the order of the page, and read every image."""
    query = Query(admin=True, conditions=[condition, Condition("os_hidden", Op.EQ, False)])
    (attribute,) = candidates.wanted(query)[:1]
    for select in (candidates.counting([attribute]), candidates.matching(attribute, [attribute])):
        steps = [step for step in _plan(registry, select) if "images" in step]
        assert steps
        for step in steps:
            assert f"COVERING INDEX ix_images_alive_{condition.field}_" in step
            assert f"alive=? AND {condition.field}" in step


def test_page_that_is_long_enough_reads_no_further_properties(any_registry):
    for number in range(250):
        any_registry.add(_full(number))
    asked = []

    def is_enough(images):
        asked.append(len(images))
        assert all(one.properties for one in images)
        return len(images) >= 150

    with statements() as sent:
        images = any_registry.list(Query(viewer="me", limit=1000), is_enough)
    assert asked == [100, 200]
    assert images == any_registry.list(Query(viewer="me", limit=200))
    assert len(sent) == 3
