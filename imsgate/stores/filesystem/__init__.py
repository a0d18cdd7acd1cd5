"""Images as files in one directory.

``store`` is the driver, ``options`` its options, ``directory`` the paths and the meaning of
system errors, ``space`` how much an upload may take, ``sink`` and ``reader`` one file being
written or read, ``disk`` the Linux calls for large files.
"""

from imsgate.stores.filesystem.store import FilesystemStore

__all__ = ["FilesystemStore"]
