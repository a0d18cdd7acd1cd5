"""Several stores, and stores that are full, gone or closed, under a running gateway."""

import contextlib
import os
import pathlib
import random
import subprocess
from collections.abc import Callable, Iterator

import pytest

from imsgate.stores.mark import MARK
from tests.functional.conftest import mounted
from tests.functional.gateway import Answer, Gateway, eventually, serving
from tests.functional.wire import CHUNKED, MIB, Wire, length

DATA = random.Random(10).randbytes(3 * MIB + 5)
LARGE = 64 * MIB


def to(store: str) -> dict[str, str]:
    return {"X-Image-Meta-Store": store}


# Several at once


def test_each_image_in_the_store_it_names(strict: Gateway) -> None:
    for store in ("fast", "archive", "shaky"):
        image_id = strict.create()
        assert strict.upload(image_id, DATA, headers=to(store)).status == 204
        assert strict.show(image_id)["stores"] == store
        (path,) = strict.residue(image_id)
        assert pathlib.Path(path).parent == strict.state / store
        assert pathlib.Path(path).read_bytes() == DATA
        assert strict.download(image_id).body == DATA
        assert strict.call("DELETE", f"/v2/images/{image_id}").status == 204
        assert strict.residue(image_id) == []


def test_default_store(strict: Gateway) -> None:
    assert strict.show(strict.stored(DATA))["stores"] == "fast"


def test_creation_names_the_stores(strict: Gateway) -> None:
    record = {"disk_format": "raw", "container_format": "bare"}
    answer = strict.call("POST", "/v2/images", record)
    assert answer.headers["OpenStack-image-store-ids"] == "fast,archive,shaky"


def test_list_of_stores(strict: Gateway) -> None:
    answer = strict.call("GET", "/v2/info/stores")
    assert answer.json == {
        "stores": [
            {"id": "fast", "description": "NVMe", "default": "true"},
            {"id": "archive"},
            {"id": "shaky"},
        ]
    }


def test_details_for_admins(strict: Gateway) -> None:
    assert strict.call("GET", "/v2/info/stores/detail").outcome == (403, "forbidden")
    answer = strict.call("GET", "/v2/info/stores/detail", token=strict.admin)
    fast, archive, _ = answer.json["stores"]
    assert (fast["type"], fast["weight"], archive["weight"]) == ("file", 10, 0)
    assert fast["properties"]["data_dir"] == str(strict.state / "fast")
    found = os.statvfs(strict.state)
    free = fast["properties"]["free_space"]
    assert 0 < free <= found.f_blocks * found.f_frsize


def test_first_start_has_one_store(gateway: Gateway) -> None:
    stores = gateway.call("GET", "/v2/info/stores").json["stores"]
    assert [(store["id"], store["default"]) for store in stores] == [("file", "true")]


def test_import_methods(gateway: Gateway) -> None:
    methods = gateway.call("GET", "/v2/info/import").json["import-methods"]["value"]
    assert methods == ["glance-direct", "web-download", "copy-image"]


# Gone


@contextlib.contextmanager
def away(directory: pathlib.Path) -> Iterator[None]:
    """As when the file system is not mounted."""
    hidden = directory.with_name(directory.name + "-away")
    directory.rename(hidden)
    try:
        yield
    finally:
        hidden.rename(directory)


@contextlib.contextmanager
def replaced(directory: pathlib.Path) -> Iterator[None]:
    """Something else is where the directory was."""
    with away(directory):
        directory.touch()
        try:
            yield
        finally:
            directory.unlink()


@contextlib.contextmanager
def emptied(directory: pathlib.Path) -> Iterator[None]:
    """As when a volume is not mounted: its mount point is there. Nothing may be written to it."""
    with away(directory):
        directory.mkdir()
        try:
            yield
        finally:
            directory.rmdir()


def assert_unavailable(answer: Answer, reason: str = "store_unavailable") -> None:
    assert answer.outcome == (503, reason), answer.body
    assert int(answer.headers["Retry-After"]) > 0
    assert b"/" not in answer.body.replace(b"</", b"").replace(b"/>", b"").replace(b"text/", b"")


@pytest.mark.parametrize("broken", [away, replaced, emptied])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_store_is_gone(strict: Gateway, broken: Callable[..., object], chunked: bool) -> None:
    image_id = strict.create()
    with broken(strict.state / "shaky"), Wire(strict) as wire:
        wire.put(image_id, [*(CHUNKED if chunked else length(LARGE)), *to("shaky").items()])
        answer = wire.flood(LARGE, chunked=chunked).answer()
        assert_unavailable(answer)
        assert strict.access(answer)["in"] == 0
        strict.assert_untouched(image_id)
    assert strict.upload(image_id, DATA, headers=to("shaky")).status == 204


@pytest.mark.parametrize("broken", [away, emptied])
def test_stored_data_is_gone_for_a_while(strict: Gateway, broken: Callable[..., object]) -> None:
    image_id = strict.create()
    assert strict.upload(image_id, DATA, headers=to("shaky")).status == 204
    with broken(strict.state / "shaky"):
        assert_unavailable(strict.download(image_id))
    assert strict.download(image_id).body == DATA


def test_stored_data_is_lost(strict: Gateway) -> None:
    image_id = strict.stored(DATA)
    (path,) = strict.residue(image_id)
    os.unlink(path)
    assert strict.download(image_id).outcome == (404, "not_found")
    assert strict.call("DELETE", f"/v2/images/{image_id}").status == 204


def test_stored_data_is_a_link_now(strict: Gateway, tmp_path: pathlib.Path) -> None:
    """A link planted in the store must not lead out of it."""
    image_id = strict.stored(DATA)
    (path,) = strict.residue(image_id)
    secret = tmp_path / "secret"
    secret.write_bytes(DATA)
    os.unlink(path)
    os.symlink(secret, path)
    assert strict.download(image_id).status == 404
    assert strict.call("DELETE", f"/v2/images/{image_id}").status == 204
    assert secret.exists()
    os.unlink(path)


@pytest.mark.parametrize("broken", [away, emptied])
def test_deleting_while_the_store_is_gone(strict: Gateway, broken: Callable[..., object]) -> None:
    """It is gone for clients at once; the sweep removes the data when it can."""
    image_id = strict.create()
    assert strict.upload(image_id, DATA, headers=to("shaky")).status == 204
    with broken(strict.state / "shaky"):
        assert strict.call("DELETE", f"/v2/images/{image_id}").status == 204
        assert strict.call("GET", f"/v2/images/{image_id}").status == 404
    assert strict.residue(image_id)
    strict.expire_leases()  # and sweep now; the gateway itself does so once a minute
    assert not strict.residue(image_id)


def test_a_start_without_the_volume_is_refused(tmp_path: pathlib.Path) -> None:
    config = "[file]\nfilesystem_store_datadir = {state}/volume\n"
    gateway = Gateway(tmp_path, config=config, workers=1)
    with serving(gateway):
        image_id = gateway.stored(DATA)
    with emptied(gateway.state / "volume"):
        with pytest.raises(AssertionError, match="it ended"):
            gateway.start()
        assert "[file] filesystem_store_datadir" in gateway.log_text()
        assert "is its volume mounted?" in gateway.log_text()
    with serving(gateway):
        assert gateway.download(image_id).body == DATA


# Full and closed


@pytest.fixture
def small(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A file system of 8 MiB."""
    with mounted(tmp_path / "small", "8m") as directory:
        yield directory


@pytest.fixture
def cramped(small: pathlib.Path, start: Callable[..., Gateway]) -> Iterator[Gateway]:
    """A gateway whose only store is ``small``."""
    gateway = start(f"[file]\nfilesystem_store_datadir = {small}\n")
    yield gateway
    gateway.stop()  # before its store is unmounted


def _left(directory: pathlib.Path) -> list[str]:
    return [path.name for path in directory.iterdir() if path.name != MARK]


def test_store_full_by_length(cramped: Gateway, small: pathlib.Path) -> None:
    image_id = cramped.create()
    with Wire(cramped) as wire:
        wire.put(image_id, length(LARGE)).flood(LARGE)
        answer = wire.answer()
    assert answer.outcome == (413, "store_full")
    assert cramped.access(answer)["in"] == 0
    assert cramped.status(image_id) == "queued"
    assert _left(small) == []


def test_store_full_by_announced_size(cramped: Gateway, small: pathlib.Path) -> None:
    image_id = cramped.create()
    with Wire(cramped) as wire:
        wire.put(image_id, [*CHUNKED, ("X-OpenStack-Image-Size", str(LARGE))])
        answer = wire.flood(LARGE, chunked=True).answer()
    assert answer.outcome == (413, "store_full")
    assert cramped.access(answer)["in"] == 0
    assert cramped.status(image_id) == "queued"
    assert _left(small) == []


def test_store_full_on_the_way(cramped: Gateway, small: pathlib.Path) -> None:
    image_id = cramped.create()
    with Wire(cramped) as wire:
        answer = wire.put(image_id, CHUNKED).flood(LARGE, chunked=True).answer()
    assert answer.outcome == (413, "store_full")
    assert cramped.access(answer)["in"] < 12 * MIB
    assert cramped.status(image_id) == "queued"
    assert _left(small) == []
    assert cramped.upload(image_id, iter([DATA])).status == 204
    assert cramped.download(image_id).body == DATA


def test_preallocation_settles_who_gets_the_space(cramped: Gateway, small: pathlib.Path) -> None:
    """The second of two uploads that do not both fit is refused before it sends."""
    first, second = cramped.create(), cramped.create()
    with Wire(cramped) as one, Wire(cramped) as other:
        one.put(first, length(5 * MIB)).send(bytes(MIB)).saving(first)
        eventually(lambda: _left(small), "the space is reserved")
        answer = other.put(second, length(5 * MIB)).flood(5 * MIB).answer()
        assert answer.outcome == (413, "store_full")
        assert one.send(bytes(4 * MIB)).answer().status == 204
    assert cramped.status(second) == "queued"
    assert len(_left(small)) == 1


def test_full_store_still_serves(cramped: Gateway, small: pathlib.Path) -> None:
    image_id = cramped.stored(DATA)
    filler = small / "filler"
    with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
        while file.write(bytes(1 << 16)):
            pass
    assert cramped.download(image_id).body == DATA
    details = cramped.call("GET", "/v2/info/stores/detail", token=cramped.admin).json
    assert details["stores"][0]["properties"]["free_space"] < 1 << 16
    assert cramped.call("DELETE", f"/v2/images/{image_id}").status == 204
    assert _left(small) == ["filler"]


@contextlib.contextmanager
def read_only(directory: pathlib.Path) -> Iterator[None]:
    subprocess.run(["mount", "-o", "remount,ro", directory], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", directory], check=True)


def test_store_is_read_only(cramped: Gateway, small: pathlib.Path) -> None:
    stored, image_id = cramped.stored(DATA), cramped.create()
    with read_only(small):
        with Wire(cramped) as wire:
            answer = wire.put(image_id, length(2 * MIB)).flood(2 * MIB).answer()
        assert_unavailable(answer, "store_denied")
        assert cramped.status(image_id) == "queued"
        assert cramped.download(stored).body == DATA
        assert cramped.call("DELETE", f"/v2/images/{stored}").status == 204
    assert cramped.upload(image_id, DATA).status == 204
