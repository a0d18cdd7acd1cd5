"""Detached OpenPGP signatures, verified by ``gpgv`` with the operator's keyring."""

import logging
import pathlib
import shutil
import subprocess
import tempfile
from typing import Self

from imsgate.errors import BadConfig, ChecksumUntrusted

LOG = logging.getLogger(__name__)

#: It verifies in milliseconds; this is for a file system that hangs.
_MAX_SECONDS = 60

#: Signatures over data (RFC 9580 section 5.2.1). One of another class says nothing about the data.
_DATA_CLASSES = frozenset({"00", "01"})

#: What gpgv says of a signature that it does not accept (GnuPG's doc/DETAILS), the gravest first.
_PROBLEMS = {
    "BADSIG": "it is not a signature of this file",
    "REVKEYSIG": "its key has been revoked",
    "EXPKEYSIG": "its key has expired",
    "EXPSIG": "it has expired",
    "NO_PUBKEY": "its key is not in this service's keyring",
    "ERRSIG": "its algorithm is unknown or too weak",
}


class Keyring:
    """The keys whose signatures are accepted."""

    def __init__(self, program: str, path: pathlib.Path) -> None:
        self._program = program
        self._path = path

    @classmethod
    def load(cls, option: str, path: str) -> Self:
        """The keyring at ``path``. Raises BadConfig, naming ``option``."""
        program = shutil.which("gpgv")
        if program is None:
            raise BadConfig(option, "it needs the program gpgv, which is not installed")
        try:
            with open(path, "rb") as file:
                head = file.read(5)
        except OSError as error:
            raise BadConfig(option, str(error)) from error
        if not head:
            raise BadConfig(option, f"{path} is empty")
        if head == b"-----":
            problem = f"{path} is in ASCII armor, which gpgv does not read; use gpg --dearmor"
            raise BadConfig(option, problem)
        return cls(program, pathlib.Path(path).absolute())

    def verify(self, data: bytes, signature: bytes) -> None:
        """Raises ChecksumUntrusted unless ``signature`` contains a valid signature of ``data`` by
        one of the keys, and no wrong one."""
        with tempfile.TemporaryDirectory(prefix="imsgate-gpgv-") as name:
            directory = pathlib.Path(name)
            (directory / "data").write_bytes(data)
            (directory / "signature").write_bytes(signature)
            status = self._status(directory)
        problem = _problem(status)
        if problem is not None:
            raise ChecksumUntrusted(problem=problem)

    def _status(self, directory: pathlib.Path) -> list[list[str]]:
        """What gpgv reports: a list of words for each line."""
        command = [
            *(self._program, "--homedir", str(directory), "--keyring", str(self._path)),
            *("--weak-digest", "SHA1", "--status-fd", "1"),
            *(str(directory / "signature"), str(directory / "data")),
        ]
        try:
            done = subprocess.run(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env={"LC_ALL": "C"},
                timeout=_MAX_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            LOG.error("gpgv cannot be run: %s", error)
            raise ChecksumUntrusted(problem="this service could not verify it") from error
        if done.returncode:
            LOG.warning("gpgv: %s", done.stderr.decode(errors="replace").strip())
        lines = done.stdout.decode(errors="replace").splitlines()
        return [line.split(" ")[1:] for line in lines if line.startswith("[GNUPG:] ")]


def _problem(status: list[list[str]]) -> str | None:
    """Why a signature is not accepted, by gpgv's report; None if it is.

    A file may have signatures by several keys, of which the keyring need not have all.
    """
    words = {line[0] for line in status}
    is_good = is_accepted = False
    for word, *details in status:
        if word in ("NEWSIG", "GOODSIG"):
            is_good = word == "GOODSIG"
        elif word == "VALIDSIG" and is_good and details[8] in _DATA_CLASSES:
            is_accepted = True
    if is_accepted and "BADSIG" not in words:
        return None
    problems = (text for word, text in _PROBLEMS.items() if word in words)
    return next(problems, "it is not a detached OpenPGP signature")
