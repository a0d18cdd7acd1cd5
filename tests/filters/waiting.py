"""A client that may keep the server waiting."""

import threading

from imsgate.testing import servers


class WaitingInput(servers.Input):
    """``wsgi.input`` as in gunicorn: a read waits for all bytes requested, or for the end."""

    def __init__(self, connection):
        super().__init__(b"")
        self._connection = connection
        self.reading = threading.Event()

    def read(self, size):
        self.reading.set()
        found = b""
        while len(found) < size and (chunk := self._connection.recv(size - len(found))):
            found += chunk
        return found
