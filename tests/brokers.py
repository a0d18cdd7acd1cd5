"""Message brokers for the tests, on the loopback interface. They end with the tests."""

import contextlib
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile

from tests import markers
from tests.functional import programs
from tests.functional.conftest import needs
from tests.functional.gateway import HOST, PATIENCE, clean_env, eventually, free_port


class Broker:
    """One broker in a private directory. ``start`` does not wait for it; ``wait`` does."""

    def __init__(self) -> None:
        needs(shutil.which("setpriv"), "setpriv")
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="imsgate-broker-"))
        self.port = free_port()
        self._running: list[programs.Server] = []

    def _spawn(self, *command: str, **env: str) -> None:
        markers.require("broker")
        command = ("setpriv", "--pdeathsig=KILL", *command)
        env = clean_env(self.directory, **env)
        self._running.append(programs.spawn(command, self.directory / "output", env))

    def wait(self) -> None:
        eventually(self._listens, f"a broker listens: see {self.directory}/output")

    def _listens(self) -> bool:
        output = self.directory / "output"
        assert self._running[-1].poll() is None, output.read_text(errors="replace")[-4000:]
        with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), 1):
            return True
        return False

    def close(self) -> None:
        """Stop it and remove its data."""
        for process in self._running:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        for process in self._running:
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


class RabbitMQ(Broker):
    """With an epmd of its own, so that it finds no other node."""

    # Debian's wrapper switches to another user. This is the program behind it.
    PROGRAM = "/usr/lib/rabbitmq/bin/rabbitmq-server"

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{HOST}:{self.port}//"

    def start(self) -> None:
        needs(pathlib.Path(self.PROGRAM).exists(), "rabbitmq-server")
        epmd = {"ERL_EPMD_PORT": str(free_port()), "ERL_EPMD_ADDRESS": HOST}
        self._spawn("epmd", **epmd)
        (self.directory / "plugins").write_text("[].")
        (self.directory / "rabbitmq.conf").write_text("")
        home = str(self.directory)
        self._spawn(
            self.PROGRAM,
            **epmd,
            RABBITMQ_NODENAME=f"imsgate{self.port}@localhost",
            RABBITMQ_NODE_IP_ADDRESS=HOST,
            RABBITMQ_NODE_PORT=str(self.port),
            RABBITMQ_DIST_PORT=str(free_port()),
            RABBITMQ_MNESIA_BASE=f"{home}/mnesia",
            RABBITMQ_FEATURE_FLAGS_FILE=f"{home}/feature_flags",
            RABBITMQ_ENABLED_PLUGINS_FILE=f"{home}/plugins",
            RABBITMQ_CONFIG_FILE=f"{home}/rabbitmq.conf",
            RABBITMQ_PID_FILE=f"{home}/pid",
            RABBITMQ_LOGS="-",
            RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+S 2:2 +sbwt none "
            "-kernel inet_dist_use_interface {127,0,0,1}",
        )


class Redis(Broker):
    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def start(self) -> None:
        needs(shutil.which("redis-server"), "redis-server")
        place = ["--port", str(self.port), "--bind", HOST, "--dir", str(self.directory)]
        self._spawn("redis-server", *place, "--save", "", "--appendonly", "no")
