"""An HTTP server that gives the answers of a script, and records the requests."""

import dataclasses
import http.server
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType


@dataclasses.dataclass(frozen=True)
class Say:
    """One answer. ``status`` 0 closes the connection without one."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Heard:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Scripted:
    """Runs while its block does. It answers 418 after the end of its script."""

    def __init__(self, *script: Say) -> None:
        heard: list[Heard] = []
        answers = iter(script)

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                heard.append(Heard(self.command, self.path, dict(self.headers), body))
                answer = next(answers, Say(418))
                if not answer.status:
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer.body)

            do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = do_HEAD = handle_any
            do_OPTIONS = handle_any

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.heard: Sequence[Heard] = heard
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Scripted":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Tokens:
    """Credentials: the tokens of a list, each until it is renewed."""

    verify = True
    cert = None

    def __init__(self, endpoint: str, *tokens: str) -> None:
        self.endpoint = endpoint
        self._tokens = list(tokens or ("token",))

    def __call__(self, request):
        request.headers["X-Auth-Token"] = self._tokens[0]
        return request

    def renew(self) -> bool:
        if len(self._tokens) == 1:
            return False
        del self._tokens[0]
        return True


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)

    def __call__(self) -> float:
        return self.now
