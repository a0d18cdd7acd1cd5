import contextlib
import dataclasses

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from setuptools import find_packages

from imsgate.errors import LocationTaken
from imsgate.model import Location, Status
from imsgate.registry import sql
from imsgate.registry.base import Query
from imsgate.registry.sql import migrations, rows, schema
from imsgate.registry.sql.database import Database, DatabaseSettings
from imsgate.registry.sql.tables import (
    IMAGES,
    JOBS,
    LOCATIONS,
    MEMBERS,
    METADATA,
    PROPERTIES,
    TAGS,
    UPLOADS,
    property_pair,
)
from imsgate.testing.records import image, job, member, upload

_REVISIONS = sorted(
    one.revision for one in ScriptDirectory.from_config(migrations.config()).walk_revisions()
)


@contextlib.contextmanager
def _writing(settings):
    database = Database(DatabaseSettings.of(settings))
    with contextlib.closing(database), database.writing() as connection:
        yield connection


def test_revisions_build_what_is_made_at_once(unmade):
    with _writing(unmade) as connection:
        migrations.create(connection)
        assert migrations.state(connection) is migrations.State.CURRENT
        made = _described(connection)
        METADATA.drop_all(connection)
        connection.execute(sa.text("DROP TABLE alembic_version"))
        assert migrations.state(connection) is migrations.State.UNMADE

        migrations.upgrade(connection)
        assert migrations.state(connection) is migrations.State.CURRENT
        assert _described(connection) == made
        options = {"compare_type": True, "compare_server_default": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, METADATA) == []


def _described(connection):
    """All tables, independent of the order of their parts, and the applied revision."""
    there = sa.inspect(connection)
    tables = {
        name: (
            {one["name"]: _column(one, connection.dialect) for one in there.get_columns(name)},
            there.get_pk_constraint(name),
            {one["name"]: one for one in there.get_foreign_keys(name)},
            {one["name"]: one for one in there.get_indexes(name)},
            {one["name"]: one for one in there.get_unique_constraints(name)},
        )
        for name in there.get_table_names()
    }
    return tables, MigrationContext.configure(connection).get_current_heads()


def _column(column, dialect):
    return column | {"type": column["type"].compile(dialect)}


def test_upgrade_may_be_repeated(unmade):
    for _ in range(2):
        schema.upgrade(unmade)
        sql.SqlRegistry(unmade).close()


_KEPT = image(
    owner="me",
    name="Ünï 🐧",
    status=Status.ACTIVE,
    size=2**40,
    properties={"Key": "upper", "key": "lower"},
    tags=frozenset({"t", "T"}),
    locations=(Location("fast", "a"), Location("slow", "b")),
)
_DELETED = image(owner="me", status=Status.DELETED)
_MEMBER = member(_KEPT.id, "you")
_JOB = job(_KEPT.id, project="me", arguments={"stores": ["ü"]})
_UPLOAD = upload(_KEPT.id, user="ü", length=2**40)


def _filled(connection):
    """Insert rows into each existing table, with the existing columns only."""
    contents = [
        (IMAGES, [rows.columns(_fields(one)) for one in (_KEPT, _DELETED)]),
        (PROPERTIES, [_property(name) for name in ("Key", "key")]),
        (TAGS, [{"tag": tag} for tag in _KEPT.tags]),
        (LOCATIONS, [{"position": n, "store": s, "url": u} for n, s, u in _places()]),
        (MEMBERS, [_fields(_MEMBER)]),
        (JOBS, [_fields(_JOB)]),
        (UPLOADS, [_fields(_UPLOAD)]),
    ]
    for table, records in contents:
        if sa.inspect(connection).has_table(table.name):
            _insert(connection, table, [{"image_id": _KEPT.id} | record for record in records])


def _insert(connection, table, records):
    """Insert rows, with the existing columns only."""
    known = {column["name"] for column in sa.inspect(connection).get_columns(table.name)}
    kept = [{name: one[name] for name in one if name in known} for one in records]
    connection.execute(sa.insert(table), kept)


def _property(name):
    value = _KEPT.properties[name]
    return {"name": name, "value": value, "pair": property_pair(name, value)}


def _fields(record):
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


def _places():
    return [(n, place.store, place.url) for n, place in enumerate(_KEPT.locations)]


@pytest.mark.parametrize("revision", _REVISIONS)
def test_upgrade_keeps_what_there_is(unmade, revision):
    with _writing(unmade) as connection:
        settings = migrations.config()
        settings.attributes["connection"] = connection
        command.upgrade(settings, revision)
        _filled(connection)
        there = sa.inspect(connection)
        had_jobs, had_uploads = (there.has_table(table.name) for table in (JOBS, UPLOADS))
    schema.upgrade(unmade)
    with contextlib.closing(sql.SqlRegistry(unmade)) as registry:
        assert registry.get(_KEPT.id) == _KEPT
        assert registry.list(Query(viewer="me")) == [_KEPT]
        for name, value in _KEPT.properties.items():
            assert registry.list(Query(viewer="me", properties={name: value})) == [_KEPT]
        assert registry.list(Query(viewer="me", tags=frozenset({"T"}))) == [_KEPT]
        assert registry.members(_KEPT.id) == [_MEMBER]
        assert registry.change(_DELETED.id, {}) == _DELETED
        assert registry.jobs_of(_KEPT.id) == ([_JOB] if had_jobs else [])
        assert registry.upload_of(_KEPT.id) == (_UPLOAD if had_uploads else None)


def test_images_that_share_a_place_stay_as_they_are(unmade):
    shared = Location("fast", "shared")
    own = [[Location("fast", f"{number} {name}") for number in range(700)] for name in "abc"]
    images = [image(locations=(*places, shared)) for places in own]
    with _writing(unmade) as connection:
        settings = migrations.config()
        settings.attributes["connection"] = connection
        command.upgrade(settings, "0004")
        for one in images:
            _insert(connection, IMAGES, [rows.columns(_fields(one))])
            places = [
                {"image_id": one.id, "position": position, "store": place.store, "url": place.url}
                for position, place in enumerate(one.locations)
            ]
            connection.execute(sa.insert(LOCATIONS), places)
    schema.upgrade(unmade)
    with contextlib.closing(sql.SqlRegistry(unmade)) as registry:
        assert [registry.get(one.id) for one in images] == images
        for place in (shared, *(place for places in own for place in places[::233])):
            assert registry.holds(place)
            with pytest.raises(LocationTaken):
                registry.add(image(locations=(place,)))


def test_revisions_are_shipped():
    assert "imsgate.registry.sql.migrations.versions" in find_packages(include=["imsgate*"])


def test_files_are_named_by_their_revisions_in_order():
    script = ScriptDirectory.from_config(migrations.config())
    history = [revision.revision for revision in script.walk_revisions()]
    assert migrations.revisions() == history[::-1]
