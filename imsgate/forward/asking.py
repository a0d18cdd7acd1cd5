"""Questions of this service's own to upstream, beside the requests that it passes on."""

import contextlib
from collections.abc import Iterator

from imsgate import errors
from imsgate.forward.connection import UpstreamConnection
from imsgate.forward.exchange import Exchanges, UpstreamRequest
from imsgate.forward.incoming import IncomingBody

#: The longest answer that is read as a whole, in bytes.
MAX_ANSWER_BYTES = 1 << 20
_IDLE_SECONDS = 30.0


@contextlib.contextmanager
def asked(exchanges: Exchanges, question: UpstreamRequest) -> Iterator[tuple[int, Iterator[bytes]]]:
    """The status of the answer and its body. Raises UpstreamFailed, also while it is read."""

    def end(connection: UpstreamConnection, complete: bool) -> None:
        connection.close()

    connection, response = exchanges.send(question)
    with contextlib.closing(IncomingBody(connection, _IDLE_SECONDS, end)) as body:
        yield response.status_code, body


def whole(chunks: Iterator[bytes], limit: int = MAX_ANSWER_BYTES) -> bytes:
    """Raises UpstreamFailed for more than ``limit`` bytes."""
    content = bytearray()
    for chunk in chunks:
        content += chunk
        if len(content) > limit:
            raise errors.UpstreamFailed(problem="sent too long an answer")
    return bytes(content)
