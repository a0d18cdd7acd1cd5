"""What is shown while a transfer runs."""

import io
import json

import pytest

from imsgate.client import progress
from tests.client.scripted import Clock


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("mode", "stream", "kind"),
    [
        ("auto", io.StringIO(), progress.Quiet),
        ("auto", Terminal(), progress.Bar),
        ("bar", io.StringIO(), progress.Bar),
        ("json", Terminal(), progress.JsonLines),
        ("none", Terminal(), progress.Quiet),
    ],
)
def test_modes(mode, stream, kind):
    assert type(progress.make(mode, lambda: None, stream)) is kind


def transfer(shown):
    shown.begin("Reading", 10)
    shown.update(10, 0)
    shown.begin("Uploading", 1000, 10)
    shown.note("a note")
    shown.update(1000, 500)
    shown.close()


@pytest.mark.parametrize(("mode", "said"), [("auto", "imsgate: a note\n"), ("none", "")])
def test_quiet(mode, said):
    stream = io.StringIO()
    transfer(progress.make(mode, lambda: None, stream))
    assert stream.getvalue() == said


def test_a_bar():
    stream = io.StringIO()
    transfer(progress.make("bar", lambda: None, stream))
    said = stream.getvalue()
    assert "a note" in said
    assert "100%" in said
    assert "wire 500 bytes" in said


def test_a_bar_without_an_end():
    stream = io.StringIO()
    shown = progress.make("bar", lambda: None, stream)
    shown.begin("Uploading", None)
    shown.update(5000, 10)
    shown.close()
    assert "5.0/? kB" in stream.getvalue()


def test_json_once_a_second_and_at_the_end():
    stream, clock = io.StringIO(), Clock()
    shown = progress.JsonLines(stream, lambda: "one", clock)
    shown.begin("Uploading", 1000, 100)
    for done in range(100, 900, 100):
        clock.now += 0.25
        shown.update(done, done // 2)
    shown.note("a note")
    shown.update(1000, 500)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {line.pop("image_id") for line in lines} == {"one"}
    assert lines.pop(-2) == {"note": "a note"}
    assert [(line["done"], line["wire"], line["rate"]) for line in lines] == [
        *((100, 0, 0), (400, 200, 300), (800, 400, 350), (1000, 500, 450))
    ]
    assert {(line["phase"], line["total"]) for line in lines} == {("Uploading", 1000)}
