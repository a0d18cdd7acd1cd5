"""Deletion of keys from castellan's key manager.

``imsgate.signatures.encryption_keys`` imports this module if the operator wants keys deleted.
"""

import re
from typing import Any

from castellan import key_manager
from castellan.common import exception as castellan
from oslo_config import cfg
from oslo_context import context

from imsgate.errors import BadConfig

#: What Barbican and Vault call a key, with and without dashes. A user chose it, and drivers put it
#: into a URL.
_KEY_ID = re.compile("[0-9a-fA-F]{8}(-?)([0-9a-fA-F]{4}\\1){3}[0-9a-fA-F]{12}")


class KeyDeletion:
    """Deletes keys with the token of their user."""

    def __init__(self, native: cfg.ConfigOpts) -> None:
        """Raises BadConfig."""
        try:
            self._manager: Any = key_manager.API(native)
        except Exception as error:  # each driver raises its own exceptions
            raise BadConfig("[key_manager] backend", str(error)) from error

    def delete(self, key_id: str, token: str | None, project: str | None) -> str | None:
        """Delete a key; return why that failed, or None."""
        if not _KEY_ID.fullmatch(key_id):
            return "its id is not a UUID"
        requester = context.RequestContext(auth_token=token, project_id=project, overwrite=False)
        try:
            self._manager.delete(requester, key_id)
        except castellan.Forbidden:
            return "the user may not delete it"
        except (castellan.ManagedObjectNotFoundError, KeyError):
            return "there is no such key"
        except Exception as error:  # each driver raises its own exceptions
            return f"the key manager failed: {error}"
        return None
