"""The list of interrupted uploads, and the arguments of its commands."""

import contextlib
import json

import pytest

from imsgate.client.connection import Connection
from imsgate.client.failures import Failure
from imsgate.client.retries import Retries
from imsgate.client.state import Journal, UnfinishedUpload
from imsgate.client.unfinished import cancel, look
from imsgate.cmd import main
from tests.client.scripted import Say, Scripted, Tokens


def entry(endpoint, **fields):
    given = {"image_id": "one", "endpoint": endpoint, "path": "/disk", "size": 10, "mtime": 1}
    more = {"head": "", "created": True, "record": {}, "store": None}
    return UnfinishedUpload(**{**given, **more, **fields})


@pytest.fixture
def connected():
    with contextlib.ExitStack() as opened:

        def connect(server):
            connection = Connection(Tokens(server.url), Retries(0))
            return opened.enter_context(contextlib.closing(connection))

        yield connect


PROGRESS = {"state": "open", "received": 4, "expires_at": "2026-11-30T08:00:20Z"}


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (Say(200, json.dumps(PROGRESS).encode()), ("open", 4, "2026-11-30T08:00:20Z")),
        (Say(404), ("not begun", None, None)),
        (Say(503), ("not reachable", None, None)),
        (Say(0), ("not reachable", None, None)),
    ],
)
def test_what_is_shown(connected, answer, seen):
    with Scripted(answer) as server:
        view = look(entry(server.url), connected(server))
    assert (view.state, view.received, view.expires_at) == seen
    assert (view.image_id, view.path, view.size) == ("one", "/disk", 10)


def test_another_service_is_not_asked(connected):
    with Scripted() as server:
        assert look(entry("http://elsewhere"), connected(server)).state == "of another service"
    assert server.heard == []


@pytest.mark.parametrize(
    ("created", "answers", "methods"),
    [
        (True, [Say(204), Say(200, b'{"status": "queued"}'), Say(204)], "DELETE GET DELETE"),
        (True, [Say(410), Say(200, b'{"status": "active"}')], "DELETE GET"),
        (True, [Say(404), Say(404)], "DELETE GET"),
        (False, [Say(204)], "DELETE"),
    ],
)
def test_what_is_discarded(connected, tmp_path, created, answers, methods):
    journal = Journal(tmp_path)
    with Scripted(*answers) as server:
        journal.save(entry(server.url, created=created))
        cancel("one", journal, connected(server))
    assert [sent.method for sent in server.heard] == methods.split()
    assert server.heard[0].path == "/v2/images/one/upload"
    assert journal.entries() == []


def test_what_cannot_be_discarded(connected, tmp_path):
    journal = Journal(tmp_path)
    journal.save(entry("http://elsewhere"))
    with Scripted(Say(403)) as server:
        for image_id, why in (("one", "to http://elsewhere"), ("two", "no unfinished upload")):
            with pytest.raises(Failure, match=why):
                cancel(image_id, journal, connected(server))
        journal.save(entry(server.url))
        with pytest.raises(Failure, match="403"):
            cancel("one", journal, connected(server))
    assert len(journal.entries()) == 1


@pytest.mark.parametrize(
    ("words", "cloud", "patience"),
    [
        ("uploads", None, 0),
        ("uploads --cloud a --patience 5", "a", 5),
        ("uploads cancel one", None, 0),
        ("uploads --cloud a --patience 5 cancel one", "a", 5),
        ("uploads cancel --cloud b --patience 6 one", "b", 6),
        ("uploads --cloud a cancel --cloud b one", "b", 0),
        ("upload --cloud a disk", "a", 900),
        ("download one - --cloud a", "a", 900),
    ],
)
def test_arguments(words, cloud, patience):
    args = main.parser(words.split()[0]).parse_args(words.split())
    assert (args.cloud, args.patience) == (cloud, patience)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("upload disk --part-size 100K", "is not a size of 128K or more"),
        ("upload disk --part-size many", "is not a size of 128K or more"),
        ("upload disk --property novalue", "is not KEY=VALUE"),
        ("upload disk --min-disk -1", "is not a whole number"),
        ("upload disk --patience nan", "is not a number of seconds"),
        ("upload disk --progress always", "invalid choice"),
        ("upload", "FILE"),
    ],
)
def test_wrong_usage(capsys, words, problem):
    with pytest.raises(SystemExit) as ended:
        main.main(words.split())
    assert ended.value.code == 2
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "size"), [("128K", 131072), ("8M", 8 << 20), ("1GiB", 1 << 30), ("9mb", 9 << 20)]
)
def test_part_sizes(text, size):
    assert main.parser("upload").parse_args(["upload", "x", "--part-size", text]).part_size == size
