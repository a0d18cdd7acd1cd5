"""Glance's tables, as far as an adoption reads them, with images in a directory."""

import json
import pathlib
import shutil
import sqlite3
import uuid
from typing import Any

from imsgate import config
from imsgate.cmd import main
from imsgate.model import Image, Member
from imsgate.registry.loader import load_registry
from imsgate.stores import loader

_TIMES = "created_at DATETIME NOT NULL, updated_at DATETIME, deleted_at DATETIME"
_ROW = f"{_TIMES}, deleted BOOLEAN NOT NULL DEFAULT 0"
_CHILD = f"id INTEGER PRIMARY KEY, image_id VARCHAR(36) NOT NULL, {_ROW}"

SCHEMA = f"""
CREATE TABLE images (
    id VARCHAR(36) PRIMARY KEY, name VARCHAR(255), disk_format VARCHAR(20),
    container_format VARCHAR(20), size INTEGER, virtual_size INTEGER, status VARCHAR(30) NOT NULL,
    visibility VARCHAR(9) NOT NULL DEFAULT 'shared', checksum VARCHAR(32),
    os_hash_algo VARCHAR(64), os_hash_value VARCHAR(128), min_disk INTEGER NOT NULL DEFAULT 0,
    min_ram INTEGER NOT NULL DEFAULT 0, owner VARCHAR(255), protected BOOLEAN NOT NULL DEFAULT 0,
    os_hidden BOOLEAN NOT NULL DEFAULT 0, {_ROW});
CREATE TABLE image_properties (name VARCHAR(255) NOT NULL, value TEXT, {_CHILD});
CREATE TABLE image_tags (value VARCHAR(255) NOT NULL, {_CHILD});
CREATE TABLE image_locations (
    value TEXT NOT NULL, meta_data TEXT, status VARCHAR(30) NOT NULL DEFAULT 'active', {_CHILD});
CREATE TABLE image_members (
    member VARCHAR(255) NOT NULL, can_share BOOLEAN NOT NULL DEFAULT 0,
    status VARCHAR(20) NOT NULL DEFAULT 'pending', {_CHILD});
"""

#: When Glance created and changed an image, as SQLite stores it.
CREATED, UPDATED = "2020-01-31 23:59:58.999000", "2021-02-28 01:02:03.000004"


class GlanceTables:
    """A Glance with the store ``fast`` in a directory, and an imsgate with the same store."""

    def __init__(self, root: pathlib.Path, migrated: pathlib.Path) -> None:
        shutil.copy(migrated, root / "imsgate.sqlite")
        self.root = root
        self.images = root / "images"
        self.images.mkdir()
        self.path = root / "glance.sqlite"
        self._database = sqlite3.connect(self.path)
        self._database.executescript(SCHEMA)
        self.conf = root / "imsgate.conf"
        self.conf.write_text(
            "[DEFAULT]\nenabled_backends = other:memory, fast:file\n"
            "[glance_store]\ndefault_backend = fast\n"
            f"[fast]\nfilesystem_store_datadir = {self.images}\n"
        )
        self._where = ("--config-file", str(self.conf), "--state", str(root))

    def close(self) -> None:
        self._database.close()

    def add(self, data: bytes | None = None, **columns: Any) -> str:
        """An image with its file, if it has data; ``status`` is then active."""
        image_id = str(columns.pop("id", None) or uuid.uuid4())
        if data is not None:
            (self.images / image_id).write_bytes(data)
            columns = {"status": "active", "size": len(data), **columns}
            self.child("image_locations", image_id, value=self.url(image_id))
        row = {"id": image_id, "status": "queued", **columns}
        self._insert("images", {"created_at": CREATED, "updated_at": UPDATED, **row})
        return image_id

    def url(self, image_id: str) -> str:
        return f"file://{self.images}/{image_id}"

    def child(self, table: str, image_id: str, **columns: Any) -> None:
        self._insert(table, {"image_id": image_id, "created_at": CREATED, **columns})

    def change(self, statement: str, *values: Any) -> None:
        self._database.execute(statement, values)
        self._database.commit()

    def _insert(self, table: str, row: dict[str, Any]) -> None:
        marks = ", ".join("?" * len(row))
        self.change(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", *row.values())

    def adopt(self, *words: str) -> int:
        connection = ("--connection", f"sqlite:///{self.path}")
        return main.main(["adopt", "glance", *connection, *words, *self._where])

    def adopted(self, capsys: Any, *words: str) -> dict[str, Any]:
        """What the command says of each image, by its id."""
        capsys.readouterr()
        self.status = self.adopt("--json", *words)
        lines = capsys.readouterr().out.splitlines()
        return {each["image_id"]: each for each in map(json.loads, lines)}

    def recorded(self, image_id: str) -> tuple[Image, list[Member], list[bytes]]:
        """The record here, its members, and the data of each copy."""
        conf = config.Config([str(self.conf)], state_path=str(self.root))
        registry = load_registry(conf)
        try:
            image = registry.recall(image_id)
            members = registry.members(image_id)
        finally:
            registry.close()
        stores = loader.load(conf)
        copies = [b"".join(stores.get(c.store).read(c.url)) for c in image.locations]
        return image, members, copies
