"""The sandbox in which qemu-img runs.

qemu-img has had exploitable bugs in its parsers, and it opens every file and URL that an image
names. So it runs after the format inspection only, and with:

- limits of processor time, address space, output and open files (prlimit);
- an unprivileged user if the service is root's (setpriv), and no way to gain privileges;
- no network, no other processes, and no files except its own libraries (bubblewrap).

The images are open files that it inherits, so that it needs no directory. It dies with the thread
that started it.
"""

import contextlib
import dataclasses
import os
import pwd
import re
import selectors
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO

from imsgate import errors
from imsgate.conversion.settings import GROUP, PLUGINS_GROUP, ConversionSettings
from imsgate.errors import BadConfig

#: Seconds between two calls of ``check`` while qemu-img says nothing.
_TICK_SECONDS = 0.5
_MAX_MESSAGE_CHARACTERS = 300
_MAX_OUTPUT_BYTES = 1 << 16

#: Where distributions keep shared libraries. A directory that a host lacks is left out.
_LIBRARIES = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache")
_QEMU_IMG = "/qemu-img"
_MAX_FILES = 64
_FILE_NAME = re.compile(r"/proc/self/fd/\d+")


@dataclasses.dataclass(frozen=True, slots=True)
class RunLimits:
    """What one run of qemu-img may take: bytes of its output file, and seconds."""

    output: int
    seconds: int


class Sandbox:
    """Runs qemu-img."""

    def __init__(
        self, settings: ConversionSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Raises BadConfig, naming the option, if a program is missing or may not do its part."""
        self._settings = settings
        self._clock = clock
        plugins = f"[{PLUGINS_GROUP}] image_import_plugins"
        self._qemu_img = _program("qemu-img", plugins, "qemu-utils")
        self._prlimit = _program("prlimit", plugins, "util-linux")
        self._setpriv = _program("setpriv", plugins, "util-linux")
        sandbox = f"[{GROUP}] sandbox"
        self._bwrap = (
            _program("bwrap", sandbox, "bubblewrap") if settings.sandbox == "bubblewrap" else None
        )
        self._user = _user(settings.user) if os.geteuid() == 0 else None
        try:
            self.run(["--version"], (), RunLimits(output=0, seconds=60), lambda: None)
        except errors.ConversionFailed as error:
            hint = "; see doc/imports.md, Conversion" if self._bwrap else ""
            raise BadConfig(sandbox, f"{error.details['problem']}{hint}") from error

    def run(
        self,
        arguments: Sequence[str],
        files: Sequence[IO[bytes]],
        limits: RunLimits,
        check: Callable[[], object],
        on_output: Callable[[bytes], object] = lambda text: None,
    ) -> bytes:
        """Run qemu-img and return the first 64 KiB of its output.

        ``name(file)`` is the argument for one of ``files``. ``check`` is called now and then, and
        may raise to stop; ``on_output`` is called with what qemu-img prints. Raises
        ConversionFailed with what qemu-img says.
        """
        for file in files:
            self._give(file)
        process = subprocess.Popen(  # noqa: S603 - no part of it is from a request
            [*self._prefix(limits), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[file.fileno() for file in files],
            cwd="/",
            env={"LC_ALL": "C"},
        )
        with process, _killing(process):
            output, message = self._communicate(process, limits, check, on_output)
            status = process.wait()
        if status:
            raise errors.ConversionFailed(problem=_problem(message, status))
        return output

    def _give(self, file: IO[bytes]) -> None:
        """qemu-img opens the file again, which its user must be allowed to."""
        if self._user is not None:
            os.fchown(file.fileno(), self._user.pw_uid, self._user.pw_gid)

    def _prefix(self, limits: RunLimits) -> list[str]:
        user = self._user
        return [
            *(self._setpriv, "--no-new-privs", "--pdeathsig", "KILL"),
            *(
                (f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
                if user
                else ()
            ),
            *("--", self._prlimit, "--core=0", f"--nofile={_MAX_FILES}"),
            *(f"--cpu={limits.seconds}", f"--as={self._settings.max_memory}"),
            *(f"--fsize={limits.output}", "--"),
            *(self._isolated() if self._bwrap else (self._qemu_img,)),
        ]

    def _isolated(self) -> list[str]:
        assert self._bwrap is not None
        return [
            *(self._bwrap, "--unshare-all", "--die-with-parent", "--new-session"),
            *("--cap-drop", "ALL", "--clearenv", "--setenv", "LC_ALL", "C"),
            *(word for path in _LIBRARIES for word in ("--ro-bind-try", path, path)),
            *("--ro-bind", self._qemu_img, _QEMU_IMG),
            *("--proc", "/proc", "--dev", "/dev", "--remount-ro", "/", "--", _QEMU_IMG),
        ]

    def _communicate(
        self,
        process: subprocess.Popen[bytes],
        limits: RunLimits,
        check: Callable[[], object],
        on_output: Callable[[bytes], object],
    ) -> tuple[bytes, bytes]:
        """What the process prints, and what it prints as errors. Raises ConversionFailed if that
        takes too long."""
        deadline = self._clock() + limits.seconds
        assert process.stdout is not None
        assert process.stderr is not None
        texts = {process.stdout: b"", process.stderr: b""}
        with selectors.DefaultSelector() as selector:
            for stream in texts:
                selector.register(stream, selectors.EVENT_READ)
            while selector.get_map():
                check()
                if self._clock() > deadline:
                    problem = f"it took longer than {limits.seconds} s"
                    raise errors.ConversionFailed(problem=problem)
                for key, _ in selector.select(_TICK_SECONDS):
                    stream = process.stdout if key.fileobj is process.stdout else process.stderr
                    text = os.read(key.fd, _MAX_OUTPUT_BYTES)
                    texts[stream] = (texts[stream] + text)[:_MAX_OUTPUT_BYTES]
                    if not text:
                        selector.unregister(stream)
                    elif stream is process.stdout:
                        on_output(text)
        return texts[process.stdout], texts[process.stderr]


def name(file: IO[bytes]) -> str:
    """The argument by which qemu-img opens an inherited file."""
    return f"/proc/self/fd/{file.fileno()}"


@contextlib.contextmanager
def _killing(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        process.kill()
        raise


def _program(name: str, key: str, package: str) -> str:
    path = shutil.which(name)
    if path is None:
        problem = f"the program {name} is needed and not installed (Debian's package {package})"
        raise BadConfig(key, problem)
    return os.path.realpath(path)


def _user(name: str) -> pwd.struct_passwd:
    try:
        user = pwd.getpwnam(name)
    except KeyError as error:
        raise BadConfig(f"[{GROUP}] user", f"there is no user {name!r}") from error
    if user.pw_uid == 0:
        raise BadConfig(f"[{GROUP}] user", "qemu-img must not run as root")
    return user


def _problem(message: bytes, status: int) -> str:
    """What qemu-img says, as one line without the names of the sandbox."""
    text = " ".join(message.decode(errors="replace").split())
    text = _FILE_NAME.sub("the image", text.removeprefix("qemu-img: "))
    if text:
        return text[:_MAX_MESSAGE_CHARACTERS]
    return f"it exceeded a limit or crashed (status {status})"
