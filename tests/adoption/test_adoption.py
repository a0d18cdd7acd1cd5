"""``imsgate adopt glance``: what is taken, what is left and why, and that it may be repeated."""

import contextlib
import datetime
import sqlite3
import uuid

import pytest

from imsgate.adoption.glance_database import PAGE_IMAGES
from imsgate.cmd import main
from imsgate.errors import NotFound
from imsgate.model import Image, Location, Member, MemberStatus, Status, Visibility
from imsgate.registry.sql import SqlRegistry
from tests.adoption.tables import CREATED, UPDATED


def moment(text):
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)


def test_everything_of_an_image_is_taken(glance, capsys):
    columns = {
        "name": "Ünï 🐧",
        "owner": "p1",
        "disk_format": "qcow2",
        "container_format": "bare",
        "virtual_size": 2**40,
        "checksum": "0" * 32,
        "os_hash_algo": "sha512",
        "os_hash_value": "f" * 128,
        "min_disk": 3,
        "min_ram": 512,
        "protected": True,
        "os_hidden": True,
    }
    image_id = glance.add(b"data", visibility="community", **columns)
    for name, value in {"hw_a": "1", "empty": None, "os_glance_importing_to_stores": "x"}.items():
        glance.child("image_properties", image_id, name=name, value=value)
    glance.child("image_properties", image_id, name="gone", value="1", deleted=True)
    for tag in ("a", "b"):
        glance.child("image_tags", image_id, value=tag)
    glance.child("image_tags", image_id, value="gone", deleted=True)
    glance.child("image_locations", image_id, value="s3://gone", deleted=True, status="deleted")
    glance.child("image_members", image_id, member="m1", status="accepted", updated_at=UPDATED)
    glance.child("image_members", image_id, member="m2", updated_at=None)
    glance.child("image_members", image_id, member="m3", deleted=True)

    assert glance.adopted(capsys, "--apply")[image_id]["outcome"] == "take"
    image, members, copies = glance.recorded(image_id)
    assert image == Image(
        **{**columns, "id": image_id, "size": 4, "status": Status.ACTIVE},
        visibility=Visibility.COMMUNITY,
        created_at=moment(CREATED),
        updated_at=moment(UPDATED),
        properties={"hw_a": "1", "empty": ""},
        tags=frozenset({"a", "b"}),
        locations=(Location("fast", image_id),),
    )
    accepted = {"status": MemberStatus.ACCEPTED, "updated_at": moment(UPDATED)}
    assert members == [
        Member(image_id=image_id, member_id="m1", created_at=moment(CREATED), **accepted),
        Member(
            image_id=image_id,
            member_id="m2",
            created_at=moment(CREATED),
            updated_at=moment(CREATED),
        ),
    ]
    assert copies == [b"data"]
    assert glance.status == 0


def test_nothing_is_recorded_without_apply(glance, capsys):
    image_id = glance.add(b"data", name="disk")
    glance.add(deleted=True, status="deleted")
    before = glance.path.read_bytes()
    assert glance.adopt() == 0
    assert capsys.readouterr().out.endswith(
        f"take    {image_id}  active in fast  disk\n"
        "1 can be taken\n1 are deleted and can be reserved\n"
        "Nothing was recorded. Repeat this with --apply.\n"
    )
    with pytest.raises(NotFound):
        glance.recorded(image_id)
    glance.adopt("--apply")
    assert glance.path.read_bytes() == before


#: Columns of an image without data, and why it is not taken; "" if it is.
STATUSES = {
    "queued": "",
    "saving": "is coming in",
    "uploading": "is being staged",
    "importing": "is being imported",
    "killed": "its upload failed",
    "pending_delete": "glance-scrubber",
    "new": "'new' is unknown",
    "active": "no location",
}


@pytest.mark.parametrize(("status", "reason"), STATUSES.items())
def test_status(glance, capsys, status, reason):
    image_id = glance.add(status=status)
    said = glance.adopted(capsys, "--apply")[image_id]
    assert (said["outcome"], glance.status) == (("leave", 1) if reason else ("take", 0))
    assert reason in "".join(said["problems"])
    if reason:
        with pytest.raises(NotFound):
            glance.recorded(image_id)


def test_a_deactivated_image_stays_deactivated(glance, capsys):
    image_id = glance.add(b"data", status="deactivated")
    glance.adopted(capsys, "--apply")
    image, _, copies = glance.recorded(image_id)
    assert (image.status, copies) == (Status.DEACTIVATED, [b"data"])


def test_ids_of_deleted_images_are_never_used_again(glance, capsys):
    image_id = glance.add(
        status="deleted", deleted=True, owner="p", name="n", deleted_at="2022-01-01 00:00:00"
    )
    glance.child("image_members", image_id, member="m")
    assert glance.adopted(capsys, "--apply")[image_id]["outcome"] == "reserve"
    image, members, _ = glance.recorded(image_id)
    assert (image.status, image.owner, image.name) == (Status.DELETED, "p", None)
    assert (members, image.updated_at.year) == ([], 2022)
    assert glance.adopted(capsys, "--apply")[image_id]["outcome"] == "present"


def test_an_id_in_upper_case_is_found_by_that(glance, capsys):
    given = str(uuid.uuid4()).upper()
    glance.add(b"data", id=given)
    assert glance.adopted(capsys, "--apply")[given]["outcome"] == "take"
    image, _, copies = glance.recorded(given.lower())
    assert (image.shown_id, copies) == (given, [b"data"])


SECRET = "k/y+:"
#: The URL of a copy in place of the right one, and what is said of it. {} is the right URL.
COPIES = {
    "{}x": "store fast has no object",
    "s3+https://ab:k/y+:@s3.example/b/k": "no store that is enabled here has s3+https://s3.example/b/k",
    "file:///elsewhere/k": "no store that is enabled here has file:///elsewhere/k",
    "Zm9vYmFyYmF6Cg==": "encrypted",
}


@pytest.mark.parametrize(("url", "problem"), COPIES.items())
@pytest.mark.parametrize("others", [0, 1])
def test_a_copy_that_is_not_here(glance, capsys, url, problem, others):
    """Without another copy, the image is left."""
    image_id = glance.add(b"data")
    wrong = url.format(glance.url(image_id))
    if others:
        glance.child("image_locations", image_id, value=wrong, meta_data='{"store": "slow"}')
    else:
        glance.change("UPDATE image_locations SET value = ?", wrong)
    said = glance.adopted(capsys, "--apply")[image_id]
    text = " ".join(said["problems"])
    assert problem in text
    assert SECRET not in text
    if others:
        assert ("'slow'" in text) == problem.startswith("no store")
    else:
        assert "none of its copies can be taken" in text
    assert (said["outcome"], said["stores"]) == (("take", ["fast"]) if others else ("leave", []))


def test_a_copy_of_another_size_or_without_permission_is_not_taken(glance, capsys, monkeypatch):
    larger, linked = glance.add(b"data"), glance.add(b"data")
    glance.change("UPDATE images SET size = 5 WHERE id = ?", larger)
    (glance.images / linked).unlink()
    (glance.images / linked).symlink_to(glance.path)
    said = glance.adopted(capsys)
    assert "has 4 bytes instead of 5" in said[larger]["problems"][1]
    assert "has no object" in said[linked]["problems"][1]


def test_two_images_with_one_location(glance, capsys):
    first, second = sorted(glance.add(b"data") for _ in range(2))
    glance.change("UPDATE image_locations SET value = ?", glance.url(first))
    for words in ((), ("--apply",)):
        said = glance.adopted(capsys, *words)
        assert [said[first]["outcome"], said[second]["outcome"]] == ["take", "leave"], words
        assert "another image has its location" in said[second]["problems"]


def test_the_same_directory_under_another_name(glance, capsys):
    (glance.root / "var").symlink_to(glance.images)
    image_id = glance.add(b"data")
    glance.change("UPDATE image_locations SET value = ?", f"file://{glance.root}/var/{image_id}")
    glance.adopted(capsys, "--apply")
    assert glance.recorded(image_id)[2] == [b"data"]


def test_reserved_properties_are_listed(glance, capsys):
    image_id = glance.add()
    for name in ("owner", "fine"):
        glance.child("image_properties", image_id, name=name, value="v")
    assert "properties owner" in glance.adopted(capsys, "--apply")[image_id]["problems"][0]
    assert glance.recorded(image_id)[0].properties == {"fine": "v"}


def test_it_may_be_repeated(glance, capsys):
    old = glance.add(b"old")
    glance.child("image_members", old, member="m1")
    glance.adopted(capsys, "--apply")
    new = glance.add(b"new")
    said = glance.adopted(capsys, "--apply")
    assert {key: each["outcome"] for key, each in said.items()} == {old: "present", new: "take"}
    glance.change("UPDATE images SET name = 'other' WHERE id = ?", old)
    glance.child("image_members", old, member="m2")
    glance.change("UPDATE images SET deleted = 1 WHERE id = ?", new)
    said = glance.adopted(capsys, "--apply")
    assert said[old]["problems"] == ["other here than in Glance: name, members"]
    assert said[new]["problems"] == ["it is deleted in Glance"]
    assert glance.status == 1
    assert glance.recorded(old)[0].name is None


def test_an_interrupted_adoption_is_completed(glance, capsys, monkeypatch):
    """An image and its members are one step."""
    ids = [glance.add(b"data") for _ in range(3)]
    for image_id in ids:
        glance.child("image_members", image_id, member="m")
    add, added = SqlRegistry.add, []

    def dying(self, image, *args, **kwargs):
        if added:
            raise KeyboardInterrupt
        added.append(add(self, image, *args, **kwargs))

    with monkeypatch.context() as patch:
        patch.setattr(SqlRegistry, "add", dying)
        with pytest.raises(KeyboardInterrupt):
            glance.adopt("--apply")
    outcomes = sorted(each["outcome"] for each in glance.adopted(capsys, "--apply").values())
    assert outcomes == ["present", "take", "take"]
    assert all(len(glance.recorded(image_id)[1]) == 1 for image_id in ids)


def test_images_are_read_page_by_page(glance, capsys):
    count = PAGE_IMAGES + 1
    ids = [(str(uuid.uuid4()), CREATED) for _ in range(count)]
    with contextlib.closing(sqlite3.connect(glance.path)) as database, database:
        insert = "INSERT INTO images (id, status, created_at) VALUES (?, 'queued', ?)"
        database.executemany(insert, ids)
    assert len(glance.adopted(capsys)) == count


#: Arguments and what is said of them.
WRONG = {
    "--connection nonsense": "not a SQLAlchemy URL",
    "--connection sqlite:///{}/none": "there is no file",
    "--connection sqlite:///{}/imsgate.sqlite": "not the database of Glance 17 or later",
    "--connection mysql+pymysql://u:{secret}@127.0.0.1:1/glance": "Can't connect",
    "--connection bogus://u:{secret}@h/glance": "no driver for 'bogus'",
    "--glance-config {}/none": "--glance-config",
    "--glance-config {}/imsgate.conf": "has no [database] connection",
}


@pytest.mark.parametrize("case", WRONG)
def test_a_database_that_cannot_be_read(glance, capsys, case):
    words = case.format(glance.root, secret="s3cr3t").split()
    where = ("--config-file", str(glance.conf), "--state", str(glance.root))
    assert main.main(["adopt", "glance", *words, *where]) == 2
    error = capsys.readouterr().err
    assert WRONG[case] in error
    assert "s3cr3t" not in error
    assert not (glance.root / "none").exists()


def test_the_connection_of_a_glance_api_conf(glance, capsys):
    image_id = glance.add(b"data")
    path = glance.root / "glance-api.conf"
    path.write_text(f"[database]\nconnection = sqlite:///{glance.path}\n")
    where = ("--config-file", str(glance.conf), "--state", str(glance.root))
    assert main.main(["adopt", "glance", "--glance-config", str(path), *where]) == 0
    assert image_id in capsys.readouterr().out
