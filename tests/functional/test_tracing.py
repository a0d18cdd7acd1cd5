"""OpenTelemetry's spans of two processes, and osprofiler's filter beside them."""

import re
import sys
from collections.abc import Iterator

import pytest
from osprofiler import profiler, web

from tests.functional.collector import Collector, collecting
from tests.functional.gateway import INI, Gateway, eventually, serving

DATA = bytes(range(256)) * (1 << 12)
SECRET = "hush"
ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"

CONFIG = "[tracing]\nendpoint = {collector}\n"
FILTERS = f"""
[filter:tracing]
use = egg:imsgate#tracing

[filter:osprofiler]
paste.filter_factory = osprofiler.web:WsgiMiddleware.factory
hmac_keys = {SECRET}
enabled = yes
"""


class Traced(Gateway):
    """A gateway whose pipeline has both filters, as doc/tracing.md says."""

    def _command(self) -> list[str]:
        shipped = INI.read_text()
        assert "= faults metrics cors" in shipped
        ini = self.directory / "paste.ini"
        piped = "= faults tracing osprofiler metrics cors"
        ini.write_text(shipped.replace("= faults metrics cors", piped) + FILTERS)
        command = [str(ini) if each == str(INI) else each for each in super()._command()]
        # A process that multiprocessing has forked would not run what is to be done at its end.
        return [sys.executable, *command]

    def _env(self) -> dict[str, str]:
        return {**super()._env(), "OTEL_BSP_SCHEDULE_DELAY": "3600000"}  # ms


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


def test_each_process_sends_the_spans_of_its_requests(
    collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """They wait to be sent when the server stops."""
    config = CONFIG.replace("{collector}", collector.url)
    made = Traced(tmp_path_factory.mktemp("traced"), config=config, workers=2)
    with serving(made) as gateway:
        assert gateway.process is not None
        workers = set(gateway.pids()) - {gateway.process.pid}
        assert len(workers) == 2
        parent = {"traceparent": f"00-{ID}-{PARENT}-01"}
        profiled = _profiled()
        image = gateway.create()
        for headers in (parent, parent | profiled):
            path = f"/v2/images/{image}/file"
            stored = {"Content-Type": "application/octet-stream", **headers}
            answer = gateway.call("PUT", path, DATA, headers=stored)
            assert answer.status in (204, 409), answer.body
            answer = gateway.call("GET", path, headers=headers)
            assert answer.body == DATA
            assert f"trace: {ID}" in eventually(
                lambda found=answer: _access(gateway, found.headers["X-Openstack-Request-Id"]),
                "the access log contains the request",
            )

        def served() -> bool:
            gateway.call("GET", "/v2/images")
            lines = re.findall(r"^\S+ \S+ (\d+) INFO imsgate.faults ", gateway.log_text(), re.M)
            return workers <= set(map(int, lines))

        eventually(served, "each process has served a request")
        assert collector.spans == []
        gateway.stop()
    spans = [span for span in collector.spans if span.trace_id == ID]
    assert {span.parent_id for span in spans} == {PARENT}
    route = "/v2/images/{image_id}/file"
    assert (
        sorted(
            (span.name, span.attributes["http.status_code"], span.attributes["imsgate.image_id"])
            for span in spans
        )
        == [(f"GET {route}", 200, image)] * 2 + [(f"PUT {route}", 204, image)] * 2
    )
    assert {span.resource["process.pid"] for span in collector.spans} == workers
    assert len({span.id for span in collector.spans}) == len(collector.spans)


def _access(gateway: Gateway, request_id: str) -> str:
    lines = gateway.log_text().splitlines()
    return next((line for line in lines if request_id in line and "status: " in line), "")


def _profiled() -> dict[str, str]:
    """The headers of a client that profiles its request."""
    profiler.init(SECRET)
    try:
        return dict(web.get_trace_id_headers())
    finally:
        profiler.clean()
