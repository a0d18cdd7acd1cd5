"""Compares imsgate in front of another service with nginx as a proxy in front of the same one.

    python benchmarks/front.py [--runs 5] [--mib 1024]

The service behind both discards what it receives. nginx has the buffers of its default
configuration (16 KiB), or buffers as large as imsgate's reads (512 KiB). In each round, each proxy
passes on the same image once, one after the other, so that other load of the machine affects all
of them. Only the ratios of one run are comparable.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import socket
import statistics
import sys
import tempfile
import threading
from collections.abc import Iterator

import compare
import memory
import targets
from targets import Target

PATH = "/v2/images/71c675ab-d94f-49cd-a114-e12490b328d9"
RECORD = json.dumps({"status": "queued", "disk_format": "raw", "container_format": "bare"})
NGINX = """
daemon off;
worker_processes 1;
pid {place}/pid;
error_log {place}/error;
events {{}}
http {{
    access_log off;
    client_max_body_size 0;
    client_body_buffer_size {buffer};
    client_body_temp_path {place}/body;
    proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi;
    scgi_temp_path {place}/scgi;
    proxy_request_buffering off;
    proxy_buffering off;
    proxy_http_version 1.1;
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://127.0.0.1:{upstream}; }}
    }}
}}
"""


def discard_all(port: int) -> None:
    """The service: shows a record, and discards the data of PUT."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            threading.Thread(target=_discard, args=(listener.accept()[0],), daemon=True).start()


def _discard(connected: socket.socket) -> None:
    buffer = bytearray(1 << 20)
    with connected, connected.makefile("rb", buffering=0) as file:
        while line := file.readline():
            length = 0
            while (field := file.readline()) != b"\r\n":
                name, _, text = field.lower().partition(b":")
                if name == b"expect":
                    connected.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                length = int(text) if name == b"content-length" else length
            while length:
                length -= connected.recv_into(buffer, min(length, len(buffer)))
            if line.startswith(b"PUT"):
                connected.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            else:
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(RECORD)}\r\n\r\n"
                connected.sendall((head + RECORD).encode())


@contextlib.contextmanager
def service(place: pathlib.Path) -> Iterator[int]:
    port = memory.free_port()
    with targets.running([sys.executable, __file__, "--discard", str(port)], place / "log") as pid:
        targets.wait_until_up(Target("service", f"http://127.0.0.1:{port}", pid, {}), place / "log")
        yield port


@contextlib.contextmanager
def nginx(place: pathlib.Path, upstream: int, name: str, buffer: str) -> Iterator[Target]:
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        raise SystemExit("nginx is not installed")
    port = memory.free_port()
    conf = NGINX.format(place=place, port=port, upstream=upstream, buffer=buffer)
    (place / "conf").write_text(conf)
    with targets.running([program, "-c", str(place / "conf")], place / "log") as pid:
        target = Target(name, f"http://127.0.0.1:{port}", pid, {})
        targets.wait_until_up(target, place / "log")
        yield target


@contextlib.contextmanager
def front(place: pathlib.Path, upstream: int, name: str, options: str) -> Iterator[Target]:
    port = memory.free_port()
    (place / "conf").write_text(
        f"[paste_deploy]\nflavor = front\n"
        f"[forward]\nupstream = http://127.0.0.1:{upstream}\n{options}"
    )
    command = [sys.executable, "-m", "imsgate.cmd.main", "serve", "--state", str(place / "state")]
    command += ["--config-file", str(place / "conf"), "--bind", f"127.0.0.1:{port}"]
    with targets.running([*command, "--workers", "1", "--threads", "32"], place / "log") as pid:
        target = Target(name, f"http://127.0.0.1:{port}", pid, {})
        targets.wait_until_up(target, place / "log")
        yield target


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="rounds (default: %(default)s)")
    parser.add_argument(
        "--mib", type=int, default=1024, help="size of the image (default: %(default)s)"
    )
    parser.add_argument("--discard", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def show(figures: dict[str, list[compare.Figures]]) -> None:
    """Medians, and the median of each round's ratio to nginx."""
    print(f"{'':24}{'MB/s':>8}{'CPU s/GiB':>11}{'of nginx':>10}")
    for name, rounds in figures.items():
        speed, cpu = (statistics.median(each[unit] for each in rounds) for unit in rounds[0])
        ratios = [
            each["MB/s"] / other["MB/s"]
            for each, other in zip(rounds, figures["nginx"], strict=True)
        ]
        print(f"{name:24}{speed:8.0f}{cpu:11.2f}{statistics.median(ratios):10.2f}")


def main() -> None:
    args = parse_arguments()
    if args.discard:
        discard_all(args.discard)
    with contextlib.ExitStack() as stack:
        root = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm")))
        places = [root / name for name in ("service", "nginx", "large", "front", "unchecked")]
        for place in places:
            place.mkdir()
        data = root / "data"
        data.write_bytes(os.urandom(args.mib << 20))
        upstream = stack.enter_context(service(places[0]))
        unchecked = "check_lost_responses = false\n"
        proxies = [
            stack.enter_context(nginx(places[1], upstream, "nginx", "16k")),
            stack.enter_context(nginx(places[2], upstream, "nginx, 512 KiB buffers", "512k")),
            stack.enter_context(front(places[3], upstream, "imsgate", "")),
            stack.enter_context(front(places[4], upstream, "imsgate, unchecked", unchecked)),
        ]
        figures: dict[str, list[compare.Figures]] = {proxy.name: [] for proxy in proxies}
        for _ in range(args.runs):
            for proxy in proxies:
                result: compare.Figures = {}
                with compare.measured(proxy, result) as add_bytes:
                    compare.put(proxy, PATH, data, chunked=False)
                    add_bytes(data.stat().st_size)
                figures[proxy.name].append(result)
    show(figures)


if __name__ == "__main__":
    main()
