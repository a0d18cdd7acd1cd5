"""The limit of open files: raised as far as allowed, and connections bounded by it."""

import resource

from imsgate.errors import BadConfig

#: File descriptors that a worker needs besides connections and requests: its log, database
#: connections, listening sockets, libraries.
_BASE_FILES = 100
#: File descriptors that a request may need besides its connection: a file of a store, or
#: connections to an object store and the database.
_FILES_PER_REQUEST = 4
#: Connections per worker, at most. More idle ones only take memory.
_MAX_CONNECTIONS = 4096


def max_connections(threads: int) -> int:
    """Raise this process's limit of open files, and return how many connections fit into it.

    ``threads`` is the number of concurrent requests. Raises BadConfig if not even those fit.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    available = 1 << 30 if hard == resource.RLIM_INFINITY else hard
    connections = available - _BASE_FILES - _FILES_PER_REQUEST * threads
    # One more than threads, so that the next connection can be accepted and told to wait.
    if connections <= threads:
        needed = _BASE_FILES + (_FILES_PER_REQUEST + 1) * threads + 1
        problem = f"{threads} threads need a limit of {needed} open files; it is {available}"
        raise BadConfig("--threads", problem)
    return min(connections, _MAX_CONNECTIONS)
