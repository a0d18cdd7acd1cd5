"""Encrypts what authenticates the users of waiting uploads at upstream.

A job needs it after its request has ended, perhaps in another process. The database then contains
nothing that a reader of the database could use.
"""

import json
import os
import secrets

from cryptography.fernet import Fernet, InvalidToken

from imsgate import errors
from imsgate.errors import BadConfig
from imsgate.forward.fields import Fields
from imsgate.forward.settings import GROUP

_OPTION = f"[{GROUP}] spool_seal_file"


class CredentialSeal:
    """Seals headers with the key in a file, which is created unless it exists."""

    def __init__(self, path: str) -> None:
        """Raises BadConfig."""
        try:
            if not os.path.exists(path):
                _create(path)
            with open(path, "rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                self._cipher = Fernet(file.read().strip())
        except (OSError, ValueError) as error:
            raise BadConfig(_OPTION, f"{path} cannot be used: {error}") from error
        if mode & 0o077:
            problem = f"{path} must be accessible to its owner only (chmod 600)"
            raise BadConfig(_OPTION, problem)

    def close(self, fields: Fields) -> str:
        return self._cipher.encrypt(json.dumps(fields).encode()).decode()

    def open(self, sealed: str) -> Fields:
        """Raises Unauthenticated for what was sealed with another key."""
        try:
            return [(name, text) for name, text in json.loads(self._cipher.decrypt(sealed))]
        except InvalidToken as error:
            raise errors.Unauthenticated from error


def _create(path: str) -> None:
    """Create the file, unless another process was faster."""
    os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
    new = f"{path}.{secrets.token_hex(4)}"
    descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(Fernet.generate_key() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(new, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(new)
