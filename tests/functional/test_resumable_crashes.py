"""Resumable uploads whose server is killed at any moment, and that go on at another one.

The two share a database and a store, and nothing else.
"""

import contextlib
import dataclasses
import os
import pathlib
import random
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from imsgate.registry.sql import schema
from imsgate.stores.mark import MARK
from tests.databases import Server, settings
from tests.functional.gateway import Answer, Gateway, eventually, serving
from tests.functional.partial import Part, append, ask, is_complete, offset_of
from tests.functional.wire import MIB, Wire, length
from tests.stores.s3 import servers

#: More can be asked for: the moments are random.
KILLS = int(os.environ.get("IMSGATE_TEST_KILLS", "5"))
KILLS_PER_IMAGE = 4
SEED = 20
DATA = random.Random(SEED).randbytes(8 * MIB + 5)
BLOCK = 1 << 14

CONFIG = """
[DEFAULT]
enabled_backends = shared:{kind}

[glance_store]
default_backend = shared

[shared]
{options}

[database]
connection = {url}

[jobs]
poll = 0.2
"""
#: Parts are small, so that small images have several.
S3 = """
s3_store_host = %s
s3_store_access_key = %s
s3_store_secret_key = %s
s3_store_bucket = %s
s3_store_bucket_url_format = path
s3_store_large_object_size = 1
s3_store_large_object_chunk_size = 5
"""


class Files:
    """A directory of images."""

    kind = "file"

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory
        directory.mkdir()

    @property
    def options(self) -> str:
        return f"filesystem_store_datadir = {self._directory}"

    def held(self) -> list[str]:
        """Everything in the store, of unfinished uploads, too."""
        paths = self._directory.rglob("*")
        return [str(path) for path in paths if path.is_file() and path.name != MARK]


class Objects:
    """A bucket of images."""

    kind = "s3"

    def __init__(self, bucket: servers.Bucket) -> None:
        self._bucket = bucket
        bucket.empty()

    @property
    def options(self) -> str:
        bucket = self._bucket
        return S3 % (bucket.server.url, servers.ACCESS, servers.SECRET, bucket.name)

    def held(self) -> list[str]:
        return [str(left) for left in self._bucket.leftovers() if left != MARK]


@dataclasses.dataclass(frozen=True)
class Site:
    """Two gateways with one database and one store of images."""

    url: str
    store: Files | Objects
    gateways: tuple[Gateway, Gateway]

    def expire_jobs(self) -> None:
        """A job of the killed gateway need not wait for its lease to run out."""
        engine = sa.create_engine(self.url, poolclass=sa.NullPool)
        with engine.begin() as connection:
            connection.exec_driver_sql("UPDATE jobs SET lease = 1 WHERE lease > 1")
        engine.dispose()


@pytest.fixture
def site_of(
    postgresql_server: Server, tmp_path: pathlib.Path
) -> Iterator[Callable[[Files | Objects], Site]]:
    """Start a site with this store."""
    url = postgresql_server.create()
    schema.upgrade(settings(url, tmp_path))
    with contextlib.ExitStack() as started, ThreadPoolExecutor() as both:

        def make(store: Files | Objects) -> Site:
            config = CONFIG.format(url=url, kind=store.kind, options=store.options)
            gateways = []
            for name in "ab":
                (tmp_path / name).mkdir()
                gateways.append(Gateway(tmp_path / name, config=config, workers=1))
            a, b = both.map(lambda one: started.enter_context(serving(one)), gateways)
            return Site(url, store, (a, b))

        yield make


class Client:
    """Uploads DATA to one image, while its server is killed."""

    def __init__(self, site: Site, rng: random.Random, pool: ThreadPoolExecutor) -> None:
        self._site = site
        self._rng = rng
        self._pool = pool
        self._at, self._other = site.gateways
        self._restarts: dict[Gateway, Future[Gateway]] = {}
        self.image_id = self._at.create()
        self._begun = False
        #: What a server has told: it must not go back on that.
        self._offset = 0
        self._complete = False

    def upload(self, kills: int) -> None:
        for _ in range(kills):
            self._kill_amid(self._next_part())
        self._finish()
        for restart in self._restarts.values():
            restart.result()

    def _next_part(self) -> Part:
        """Often a small one, so that many requests are needed; at times the rest."""
        rest = len(DATA) - self._offset
        size = self._rng.choice((self._rng.randint(0, rest), rest // 3, rest))
        end = self._offset + size
        complete = end == len(DATA)
        return Part(self.image_id, self._offset, end, not self._begun, complete)

    def _kill_amid(self, part: Part) -> None:
        """Kill the server while it receives a part, and ask the other one what has arrived."""
        answer = None if self._complete else self._send_and_kill(part)
        if self._complete:
            self._at.kill()
        self._restarts[self._at] = self._pool.submit(self._at.start)
        self._site.expire_jobs()
        self._at, self._other = self._other, self._at
        if self._at in self._restarts:
            self._restarts[self._at].result()
        if answer is not None:
            assert answer.status in (201, 202, 204), answer.body
            self._begun = True
            self._note(offset_of(answer), part.end, is_complete(answer))
        self._ask(part.end)

    def _send_and_kill(self, part: Part) -> Answer | None:
        """The response, if there was one before the server died.

        It dies after a random number of bytes; if they are all, after some milliseconds at most.
        """
        size = part.end - part.start
        last = self._rng.choice((self._rng.randint(0, size), size))
        patience = self._rng.uniform(0, 0.05)
        fields = {**part.headers, "X-Auth-Token": self._at.token()}
        with Wire(self._at) as wire:
            wire.head(part.method, part.path, [*fields.items(), *length(size)])
            for start in range(part.start, part.start + last, BLOCK):
                wire.send(DATA[start : min(start + BLOCK, part.start + last)])
            answered = wire.answered(patience)
            self._at.kill()
            if not answered:
                return None
            with contextlib.suppress(ConnectionError):
                return wire.answer(part.method)
        return None

    def _ask(self, most: int) -> None:
        answer = ask(self._at, self.image_id)
        if not self._begun and answer.status == 404:
            return
        assert answer.status == 204, answer.headers
        self._begun = True
        self._note(offset_of(answer), most, is_complete(answer))

    def _note(self, offset: int, most: int, complete: bool) -> None:
        assert self._offset <= offset <= most
        assert complete or not self._complete
        self._offset, self._complete = offset, complete

    def _finish(self) -> None:
        if not self._complete:
            rest = DATA[self._offset :]
            if self._begun:
                answer = append(self._at, self.image_id, self._offset, rest, complete=True)
            else:
                answer = self._at.upload(self.image_id, rest, headers={"Upload-Complete": "?1"})
            assert answer.status in (202, 204), answer.body
        eventually(lambda: self._at.status(self.image_id) == "active", "it is verified")


def assert_survives(site: Site) -> None:
    """The offset that a server tells never goes down, what lies before it is whole, and only the
    object is left."""
    rng = random.Random(SEED)
    with ThreadPoolExecutor() as pool:
        for _ in range(0, KILLS, KILLS_PER_IMAGE):
            client = Client(site, rng, pool)
            client.upload(KILLS_PER_IMAGE)
            eventually(lambda: len(site.store.held()) == 1, "only the object is left")
            assert site.gateways[0].download(client.image_id).body == DATA
            path = f"/v2/images/{client.image_id}"
            assert site.gateways[0].call("DELETE", path).status == 204
            eventually(lambda: site.store.held() == [], "nothing is left")


def test_files_survive_the_death_of_a_server(
    site_of: Callable[[Files], Site], tmp_path: pathlib.Path
) -> None:
    assert_survives(site_of(Files(tmp_path / "shared")))


def test_objects_survive_the_death_of_a_server(
    site_of: Callable[[Objects], Site], bucket: servers.Bucket
) -> None:
    assert_survives(site_of(Objects(bucket)))
