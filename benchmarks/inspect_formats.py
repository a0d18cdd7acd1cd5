"""The cost of format inspection: CPU time per GiB and peak memory, compared with oslo.utils.

::

    python benchmarks/inspect_formats.py [--size GIB]

Each stream begins with the first 64 MiB of a real image; more data follows. It is fed in chunks
of 64 KiB and of 1 MiB. "% of copy" compares the time with that of copying a file in the same
chunks, without digests; an upload costs more than this copy.
"""

import argparse
import shutil
import subprocess
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from imsgate.formats.inspector import Inspector

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
CHUNK_SIZES = (64 * KIB, MIB)
HEAD_BYTES = 64 * MIB

Inspect = Callable[[Iterable[bytes]], None]


def images(directory: Path) -> Iterator[tuple[str, bytes]]:
    """Format and first bytes of images full of data; only raw if qemu-img is not installed."""
    data = bytes(range(256)) * (HEAD_BYTES // 256)
    yield "raw", data
    if not shutil.which("qemu-img"):
        return
    raw = directory / "raw"
    raw.write_bytes(data)
    for kind in ("qcow2", "vmdk", "vhdx"):
        image = directory / kind
        subprocess.run(
            ["qemu-img", "convert", "-f", "raw", "-O", kind, str(raw), str(image)], check=True
        )
        yield kind, image.read_bytes()[:HEAD_BYTES]


def chunks(head: bytes, size: int, chunk_size: int) -> list[bytes]:
    """A stream of ``size`` bytes. After the head, it repeats one object, to fit into memory."""
    last = len(head) - chunk_size
    first_chunks = [head[at : at + chunk_size] for at in range(0, last + 1, chunk_size)]
    remaining = (size - len(first_chunks) * chunk_size) // chunk_size
    return first_chunks + [first_chunks[-1]] * remaining


def inspect_with_imsgate(stream: Iterable[bytes]) -> None:
    inspection = Inspector().begin(keep_going=True)
    for chunk in stream:
        inspection.feed(chunk)


def inspect_with_oslo(stream: Iterable[bytes]) -> None:
    from oslo_utils.imageutils import format_inspector  # noqa: PLC0415 - optional

    for _ in format_inspector.InspectWrapper(iter(stream)):
        pass


def copy_cpu_seconds(directory: Path, size: int, chunk_size: int) -> float:
    """CPU seconds to copy a file of ``size`` bytes."""
    source, target = directory / "source", directory / "target"
    with source.open("wb") as file:
        for _ in range(size // MIB):
            file.write(bytes(MIB))
    start = time.process_time()
    with source.open("rb", buffering=0) as reader, target.open("wb", buffering=0) as writer:
        while data := reader.read(chunk_size):
            writer.write(data)
    elapsed = time.process_time() - start
    source.unlink()
    target.unlink()
    return elapsed


def cpu_seconds(inspect: Inspect, stream: list[bytes]) -> float:
    """CPU seconds to inspect a stream: the best of three runs."""
    elapsed = []
    for _ in range(3):
        start = time.process_time()
        inspect(stream)
        elapsed.append(time.process_time() - start)
    return min(elapsed)


def peak_bytes(inspect: Inspect, stream: list[bytes]) -> int:
    """Peak memory of inspecting a stream."""
    tracemalloc.start()
    try:
        inspect(stream)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def print_row(
    kind: str, chunk_size: int, stream: list[bytes], size: int, copy_seconds: float
) -> None:
    short_stream = stream[: 64 * MIB // chunk_size]
    imsgate = cpu_seconds(inspect_with_imsgate, stream)
    oslo = cpu_seconds(inspect_with_oslo, stream)
    imsgate_peak = peak_bytes(inspect_with_imsgate, short_stream)
    oslo_peak = peak_bytes(inspect_with_oslo, short_stream)
    print(
        f"{kind:6} {chunk_size // KIB:4} KiB {imsgate * 1000 * GIB / size:12.1f}"
        f" {imsgate / copy_seconds:10.2%} {imsgate_peak / KIB:9.0f}"
        f" {oslo * 1000 * GIB / size:18.1f} {oslo_peak / KIB:9.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--size", type=float, default=1, metavar="GIB", help="of each stream (default: %(default)s)"
    )
    size = int(parser.parse_args().size * GIB)
    print("format chunk    imsgate ms/GiB  % of copy  peak KiB  oslo.utils ms/GiB  peak KiB")
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        directory = Path(name)
        copies = {
            chunk_size: copy_cpu_seconds(directory, size, chunk_size) for chunk_size in CHUNK_SIZES
        }
        for kind, head in images(directory):
            for chunk_size in CHUNK_SIZES:
                stream = chunks(head, size, chunk_size)
                print_row(kind, chunk_size, stream, size, copies[chunk_size])
    costs = (
        f"{seconds * GIB / size:.2f} ({chunk // KIB} KiB)" for chunk, seconds in copies.items()
    )
    print(f"CPU seconds per GiB of the copy, by chunk size: {', '.join(costs)}")


if __name__ == "__main__":
    main()
