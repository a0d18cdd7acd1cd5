"""SIGHUP: a running gateway takes up new values, and nobody who is using it notices."""

import os
import re
import signal
from collections.abc import Callable, Iterator

import pytest

from tests.functional.gateway import Gateway, eventually, serving
from tests.functional.importing import Worker
from tests.functional.wire import Wire

MIB = 1 << 20
PUT = ["[jobs]", "threads = 0", "[sizelimit]"]

AGAIN = "INFO imsgate.server.reloading [-] The configuration files have been read again"
INVALID = "ERROR imsgate.server.reloading [-] The configuration is invalid; the former values "


def config(*lines: str) -> str:
    return "\n".join([*PUT, *lines, ""])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = Gateway(tmp_path_factory.mktemp("reload"), config=config(), workers=2, threads=8)
    with serving(made) as started:
        yield started


@pytest.fixture
def gateway(shared: Gateway) -> Gateway:
    """Images of up to 4 MiB are accepted."""
    reload(shared, config(f"image_size_cap = {4 * MIB}"), AGAIN)
    return shared


def processes(log: str, line: str) -> set[int]:
    """The processes that have logged ``line`` or more."""
    return {int(pid) for pid in re.findall(rf"\.\d+ (\d+) {re.escape(line)}", log)}


def reload(gateway: Gateway, text: str, line: str) -> str:
    """Change the file, and send SIGHUP. Returns what all workers have logged until ``line``."""
    assert gateway.process is not None
    began = len(gateway.log_text())
    workers = set(gateway.pids()) - {gateway.process.pid}
    gateway.config.write_text(text)
    gateway.process.send_signal(signal.SIGHUP)

    def said() -> str:
        return gateway.log_text()[began:]

    eventually(lambda: processes(said(), line) == workers, f"both workers say: {line}")
    return said()


def test_a_running_gateway_takes_up_new_values(gateway: Gateway) -> None:
    pids = gateway.pids()
    running, other = gateway.create(), gateway.create()
    with Wire(gateway) as wire:
        wire.put(running, [("Content-Length", str(3 * MIB))]).send(bytes(MIB)).saving(running)
        levels = ["[DEFAULT]", "default_log_levels = sqlalchemy.engine=INFO"]
        elsewhere = ["[database]", "connection = sqlite:////nowhere"]
        changed = config(f"image_size_cap = {MIB}", *levels, *elsewhere)
        log = reload(gateway, changed, AGAIN)
        wire.send(bytes(2 * MIB))
        assert wire.answer().status == 204
    assert gateway.show(running)["size"] == 3 * MIB
    option = f"Option sizelimit.image_size_cap changed from [{4 * MIB}] to [{MIB}]"
    immutable = "Ignoring change to immutable option database.connection"
    assert len(processes(log, f"INFO oslo_config.cfg [-] {option}")) == 2
    assert len(processes(log, f"WARNING oslo_config.cfg [-] {immutable}")) == 2
    assert " WARNING " not in log.replace(f" WARNING oslo_config.cfg [-] {immutable}", "")
    for _ in range(8):
        assert gateway.upload(other, bytes(2 * MIB)).outcome == (413, "too_large")
    assert " INFO sqlalchemy.engine.Engine " in gateway.log_text()

    log = reload(gateway, config("image_size_cap = many"), INVALID)
    assert log.count("[sizelimit] image_size_cap: ") == 2
    assert " WARNING " not in log
    for _ in range(4):
        assert gateway.upload(other, bytes(2 * MIB)).outcome == (413, "too_large")
    assert gateway.upload(other, bytes(MIB)).status == 204
    assert gateway.pids() == pids


def test_a_worker_that_replaces_another_one_has_the_new_values_too(gateway: Gateway) -> None:
    assert gateway.process is not None
    reload(gateway, config(f"image_size_cap = {MIB}"), AGAIN)
    former = [pid for pid in gateway.pids() if pid != gateway.process.pid]
    for pid in former:
        os.kill(pid, signal.SIGKILL)
    eventually(
        lambda: len(processes(gateway.log_text(), AGAIN) - set(former)) == 2, "both are replaced"
    )
    assert gateway.upload(gateway.create(), bytes(2 * MIB)).outcome == (413, "too_large")


def test_a_worker_for_jobs_takes_up_new_values(gateway: Gateway) -> None:
    worker = Worker(gateway)
    said: Callable[[], str] = worker.log.read_text
    try:
        eventually(lambda: "runs jobs" in said(), "it has started")
        gateway.config.write_text(config("[jobs]", "attempts = 2"))
        worker.send(signal.SIGHUP)
        eventually(lambda: AGAIN in said(), "it has read the file")
        assert "Option jobs.attempts changed from [None] to [2]" in said()
    finally:
        assert worker.end() == 0
