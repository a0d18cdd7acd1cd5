"""Notifications over oslo.messaging: with RabbitMQ, and without any server."""

import json
import sys
import threading
from importlib import metadata

import kombu
import pytest

from imsgate.errors import BadConfig
from imsgate.notifications import bus, notifications
from imsgate.notifications.events import Events
from imsgate.notifications.notifications import Notifications
from imsgate.notifications.sender import Sender
from imsgate.notifications.settings import OutboxSettings
from imsgate.notifications.target import Undelivered
from imsgate.registry.memory import MemoryRegistry
from imsgate.registry.outbox import Event
from imsgate.testing.records import image
from tests import brokers
from tests.functional.gateway import HOST, eventually, free_port

#: ``bus`` uses private parts of oslo.messaging. A newer version must be looked at.
VERIFIED_MAJOR = 18


def test_the_private_parts_are_those_of_a_verified_version():
    assert int(metadata.version("oslo.messaging").partition(".")[0]) <= VERIFIED_MAJOR
    assert bus.messaging.MessagingV2Driver.mro()[1] is bus.messaging.MessagingDriver


@pytest.fixture
def load(config_of):
    def load(url, *drivers, more=""):
        lines = "".join(f"driver = {driver}\n" for driver in drivers)
        text = f"[oslo_messaging_notifications]\n{lines}transport_url = {url}\n{more}"
        config = config_of(text)
        module = notifications.import_bus(config)
        assert module is bus
        return module.load(config.native)

    return load


@pytest.fixture(scope="module")
def broker():
    started = brokers.RabbitMQ()
    try:
        started.start()
        started.wait()
        yield started
    finally:
        started.close()


@pytest.fixture
def queues(broker):
    """Reads what is in a queue of the broker."""
    with kombu.Connection(broker.url.rstrip("/") + "//") as connection:

        def read(name):
            """Each message was confirmed, so it is there."""
            channel, found = connection.default_channel, []
            while message := channel.basic_get(name, no_ack=True):
                assert message.delivery_info["exchange"] == "glance"
                found.append(json.loads(message.body))
            return found

        yield read


@pytest.mark.parametrize("password", ["guest", "hush"])
def test_the_broker_is_tried_without_a_message(load, broker, queues, password):
    (target,) = load(f"rabbit://guest:{password}@{HOST}:{broker.port}//", "messagingv2")
    if password == "guest":
        assert target.check_broker()
    else:
        with pytest.raises(Undelivered) as caught:
            target.check_broker()
        assert "hush" not in str(caught.value)


def test_messages_arrive_as_those_of_glance(load, broker, queues):
    url = f"rabbit://guest:guest@{HOST}:{broker.port}//"
    (target,) = load(url, "messagingv2", more="topics = ours, theirs\n")
    registry = MemoryRegistry()
    events = Events(targets=("messaging",), publisher_id="host-7")
    Notifications(registry, [target], events, OutboxSettings())
    record = image(name="old")
    registry.add(record)
    registry.change(record.id, {}, name="new")
    registry.add_events([Event(body={"priority": "ERROR", "event_type": "image.upload"})])
    sent = [each.message.event for each in registry._waiting.values()]
    sender = Sender(registry, target, OutboxSettings(), threading.Event())
    eventually(lambda: sender.send_some() or not registry._waiting, "all is sent")
    for topic in ("ours", "theirs"):
        envelopes = queues(f"{topic}.info")
        assert {envelope["oslo.version"] for envelope in envelopes} == {"2.0"}
        messages = [json.loads(envelope["oslo.message"]) for envelope in envelopes]
        for message, event in zip(messages, sent[:2], strict=True):
            assert message["message_id"] == event.id
            assert {name: message[name] for name in event.body} == event.body
            assert message["publisher_id"] == "host-7"
        (failed,) = queues(f"{topic}.error")
        assert json.loads(failed["oslo.message"])["message_id"] == sent[2].id
    target._drivers[0].transport.cleanup()


def test_a_broker_that_is_away(load):
    (target,) = load(f"rabbit://user:hush@{HOST}:{free_port()}//", "messaging")
    with pytest.raises(Undelivered) as caught:
        target.send(Event(body={"priority": "INFO"}))
    assert "hush" not in str(caught.value)
    target._drivers[0].transport.cleanup()


def test_the_log_is_a_driver(load, caplog):
    caplog.set_level("INFO")
    (target,) = load("fake://", "log", "noop", "log")
    target.send(Event(id="id-1", body={"priority": "INFO", "event_type": "image.create"}))
    assert caplog.text.count("id-1") == 1


@pytest.mark.parametrize("drivers", [[], ["noop"], [""]])
def test_it_is_off(load, drivers):
    assert load("fake://", *drivers) == []


@pytest.mark.parametrize(
    ("key", "url", "driver"),
    [
        ("driver", "fake://", "pigeon"),
        ("transport_url", "pigeon://user:hush@host/", "messagingv2"),
        ("transport_url", "rabbit://user:hush@host:port/", "messagingv2"),
    ],
)
def test_what_cannot_work_is_refused(load, key, url, driver):
    with pytest.raises(BadConfig) as caught:
        load(url, driver)
    assert caught.value.key == f"[oslo_messaging_notifications] {key}"
    assert "hush" not in str(caught.value)


def test_without_the_extra_it_is_refused(load, monkeypatch):
    monkeypatch.delitem(sys.modules, "imsgate.notifications.bus", raising=False)
    monkeypatch.delattr("imsgate.notifications.bus", raising=False)
    monkeypatch.setitem(sys.modules, "oslo_messaging", None)
    with pytest.raises(BadConfig, match=r"imsgate\[notifications\]") as caught:
        load("fake://", "messagingv2")
    assert caught.value.key == "[oslo_messaging_notifications] driver"
