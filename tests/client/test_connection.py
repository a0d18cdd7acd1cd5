"""Requests that are repeated, and what the answers of servers mean."""

import contextlib
import json
import socket

import pytest

from imsgate.client.connection import Connection
from imsgate.client.failures import Cut, Failure, NotAllowed, Refused, TransferInterrupted
from imsgate.client.retries import Retries
from tests.client.scripted import Clock, Say, Scripted, Tokens

GLANCE_PAGE = b"""<html>
 <head>
  <title>409 Conflict</title>
 </head>
 <body>
  <h1>409 Conflict</h1>
  Image status transition from saving to saving is &quot;not&quot; allowed<br /><br />
 </body>
</html>"""


@pytest.fixture
def connected():
    """Connects to servers or endpoints, and closes the connections at the end."""
    with contextlib.ExitStack() as stack:

        def connect(endpoint, clock, *tokens, patience=60.0):
            retries = Retries(patience, clock=clock, sleep=clock.sleep, spread=lambda: 1.0)
            connection = Connection(Tokens(endpoint, *tokens), retries)
            return stack.enter_context(contextlib.closing(connection))

        yield connect


def refusal(reason, status=400, message="no"):
    body = json.dumps({"message": message, "reason": reason}).encode()
    return Say(status, body, {"X-Imsgate-Reason": reason, "Content-Type": "application/json"})


@pytest.mark.parametrize(
    ("answers", "slept"),
    [
        ([Say(204)], []),
        ([Say(0), Say(0), Say(204)], [0, 0.5]),
        ([Say(503, headers={"Retry-After": "7"}), Say(204)], [7]),
        ([Say(504), Say(502), Say(500), Say(204)], [0, 0.5, 1]),
        ([Say(429, headers={"Retry-After": "9"}), Say(204)], [9]),
        ([refusal("idempotency_key_in_use", 409), Say(204)], [0]),
    ],
)
def test_what_passes_is_waited_for(connected, answers, slept):
    clock = Clock()
    with Scripted(*answers) as server:
        assert connected(server.url, clock).call("GET", "/v2/x").status_code == 204
    assert clock.slept == slept
    assert len(server.heard) == len(answers)


def test_patience_ends(connected):
    clock = Clock()
    with Scripted(*[Say(503, headers={"Retry-After": "25"})] * 5) as server:
        connection = connected(server.url, clock)
        with pytest.raises(
            TransferInterrupted, match="no progress for 60 seconds: the server answers 503"
        ):
            connection.call("GET", "/v2/x")
    assert clock.slept == [25, 25]


def test_a_token_that_expires_is_renewed_once(connected):
    clock = Clock()
    with Scripted(Say(401), Say(204), Say(401), Say(204)) as server:
        connection = connected(server.url, clock, "a", "b", "c")
        connection.call("GET", "/v2/x")
        connection.call("GET", "/v2/x")
    sent = [request.headers["X-Auth-Token"] for request in server.heard]
    assert sent == ["a", "b", "b", "c"]


@pytest.mark.parametrize("tokens", [("a",), ("a", "b", "c")])
def test_a_new_token_that_is_refused(connected, tokens):
    with Scripted(*[Say(401)] * 3) as server:
        connection = connected(server.url, Clock(), *tokens)
        with pytest.raises(NotAllowed, match="the server answers 401"):
            connection.call("GET", "/v2/x")


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (refusal("image_refused", 415, "The image was refused (x)"), Refused, r"was refused \(x\)"),
        (refusal("format_mismatch", 415), Refused, "no"),
        (refusal("forbidden", 403), NotAllowed, "no"),
        (refusal("quota", 413), Failure, "no"),
        (Say(400, b'{"error": {"message": "of IMS"}}'), Failure, "of IMS"),
        (Say(404, b"[]"), Failure, "the server answers 404 Not Found"),
        (
            Say(409, GLANCE_PAGE, {"Content-Type": "text/html"}),
            Failure,
            '^409 Conflict Image status transition from saving to saving is "not" allowed$',
        ),
    ],
)
def test_what_refusals_mean(connected, answer, kind, message):
    with Scripted(answer) as server:
        connection = connected(server.url, Clock())
        with pytest.raises(Failure, match=message) as raised:
            connection.call("GET", "/v2/x")
    assert type(raised.value) is kind


def test_no_server(connected):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    connection = connected(f"http://127.0.0.1:{port}", Clock())
    with pytest.raises(Cut, match=r"^the connection failed: Failed to establish .* refused$"):
        connection.send("GET", "/v2/x")


@pytest.mark.parametrize("endpoint", ["127.0.0.1:1", "ftp://127.0.0.1", "http://"])
def test_an_endpoint_that_is_no_url(connected, endpoint):
    connection = connected(endpoint, Clock())
    with pytest.raises(Failure, match="is not a URL"):
        connection.send("GET", "/v2/x")


def test_other_services_get_no_token(connected):
    with Scripted(Say(204)) as server:
        connection = connected(server.url, Clock())
        connection.send("GET", f"{server.url}/elsewhere")
    assert "X-Auth-Token" not in server.heard[0].headers
