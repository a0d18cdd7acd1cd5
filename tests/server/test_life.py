"""The lines at the start and the stop of a process."""

import logging
import re

import pytest

from imsgate.config import Config
from imsgate.server import life


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO)
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.fixture
def conf(tmp_path):
    path = tmp_path / "imsgate.conf"
    path.write_text(
        "[DEFAULT]\nenabled_backends = fast:file, archive:s3\n"
        "[glance_store]\ndefault_backend = fast\n"
        "[database]\nconnection = postgresql+psycopg://me:hush%40@db/images?sslpassword=hush\n"
        "[jobs]\nengine = celery\nbroker_url = amqp://me:hush@mq//?password=hush\n"
    )
    return Config([str(path)])


def test_the_start_says_version_stores_and_database(conf, lines, caplog):
    life.log_start(conf, "serves 127.0.0.1:9292")
    [line] = lines()
    assert line == (
        f"imsgate {life.version()} serves 127.0.0.1:9292: flavor main, "
        "stores fast (file, default) archive (s3), "
        "database postgresql+psycopg://me:***@db/images, jobs celery (amqp://me:***@mq//)"
    )
    assert caplog.records[0].extra["database"] == "postgresql+psycopg://me:***@db/images"


def test_what_passes_requests_on_has_neither(conf, lines):
    life.log_start(conf, "serves 127.0.0.1:9292", with_services=False)
    assert lines() == [f"imsgate {life.version()} serves 127.0.0.1:9292: flavor main"]


def test_the_defaults(tmp_path, lines):
    life.log_start(Config([], state_path=str(tmp_path)), "serves")
    [line] = lines()
    assert line.endswith(
        f"stores file (file, default), database sqlite:///{tmp_path}/imsgate.sqlite, jobs local"
    )


def test_the_stop(lines):
    life.log_stop()
    assert re.fullmatch(r"imsgate \d+\.\d+\.\S+ has stopped", lines()[0])


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:hush@host/0", "redis://:***@host/0"),
        ("redis://host/0?password=hush", "redis://host/0"),
        ("amqp://user@host//", "amqp://user@host//"),
        ("amqp://user:hu@sh@host//", "amqp://user:***@host//"),
        ("memory://", "memory://"),
    ],
)
def test_a_url_without_its_secrets(url, shown):
    assert life.masked(url) == shown
