"""Makes image files with the tools that people make them with."""

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
"""The data of every disk that has some; it does not compress."""

_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])

Recipe = Callable[[Path], None]


def need(*tools: str) -> None:
    """Skip the test when a tool is not installed; on CI that is a failure."""
    missing = [tool for tool in tools if not shutil.which(tool, path=_PATH)]
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"not installed: {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def call(*command: str | Path, **options: object) -> str:
    """Run a tool; its output when it succeeded."""
    need(str(command[0]))
    done = subprocess.run(
        list(map(str, command)),
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": _PATH, "LC_ALL": "C"},
        **options,  # type: ignore[call-overload]
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return str(done.stdout)


def written(data: bytes) -> Recipe:
    return lambda path: path.write_bytes(data) and None


def disk(path: Path, size: int = 10 * MIB) -> Path:
    """A raw disk of ``size`` bytes, random at its beginning and zeros to its end."""
    raw = path.with_suffix(path.suffix + ".seed")
    with raw.open("wb") as file:
        file.write(SEED[:size])
        file.truncate(size)
    return raw


def created(kind: str, size: str = "10M", *options: str) -> Recipe:
    """An empty image by ``qemu-img create``; options are ``-o`` values."""

    def make(path: Path) -> None:
        chosen = [word for option in options for word in ("-o", option)]
        call("qemu-img", "create", "-q", "-f", kind, *chosen, path, size)

    return make


def converted(kind: str, *flags: str, size: int = 10 * MIB, **options: str) -> Recipe:
    """An image with data by ``qemu-img convert``; keywords are ``-o`` values."""

    def make(path: Path) -> None:
        raw = disk(path, size)
        chosen = [word for pair in options.items() for word in ("-o", "=".join(pair))]
        call("qemu-img", "convert", "-q", *flags, "-f", "raw", "-O", kind, *chosen, raw, path)
        raw.unlink()

    return make


def then(recipe: Recipe, *commands: tuple[str, ...]) -> Recipe:
    """More commands on what a recipe made; ``{}`` is its path."""

    def make(path: Path) -> None:
        recipe(path)
        for command in commands:
            call(*(word.replace("{}", str(path)) for word in command))

    return make


def retried(recipe: Recipe, times: int = 8) -> Recipe:
    """For qemu-img with LUKS, which gives up when it cannot measure its own speed."""

    def make(path: Path) -> None:
        for left in reversed(range(times)):
            try:
                recipe(path)
            except AssertionError:
                if not left:
                    raise
            else:
                return

    return make


def changed(recipe: Recipe, *patches: tuple[int, bytes]) -> Recipe:
    """What a recipe made, with bytes replaced; offsets below zero count from the end."""

    def make(path: Path) -> None:
        recipe(path)
        with path.open("r+b") as file:
            for offset, new in patches:
                file.seek(offset, os.SEEK_END if offset < 0 else os.SEEK_SET)
                file.write(new)

    return make


def cut(recipe: Recipe, by: int | None = None, to: int | None = None) -> Recipe:
    """What a recipe made, without its last ``by`` bytes or cut at ``to``."""

    def make(path: Path) -> None:
        recipe(path)
        os.truncate(path, path.stat().st_size - by if by else to or 0)

    return make


def sized(size: int, *commands: tuple[str, ...], data: bytes = b"") -> Recipe:
    """A raw disk that commands work on; ``{}`` is its path."""

    def start(path: Path) -> None:
        path.write_bytes(data)
        os.truncate(path, size)

    return then(start, *commands)


def volume(tool: str, *options: str, boot: bool = False) -> Recipe:
    """An ISO volume of a small tree, with an El Torito image when ``boot``."""

    def make(path: Path) -> None:
        tree = path.with_suffix(".tree")
        tree.mkdir(exist_ok=True)
        (tree / "readme").write_bytes(SEED[:70000])
        (tree / "boot.img").write_bytes(SEED[:2048].ljust(4 * 512, b"\0"))
        (tree / "efi.img").write_bytes(SEED[:4096].ljust(MIB, b"\0"))
        (tree / "mbr.bin").write_bytes(b"\xfa".ljust(432, b"\x90"))
        start = ["-as", "mkisofs"] if tool == "xorriso" else []
        eltorito = ["-b", "boot.img", "-c", "boot.cat", "-no-emul-boot"] if boot else []
        words = [word.replace("{}", str(tree)) for word in options]
        call(tool, *start, "-quiet", "-o", path, *eltorito, *words, tree)
        shutil.rmtree(tree)

    return make


def overlay(kind: str, *options: str) -> Recipe:
    """An image with a backing file beside it."""

    def make(path: Path) -> None:
        base = path.with_name(path.name + ".base")
        call("qemu-img", "create", "-q", "-f", kind, base, "10M")
        chosen = [word for option in options for word in ("-o", option)]
        call("qemu-img", "create", "-q", "-f", kind, *chosen, "-b", base, "-F", kind, path)
        base.unlink()

    return make


def with_data_file(path: Path) -> None:
    outside = path.with_name(path.name + ".data")
    call("qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={outside}", path, "10M")
    outside.unlink()


def piece_of(*options: str, piece: str = "") -> Recipe:
    """One file of a VMDK of several; ``piece`` is the end of its name, none the descriptor."""

    def make(path: Path) -> None:
        folder = path.with_suffix(".pieces")
        folder.mkdir(exist_ok=True)
        whole = folder / "disk.vmdk"
        chosen = [word for option in options for word in ("-o", option)]
        call("qemu-img", "create", "-q", "-f", "vmdk", *chosen, whole, "10M")
        shutil.copy(folder / f"disk{piece}.vmdk", path)
        shutil.rmtree(folder)

    return make


def packed(tool: str, *options: str, data: bytes = SEED[:100000]) -> Recipe:
    """A payload compressed by its tool."""

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
