"""What looking at an image costs: CPU seconds per GiB and peak memory, beside oslo.utils.

::

    python benchmarks/inspect_formats.py [--size GIB]

Each stream is an image's real first 64 MiB, then data, in chunks of 64 KiB and of 1 MiB.
The copy it is compared with reads the same chunks from a file and writes them to another,
without digests; an upload costs more.
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
CHUNKS = (64 * KIB, MIB)
HEAD = 64 * MIB


def images(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Names and beginnings of images full of data; only raw without qemu-img."""
    body = bytes(range(256)) * (HEAD // 256)
    yield "raw", body
    if not shutil.which("qemu-img"):
        return
    raw = folder / "raw"
    raw.write_bytes(body)
    for kind in ("qcow2", "vmdk", "vhdx"):
        image = folder / kind
        subprocess.run(
            ["qemu-img", "convert", "-f", "raw", "-O", kind, str(raw), str(image)], check=True
        )
        yield kind, image.read_bytes()[:HEAD]


def pieces(head: bytes, size: int, chunk: int) -> list[bytes]:
    """The stream; its later chunks are one object, so that it fits into memory."""
    first = [head[at : at + chunk] for at in range(0, len(head) - chunk + 1, chunk)]
    return first + [first[-1]] * ((size - len(first) * chunk) // chunk)


def ours(stream: Iterable[bytes]) -> None:
    inspection = Inspector().begin(patient=True)
    for chunk in stream:
        inspection.feed(chunk)


def oslo(stream: Iterable[bytes]) -> None:
    from oslo_utils.imageutils import format_inspector  # noqa: PLC0415 - optional

    for _ in format_inspector.InspectWrapper(iter(stream)):
        pass


def copy(folder: Path, size: int, chunk: int) -> float:
    """CPU seconds to copy a file."""
    source, target = folder / "source", folder / "target"
    with source.open("wb") as file:
        for _ in range(size // MIB):
            file.write(bytes(MIB))
    begun = time.process_time()
    with source.open("rb", buffering=0) as reader, target.open("wb", buffering=0) as writer:
        while data := reader.read(chunk):
            writer.write(data)
    spent = time.process_time() - begun
    source.unlink()
    target.unlink()
    return spent


def seconds(look: Callable[[Iterable[bytes]], None], stream: list[bytes]) -> float:
    """The best of three runs, in CPU seconds."""
    spent = []
    for _ in range(3):
        begun = time.process_time()
        look(stream)
        spent.append(time.process_time() - begun)
    return min(spent)


def peak(look: Callable[[Iterable[bytes]], None], stream: list[bytes]) -> int:
    """The most memory held at once, in bytes."""
    tracemalloc.start()
    try:
        look(stream)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--size", type=float, default=1, metavar="GIB")
    size = int(parser.parse_args().size * GIB)
    print("format chunk      ours ms/GiB  of the copy  peak KiB  oslo.utils ms/GiB  peak KiB")
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(name)
        copies = {chunk: copy(folder, size, chunk) for chunk in CHUNKS}
        for kind, head in images(folder):
            for chunk in CHUNKS:
                stream = pieces(head, size, chunk)
                mine, other = seconds(ours, stream), seconds(oslo, stream)
                short = stream[: 64 * MIB // chunk]
                print(
                    f"{kind:6} {chunk // KIB:4} KiB {mine * 1000 * GIB / size:12.1f}"
                    f"  {mine / copies[chunk]:10.2%} {peak(ours, short) / KIB:9.0f}"
                    f"  {other * 1000 * GIB / size:17.1f} {peak(oslo, short) / KIB:9.0f}"
                )
        shown = ", ".join(f"{c // KIB} KiB: {s * GIB / size:.2f}" for c, s in copies.items())
        print(f"the copy, CPU seconds per GiB: {shown}")


if __name__ == "__main__":
    main()
