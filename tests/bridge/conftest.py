"""A bridge in memory, in front of a strict IMS."""

import contextlib
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import webob

from imsgate.bridge import remote as image_service
from imsgate.bridge.application import Bridge
from imsgate.bridge_app import make_bridge
from imsgate.config import Config, Section
from imsgate.http.request import IDENTITY
from imsgate.model import Identity, Image
from imsgate.quotas import quota
from imsgate.registry.memory import MemoryRegistry
from imsgate.services import Services, make_services
from imsgate.stores.base import Store
from imsgate.stores.enabled import STORE_OPTS, Backend, Stores
from imsgate.stores.memory import MemoryStore
from imsgate.testing import servers
from imsgate.testing.gateways import settings
from tests.api.stack import Stack
from tests.bridge import ims as fake

CONFIG = """
[forward]
upstream = {url}
access_key = {access}
secret_key = {secret}
[bridge]
project_id = {project}
poll_interval = 0
[sizelimit]
image_size_cap = 137438953472
"""
MEMBER = Identity(user_id="u", project_id="p", roles=frozenset({"member", "reader"}))
OTHER = Identity(user_id="v", project_id="q", roles=frozenset({"member", "reader"}))

READER = Identity(user_id="w", project_id="p", roles=frozenset({"reader"}))


class BucketStore(MemoryStore):
    """A memory store whose objects have the URLs of a bucket."""

    def url(self, location: str) -> str:
        return f"s3+http://obs.example/images/{location}"

    def content(self, bucket: str, key: str) -> Any:
        return self.read(key) if (bucket, key) == ("images", key) and key in self.held() else None


class Made(Stack):
    """A bridge, and what is behind it."""

    gate: Bridge  # type: ignore[assignment]

    def __init__(self, gate: Any, services: Services, store: BucketStore) -> None:
        super().__init__(gate)
        object.__setattr__(self, "services", services)
        object.__setattr__(self, "store", store)

    services: Services
    store: BucketStore

    def put(
        self, image_id: str, data: bytes, identity: Identity = MEMBER, **headers: str
    ) -> webob.Response:
        return self.call(identity, "PUT", f"/v2/images/{image_id}/file", data, **headers)

    def send(self, image_id: str, body: servers.Input, length: int) -> servers.Answer:
        """An upload whose body does something."""
        path = f"/v2/images/{image_id}/file"
        entries = {"REQUEST_METHOD": "PUT", "PATH_INFO": path, IDENTITY: MEMBER}
        request = servers.environ(body, length=length, **entries)
        return servers.serve(self.gate, request, validated=False)

    def show(self, image_id: str) -> dict[str, Any]:
        answer = self.call(MEMBER, "GET", f"/v2/images/{image_id}")
        assert answer.status_int == 200, answer.text
        return dict(answer.json)

    def status(self, image_id: str) -> str:
        return str(self.show(image_id)["status"])

    def work(self, at_most: int = 30) -> int:
        """Run jobs until none is free; return the number of attempts."""
        for number in range(at_most):
            if not self.services.engine.run_one():
                return number
        return at_most

    def local(self, image_id: str) -> Image:
        return self.services.registry.recall(image_id)


@pytest.fixture
def store() -> BucketStore:
    return BucketStore("obs", Section(memory_store_capacity=None))


@pytest.fixture
def ims(store: BucketStore) -> Iterator[fake.Ims]:
    with fake.serving(store.content) as service:
        yield service


@pytest.fixture
def make(tmp_path: pathlib.Path, ims: fake.Ims) -> Iterator[Callable[..., Made]]:
    """Builds bridges. Neither sweeps nor jobs run by themselves."""
    with contextlib.ExitStack() as stack:

        def build(
            store: BucketStore, config: str = "", registry: Any = None, text: str = CONFIG
        ) -> Made:
            path = tmp_path / "imsgate.conf"
            path.write_text(
                text.format(
                    url=ims.url, access=fake.ACCESS, secret=fake.SECRET, project=fake.PROJECT
                )
                + config
            )
            conf = Config([str(path)], state_path=str(tmp_path))
            options = settings(STORE_OPTS)
            backend = Backend(store.name, "memory", cast(type[Store], lambda *_: store), options)
            remote = image_service.load(conf)
            stack.callback(remote.client.pool.close)
            services = make_services(
                conf,
                registry=registry or MemoryRegistry(),
                stores=Stores([backend], store.name),
                quotas=quota.configured(conf.read(quota.QuotaSettings)),
                remote=remote,
            )
            bridge = make_bridge(services, conf, remote)
            stack.callback(bridge.close)
            return Made(bridge, services, store)

        yield build


@pytest.fixture
def bridge(make: Callable[..., Made], store: BucketStore) -> Made:
    return make(store)
