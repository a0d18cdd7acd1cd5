"""What is sent, when it is tried again, and what is left when a process dies."""

import contextlib
import logging
import multiprocessing
import os
import signal
import threading

import pytest

from imsgate import errors
from imsgate.notifications import notifications, webhooks
from imsgate.notifications.events import Events
from imsgate.notifications.notifications import Notifications
from imsgate.notifications.sender import Sender
from imsgate.notifications.settings import OutboxSettings, WebhookSettings
from imsgate.notifications.target import Declined, Target, Undelivered
from imsgate.registry.memory import MemoryRegistry
from imsgate.registry.outbox import Event
from imsgate.registry.sql import SqlRegistry, schema
from imsgate.testing.records import image
from tests import databases
from tests.notifications.receiver import SECRET, receiving

#: Each process is a copy of one that has imported everything.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload([__name__])

#: Later than the tests run, in seconds since the epoch.
NOW = 9e9


class Script(Target):
    """Raises the next of ``failures`` instead of sending, if it is not None."""

    name = label = "script"

    def __init__(self, *failures):
        self.failures = list(failures)
        self.sent = []
        self.on_send = lambda: None

    def send(self, event):
        self.on_send()
        if self.failures and (failure := self.failures.pop(0)):
            raise failure
        self.sent.append(event.body["name"])


class Bench:
    """A registry with messages, a clock, and a sender."""

    def __init__(self, *failures):
        self.registry = MemoryRegistry()
        self.target = Script(*failures)
        self.registry.record_events(Events(targets=("script",), publisher_id="host"))
        self.now = NOW
        self.stop = threading.Event()
        self.sender = self.another(self.target)

    def another(self, target):
        settings = OutboxSettings(lease=60)
        return Sender(self.registry, target, settings, self.stop, lambda: self.now)

    def add(self, *names):
        self.registry.add_events([Event(body={"name": name}) for name in names])

    def send_all(self):
        while self.sender.send_some():
            pass


def test_messages_are_sent_once_and_in_order():
    bench = Bench()
    names = [str(number) for number in range(50)]
    bench.add(*names)
    bench.send_all()
    bench.add("last")
    bench.send_all()
    assert bench.target.sent == [*names, "last"]
    assert not bench.registry._waiting


def test_an_unavailable_target_gets_all_in_order_later(caplog):
    caplog.set_level(logging.INFO)
    bench = Bench(None, Undelivered("away"), Undelivered("away"))
    bench.add(*"abc")
    for pause in (1, 2):
        bench.send_all()
        assert bench.target.sent == ["a"]
        bench.now += pause - 0.5
        bench.send_all()  # the pause is not over
        assert len(bench.target.failures) == 2 - pause
        bench.now += 0.5
    bench.send_all()
    assert bench.target.sent == ["a", "b", "c"]
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    assert "Script fails: away; notifications wait" in caplog.text
    assert "Script works again after 3 s" in caplog.text


def test_the_pause_is_for_all_processes():
    bench = Bench(Undelivered("away"))
    other = bench.another(Script())
    bench.add("a")
    assert not bench.sender.send_some()
    assert not other.send_some()
    bench.now += 1
    assert other.send_some()


def test_pauses_end_growing():
    bench = Bench(*[Undelivered("away")] * 100)
    bench.add("a")
    for number in range(100):
        bench.now += 60
        bench.send_all()
        assert len(bench.target.failures) == 99 - number


def test_a_refused_message_does_not_keep_others_waiting(caplog):
    bench = Bench(None, Declined("status 400"), None, Declined("status 400"))
    bench.add(*"abc")
    bench.send_all()
    assert bench.target.sent == ["a", "c"]
    for pause in (1, 2):
        bench.now += pause
        bench.send_all()
    assert bench.target.sent == ["a", "c", "b"]
    assert caplog.text.count("refused notification") == 2


def test_a_slow_sender_keeps_its_turn():
    bench = Bench()
    bench.add(*"abcdef")
    other = bench.another(Script())

    def slowly():
        bench.now += 25
        assert not other.send_some()

    bench.target.on_send = slowly
    bench.send_all()
    assert bench.target.sent == list("abcdef")


def test_a_sender_that_was_paused_stops():
    bench = Bench()
    bench.add(*"abcd")
    other = bench.another(Script())

    def pause():
        bench.target.on_send = lambda: None
        bench.now += 61
        assert other.send_some()

    bench.target.on_send = pause
    bench.send_all()
    assert bench.target.sent == ["a"]
    assert other._target.sent == ["a", "b", "c", "d"]


def test_a_sender_that_stops_leaves_the_rest_to_others():
    bench = Bench()
    bench.add(*"abc")
    bench.target.on_send = bench.stop.set
    bench.sender.run()
    assert bench.target.sent == ["a"]
    bench.stop.clear()
    other = Script()
    assert bench.another(other).send_some()
    assert other.sent == ["b", "c"]


def test_a_thread_survives_failures(caplog, monkeypatch):
    bench = Bench(RuntimeError("a bug"))
    bench.add("a")
    waits = []

    def wait(seconds):
        waits.append(seconds)
        bench.now += 61
        if bench.target.sent:
            bench.stop.set()

    monkeypatch.setattr(bench.stop, "wait", wait)
    bench.sender.run()
    assert bench.target.sent == ["a"]
    assert waits == [1, 1]
    assert "a bug" in caplog.text
    caplog.clear()

    def away(*_):
        raise errors.Unavailable(what="The database")

    bench.stop.clear()
    monkeypatch.setattr(bench.registry, "take_turn", away)
    bench.sender.run()
    assert caplog.text == ""


def test_what_cannot_be_sent_for_too_long_is_dropped(caplog):
    bench = Bench()
    events = Events(targets=("script",), publisher_id="host")
    kept = Notifications(bench.registry, [bench.target], events, OutboxSettings(keep=3600))
    bench.add("a")
    kept.forget()
    assert caplog.text == ""
    dropping = Notifications(bench.registry, [bench.target], events, OutboxSettings(keep=-3600))
    dropping.forget()
    assert "1 notifications were dropped" in caplog.text
    assert not bench.registry._waiting


def test_threads_send_and_end():
    bench = Bench()
    events = Events(targets=("script",), publisher_id="host")
    sent = threading.Event()
    bench.target.on_send = sent.set
    running = Notifications(bench.registry, [bench.target], events, OutboxSettings(poll=0.01))
    running.start_threads()
    bench.add("a")
    assert sent.wait(300)
    running.stop(60)
    assert not running._threads[0].is_alive()
    assert bench.target.sent == ["a"]


def test_by_default_there_are_none():
    registry = MemoryRegistry()
    off = Notifications(registry, [], Events(targets=(), publisher_id=""), OutboxSettings())
    off.start_threads()
    registry.add(image())
    off.forget()
    assert off.on_sent(None, image()) is None
    assert not off._threads
    assert not registry._waiting
    assert registry._recorder is None


# Processes that die


@pytest.fixture
def site(tmp_path):
    settings = databases.settings(f"sqlite:///{tmp_path}/imsgate.sqlite", tmp_path)
    schema.upgrade(settings)
    with receiving() as receiver:
        yield settings, receiver


def _open(settings, url):
    registry = SqlRegistry(settings)
    targets = webhooks.load(WebhookSettings(urls=[url], secret=[SECRET]))
    events = Events(targets=(targets[0].name,), publisher_id="host")
    Notifications(registry, targets, events, OutboxSettings())
    stop = threading.Event()
    return registry, Sender(registry, targets[0], OutboxSettings(), stop, lambda: NOW)


def _work(settings, url, sends, dies_at):
    """A process that makes a change and sends, and is killed at a step."""

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    registry, sender = _open(settings, url)
    if dies_at == "change":
        # In the transaction, after the event was written.
        events = Events(targets=(sender._target.name,), publisher_id="host")

        class Dies:
            targets = events.targets

            def image(self, before, after):
                yield from events.image(before, after)
                if before is not None:
                    die()

        registry.record_events(Dies())
    record = image(name="old")
    registry.add(record)
    registry.change(record.id, {}, name="new")
    if dies_at == "removal":
        registry.remove_messages = die
    if sends:
        sender.send_some()
    die()


@pytest.mark.parametrize(
    ("sends", "dies_at", "first", "later"),
    [
        # Between the commit of the change and sending: nothing is lost.
        (False, None, [], ["image.create", "image.update"]),
        # Before the commit: nothing is invented.
        (False, "change", [], ["image.create"]),
        # Between sending and removing: what was sent comes twice, with the same ids.
        (True, "removal", ["image.create", "image.update"], ["image.create", "image.update"]),
        (True, None, ["image.create", "image.update"], []),
    ],
)
def test_a_process_dies(site, sends, dies_at, first, later):
    settings, receiver = site
    process = _PROCESSES.Process(target=_work, args=(settings, receiver.url, sends, dies_at))
    process.start()
    process.join(300)
    assert process.exitcode == -signal.SIGKILL
    assert [each["event_type"] for each in receiver.verified()] == first
    before = receiver.ids
    receiver.requests.clear()
    registry, sender = _open(settings, receiver.url)
    with contextlib.closing(registry):
        # The turn of the dead process ends.
        sender._clock = lambda: NOW + 61
        while sender.send_some():
            pass
        assert [each["event_type"] for each in receiver.verified()] == later
        assert len(set(before + receiver.ids)) == (1 if dies_at == "change" else 2)
        assert set(before) <= set(receiver.ids) or not later
    sender._target._connections.clear()


def test_the_module_of_the_bus_is_not_imported_by_default(config_of):
    assert notifications.import_bus(config_of("")) is None
    assert notifications.import_bus(config_of("[webhooks]\nurls = http://a\n")) is None
