"""Recipes: functions that create an image file at a path, with the tools that people use."""

import gzip
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

MIB = 1 << 20
SEED = random.Random(20240702).randbytes(3 * MIB // 2)
"""The data of disks that are not empty. It is incompressible."""

_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])

Recipe = Callable[[Path], None]


def need(*tools: str) -> None:
    """Skip the test if a tool is not installed; on CI, fail it."""
    missing = [tool for tool in tools if not shutil.which(tool, path=_PATH)]
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"not installed: {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def call(*command: str | Path, **options: object) -> str:
    """Run a tool and return its output. Fails the test if the tool fails."""
    need(str(command[0]))
    process = subprocess.run(
        list(map(str, command)),
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": _PATH, "LC_ALL": "C"},
        **options,  # type: ignore[call-overload]
    )
    assert process.returncode == 0, f"{command}: {process.stdout}{process.stderr}"
    return str(process.stdout)


def written(data: bytes) -> Recipe:
    """A file that contains ``data``."""
    return lambda path: path.write_bytes(data) and None


def disk(path: Path, size: int = 10 * MIB) -> Path:
    """A raw disk of ``size`` bytes beside ``path``: SEED, followed by zeros."""
    raw = path.with_suffix(path.suffix + ".seed")
    with raw.open("wb") as file:
        file.write(SEED[:size])
        file.truncate(size)
    return raw


def created(kind: str, size: str = "10M", *options: str) -> Recipe:
    """An empty image, made by ``qemu-img create``; ``options`` are values of ``-o``."""

    def make(path: Path) -> None:
        arguments = [word for option in options for word in ("-o", option)]
        call("qemu-img", "create", "-q", "-f", kind, *arguments, path, size)

    return make


def converted(kind: str, *flags: str, size: int = 10 * MIB, **options: str) -> Recipe:
    """An image with data, made by ``qemu-img convert``; ``options`` are values of ``-o``."""

    def make(path: Path) -> None:
        raw = disk(path, size)
        arguments = [word for pair in options.items() for word in ("-o", "=".join(pair))]
        call("qemu-img", "convert", "-q", *flags, "-f", "raw", "-O", kind, *arguments, raw, path)
        raw.unlink()

    return make


def then(recipe: Recipe, *commands: tuple[str, ...]) -> Recipe:
    """Run commands on the file that ``recipe`` creates; ``{}`` stands for its path."""

    def make(path: Path) -> None:
        recipe(path)
        for command in commands:
            call(*(word.replace("{}", str(path)) for word in command))

    return make


def retried(recipe: Recipe, attempts: int = 8) -> Recipe:
    """Retry ``recipe``: with LUKS, qemu-img fails if it cannot measure its own speed."""

    def make(path: Path) -> None:
        for remaining in reversed(range(attempts)):
            try:
                recipe(path)
            except AssertionError:
                if not remaining:
                    raise
            else:
                return

    return make


def changed(recipe: Recipe, *patches: tuple[int, bytes]) -> Recipe:
    """Overwrite bytes at offsets in the file of ``recipe``; negative offsets are from the end."""

    def make(path: Path) -> None:
        recipe(path)
        with path.open("r+b") as file:
            for offset, new in patches:
                file.seek(offset, os.SEEK_END if offset < 0 else os.SEEK_SET)
                file.write(new)

    return make


def cut(recipe: Recipe, by: int | None = None, to: int | None = None) -> Recipe:
    """Truncate the file of ``recipe`` by ``by`` bytes, or to ``to`` bytes."""

    def make(path: Path) -> None:
        recipe(path)
        os.truncate(path, path.stat().st_size - by if by else to or 0)

    return make


def sized(size: int, *commands: tuple[str, ...], data: bytes = b"") -> Recipe:
    """A raw disk of ``size`` bytes, modified by commands; ``{}`` stands for its path."""

    def start(path: Path) -> None:
        path.write_bytes(data)
        os.truncate(path, size)

    return then(start, *commands)


def volume(tool: str, *options: str, boot: bool = False) -> Recipe:
    """An ISO volume with a few files, and with an El Torito boot image if ``boot``."""

    def make(path: Path) -> None:
        tree = path.with_suffix(".tree")
        tree.mkdir(exist_ok=True)
        (tree / "readme").write_bytes(SEED[:70000])
        (tree / "boot.img").write_bytes(SEED[:2048].ljust(4 * 512, b"\0"))
        (tree / "efi.img").write_bytes(SEED[:4096].ljust(MIB, b"\0"))
        (tree / "mbr.bin").write_bytes(b"\xfa".ljust(432, b"\x90"))
        start = ["-as", "mkisofs"] if tool == "xorriso" else []
        eltorito = ["-b", "boot.img", "-c", "boot.cat", "-no-emul-boot"] if boot else []
        arguments = [option.replace("{}", str(tree)) for option in options]
        call(tool, *start, "-quiet", "-o", path, *eltorito, *arguments, tree)
        shutil.rmtree(tree)

    return make


def overlay(kind: str, *options: str) -> Recipe:
    """An image with a backing file, which is deleted."""

    def make(path: Path) -> None:
        base = path.with_name(path.name + ".base")
        call("qemu-img", "create", "-q", "-f", kind, base, "10M")
        arguments = [word for option in options for word in ("-o", option)]
        call("qemu-img", "create", "-q", "-f", kind, *arguments, "-b", base, "-F", kind, path)
        base.unlink()

    return make


def with_data_file(path: Path) -> None:
    """A recipe: an image with an external data file, which is deleted."""
    outside = path.with_name(path.name + ".data")
    call("qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={outside}", path, "10M")
    outside.unlink()


def with_raw_data_file(path: Path) -> None:
    """The same with a raw file as data file: tables refer to all of its clusters."""
    outside = path.with_name(path.name + ".data")
    options = f"data_file={outside},data_file_raw=on"
    call("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, path, "10M")
    outside.unlink()


def piece_of(*options: str, piece: str = "") -> Recipe:
    """One file of a split VMDK; ``piece`` is its suffix, empty for the descriptor."""

    def make(path: Path) -> None:
        directory = path.with_suffix(".pieces")
        directory.mkdir(exist_ok=True)
        arguments = [word for option in options for word in ("-o", option)]
        call("qemu-img", "create", "-q", "-f", "vmdk", *arguments, directory / "disk.vmdk", "10M")
        shutil.copy(directory / f"disk{piece}.vmdk", path)
        shutil.rmtree(directory)

    return make


def packed(tool: str, *options: str, data: bytes = SEED[:100000]) -> Recipe:
    """``data``, compressed by ``tool``."""

    def make(path: Path) -> None:
        plain = path.with_suffix(".plain")
        plain.write_bytes(data)
        if tool == "gzip":
            path.write_bytes(gzip.compress(data, mtime=0))
        else:
            need(tool)
            result = subprocess.run(
                [tool, *options, "-c", str(plain)], check=True, capture_output=True
            )
            path.write_bytes(result.stdout)
        plain.unlink()

    return make
