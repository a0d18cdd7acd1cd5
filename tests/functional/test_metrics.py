"""Metrics of several processes, of which some are killed."""

import contextlib
import http.client
import os
import pathlib
import signal
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from tests.functional import programs
from tests.functional.gateway import (
    HOST,
    IMSGATE,
    INI,
    PATIENCE,
    Gateway,
    clean_env,
    eventually,
    free_port,
    serving,
)
from tests.functional.importing import Worker

#: The jobs run in `imsgate worker`.
CONFIG = "[jobs]\nthreads = 0\npoll = 0.1\n"
WORKERS = 4
LIST = {"route": "/v2/images", "method": "GET", "status": "200"}

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = Gateway(tmp_path_factory.mktemp("metrics"), config=CONFIG, workers=WORKERS, threads=8)
    with serving(made) as gateway:
        yield gateway


def _samples(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def _scrape(server: Gateway) -> Samples:
    answer = server.call("GET", "/metrics", token=server.admin)
    assert answer.status == 200, answer.body
    return _samples(answer.body.decode())


def _value(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((f"imsgate_{name}", frozenset(labels.items())), 0)


def _counters(samples: Samples) -> Samples:
    return {key: value for key, value in samples.items() if key[0].endswith(("_total", "_count"))}


def _files(server: Gateway) -> int:
    return len(list(pathlib.Path(server.state, "metrics").glob("*.db")))


def _serving_pids(server: Gateway) -> list[int]:
    assert server.process is not None
    return [pid for pid in server.pids() if pid != server.process.pid]


def _list(server: Gateway, times: int) -> None:
    for _ in range(times):
        assert server.call("GET", "/v2/images").status == 200


def test_counters_stay_when_processes_are_killed(server: Gateway) -> None:
    _list(server, 20)
    eventually(lambda: _value(_scrape(server), "requests_total", **LIST) == 20, "all are counted")
    for killed in (2, 4, 6):
        before = eventually(lambda: _is_complete(server), "all processes count")
        assert _value(before, "threads", pool="requests") == 8 * WORKERS
        for pid in _serving_pids(server)[:2]:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: len(_serving_pids(server)) == WORKERS, "others have taken their place")
        after = eventually(
            lambda: _is_complete(server), "all processes count again, and no file is left"
        )
        gone_back = {
            key: (value, after.get(key))
            for key, value in _counters(before).items()
            if after.get(key, 0) < value
        }
        assert not gone_back
        _list(server, 1)
        eventually(
            lambda expected=20 + killed // 2: (
                _value(_scrape(server), "requests_total", **LIST) == expected
            ),
            "exactly those that were sent are counted",
        )


def _is_complete(server: Gateway) -> Samples | None:
    samples = _scrape(server)
    complete = _value(samples, "processes") == WORKERS == _files(server)
    return samples if complete else None


def test_an_upload_of_a_killed_process_uses_no_thread(server: Gateway) -> None:
    image = server.create()
    head = f"PUT /v2/images/{image}/file HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {server.token()}\r\n"
    head += "Content-Type: application/octet-stream\r\nContent-Length: 1000000\r\n\r\n"
    with contextlib.closing(server.connect()) as connection:
        connection.sendall(head.encode() + bytes(100_000))
        used = {"pool": "requests"}
        eventually(  # and the scrape itself
            lambda: _value(_scrape(server), "threads_in_use", **used) == 2, "a thread is in use"
        )
        eventually(lambda: _value(_scrape(server), "images", status="saving") == 1, "it is saved")
        for pid in _serving_pids(server):
            os.kill(pid, signal.SIGKILL)
        eventually(
            lambda: (
                len(_serving_pids(server)) == WORKERS
                and _value(_scrape(server), "threads_in_use", **used) == 1
            ),
            "it is no longer in use",
        )


def test_jobs_of_a_worker_are_counted(server: Gateway) -> None:
    image = server.create()
    path = f"/v2/images/{image}"
    octets = {"Content-Type": "application/octet-stream"}
    assert server.call("PUT", f"{path}/stage", b"data", headers=octets).status == 204
    how = {"method": {"name": "glance-direct"}}
    assert server.call("POST", f"{path}/import", how).status == 202
    assert _value(_scrape(server), "jobs", kind="import", state="INIT") == 1
    ended = {"kind": "import", "state": "SUCCESS", "reason": ""}
    worker = Worker(server)
    try:
        eventually(
            lambda: _value(_scrape(server), "ended_jobs_total", **ended) == 1, "the job has ended"
        )
        eventually(lambda: _value(_scrape(server), "processes") == WORKERS + 1, "all count")
        assert _value(_scrape(server), "threads", pool="jobs") == 4
    finally:
        worker.end()
    eventually(lambda: _value(_scrape(server), "processes") == WORKERS, "the worker has ended")
    assert _value(_scrape(server), "ended_jobs_total", **ended) == 1


def test_the_command_reports_the_same(server: Gateway) -> None:
    eventually(lambda: _is_complete(server), "all processes count")
    here = ["--state", str(server.state), "--config-file", str(server.config)]
    env = clean_env(server.directory)
    printed = programs.run([IMSGATE, "metrics", str(INI), *here], env, server.directory)
    assert printed.returncode == 0, printed.stderr
    samples, asked = _samples(printed.stdout), _scrape(server)
    assert samples.keys() <= asked.keys()
    requests = [_value(each, "requests_total", **LIST) for each in (samples, asked)]
    assert requests[0] == requests[1]
    port = free_port()
    log = server.directory / "metrics.log"
    command = [IMSGATE, "metrics", str(INI), "--bind", f"{HOST}:{port}", *here]
    process = programs.spawn(command, log, env)
    try:
        status, text = eventually(lambda: _get(port, "/metrics"), "it serves")
        assert (status, _value(_samples(text), "processes")) == (200, WORKERS)
        elsewhere = _get(port, "/v2/images")
        assert elsewhere is not None
        assert elsewhere[0] == 404
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0


def _get(port: int, path: str) -> tuple[int, str] | None:
    """None while nobody listens there."""
    connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE)
    with contextlib.closing(connection):
        try:
            connection.request("GET", path)
        except ConnectionRefusedError:
            return None
        response = connection.getresponse()
        return response.status, response.read().decode()
