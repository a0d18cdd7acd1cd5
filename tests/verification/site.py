"""A gateway with three stores of files and SQLite, whose copies can be spoilt by hand."""

import dataclasses
import hashlib
import json
import pathlib
from typing import Any

import webob

from imsgate import model
from imsgate.http.request import IDENTITY
from imsgate.model import Identity, Image, Location, Status
from imsgate.registry.base import Registry
from imsgate.stores.filesystem import FilesystemStore
from imsgate.testing import records
from imsgate.testing.gateways import Gateway, gateway, settings
from imsgate.verification.checking import CheckResult, Verifier

STORES = ("one", "two", "three")
DATA = hashlib.shake_128(b"image").digest(400_000)
DIGESTS: dict[str, Any] = {
    "size": len(DATA),
    "checksum": hashlib.md5(DATA).hexdigest(),
    "os_hash_algo": "sha512",
    "os_hash_value": hashlib.sha512(DATA).hexdigest(),
}
OWNER = Identity(user_id="u", project_id="p", roles=frozenset({"member", "reader"}))
ADMIN = Identity(user_id="a", project_id="a", roles=frozenset({"admin", "member", "reader"}))


@dataclasses.dataclass(frozen=True)
class Site:
    directory: pathlib.Path
    registry: Registry
    gate: Gateway

    @classmethod
    def new(cls, directory: pathlib.Path, registry: Registry, **further: Any) -> "Site":
        def store(name: str) -> FilesystemStore:
            options = settings(FilesystemStore.OPTS, filesystem_store_datadir=str(directory / name))
            made = FilesystemStore(name, options)
            made.mark()
            return made

        stores = [store(name) for name in STORES]
        return cls(directory, registry, gateway(registry=registry, stores=stores, further=further))

    def image(self, *stores: str, **fields: Any) -> Image:
        """An active image with a copy in each of these stores."""
        now = model.now()
        record = records.image(
            owner="p",
            status=Status.ACTIVE,
            disk_format="raw",
            container_format="bare",
            created_at=now,
            updated_at=now,
            **{**DIGESTS, **fields},
        )
        places = tuple(Location(name, f"{record.id}.1") for name in stores)
        for place in places:
            with self.gate.stores.get(place.store).create(place.url, len(DATA)) as sink:
                sink.write(DATA)
                sink.commit()
        record = dataclasses.replace(record, locations=places)
        self.registry.add(record)
        return record

    def file(self, image: Image, store: str) -> pathlib.Path:
        """The file of the image's copy in a store."""
        current = self.registry.recall(image.id)
        (place,) = (each for each in current.locations if each.store == store)
        return self.directory / store / place.url

    def spoil(self, image: Image, store: str) -> None:
        """Flip one bit of a copy."""
        file = self.file(image, store)
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)

    def take_away(self, store: str) -> None:
        """The volume is not mounted."""
        (self.directory / store).rename(self.directory / f"{store} away")
        (self.directory / store).mkdir()

    def bring_back(self, store: str) -> None:
        (self.directory / store).rmdir()
        (self.directory / f"{store} away").rename(self.directory / store)

    def verifier(self, **options: Any) -> Verifier:
        return Verifier(self.registry, self.gate.stores, **options)

    def verify(self, image: Image, **options: Any) -> list[CheckResult]:
        """The results of all copies of an image, in their order."""
        places = [(image.id, place) for place in image.locations]
        return list(self.verifier(**options).verify(places))

    def damage(self, image: Image) -> dict[str, str | None]:
        """What is recorded of each copy, by store."""
        return {each.store: each.damage for each in self.registry.get(image.id).locations}

    def call(self, who: Identity, method: str, path: str, body: Any = None) -> webob.Response:
        request = webob.Request.blank(path, method=method)
        request.environ[IDENTITY] = who
        if body is not None:
            request.body, request.content_type = json.dumps(body).encode(), "application/json"
        return request.get_response(self.gate.app)

    def download(self, image: Image, method: str = "GET") -> webob.Response:
        return self.call(OWNER, method, f"/v2/images/{image.id}/file")
