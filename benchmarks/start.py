"""What the start of imsgate costs, in checkouts beside each other, in CPU time.

``python benchmarks/start.py [CHECKOUT ...]`` runs each command in each checkout in turn and prints
medians, and ratios to the first checkout. ``inspect`` inspects a small file. ``serve`` runs with
one worker until it answers GET /healthcheck; its CPU time is that of all of its processes until
then.
CPU time depends little on what else the machine does; time does.
"""

import argparse
import contextlib
import http.client
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time

#: Fields 14 and 15 of /proc/PID/stat, counted behind the name: clock ticks in user and kernel mode.
_UTIME = 11
_GROUP = 2
_HOST = "127.0.0.1"
_COMMAND = (sys.executable, "-m", "imsgate.cmd.main")


def _inspect(env: dict[str, str], home: str) -> tuple[float, float]:
    """CPU time and time of one command, in milliseconds."""
    file = pathlib.Path(home, "disk.raw")
    file.write_bytes(bytes(1 << 20))
    begin = time.monotonic()
    process = subprocess.Popen(
        [*_COMMAND, "inspect", file], env=env, cwd=home, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return (usage.ru_utime + usage.ru_stime) * 1000, (time.monotonic() - begin) * 1000


def _group_cpu(group: int) -> float:
    """The CPU time of all processes of a group so far, in milliseconds."""
    ticks = 0
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[_GROUP]) == group:
                ticks += sum(map(int, fields[_UTIME : _UTIME + 2]))
    return ticks * 1000 / os.sysconf("SC_CLK_TCK")


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection(_HOST, port, timeout=60)
    try:
        connection.request("GET", "/healthcheck")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _serve(env: dict[str, str], home: str) -> tuple[float, float]:
    """CPU time and time until the first answer, in milliseconds."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port = probe.getsockname()[1]
    options = ["--bind", f"{_HOST}:{port}", "--workers", "1", "--state", f"{home}/state"]
    begin = time.monotonic()
    process = subprocess.Popen(
        [*_COMMAND, "serve", *options],
        env=env,
        cwd=home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while not _healthy(port):
            assert process.poll() is None, "the server has ended"
            time.sleep(0.005)
        return _group_cpu(process.pid), (time.monotonic() - begin) * 1000
    finally:
        process.terminate()
        process.wait()


_JOBS = {"inspect": _inspect, "serve": _serve}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    here = pathlib.Path(__file__).parent.parent
    parser.add_argument("checkouts", nargs="*", type=pathlib.Path, default=[here])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--job", action="append", choices=_JOBS, help="default: all")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        base = {key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"}
        for name in args.job or _JOBS:
            figures: dict[pathlib.Path, list[tuple[float, float]]] = {}
            for round_ in range(args.rounds + 1):
                for checkout in args.checkouts:
                    env = {**base, "HOME": home, "PYTHONPATH": str(checkout.resolve())}
                    figure = _JOBS[name](env, home)
                    if round_:  # the first one compiles, and creates the database
                        figures.setdefault(checkout, []).append(figure)
            medians = {
                checkout: [statistics.median(column) for column in zip(*runs, strict=True)]
                for checkout, runs in figures.items()
            }
            first = medians[args.checkouts[0]]
            for checkout, (cpu, elapsed) in medians.items():
                print(
                    f"{name}: {cpu:.0f} ms of CPU time ({cpu / first[0]:.2f}), "
                    f"{elapsed:.0f} ms ({elapsed / first[1]:.2f}): {checkout}"
                )


if __name__ == "__main__":
    main()
