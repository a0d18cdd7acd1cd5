"""Notifications over oslo.messaging: the extra ``imsgate[notifications]``.

This module uses a private part of oslo.messaging: the public one logs what it could not send and
raises nothing, and it makes a new id for each attempt. The versions it was verified with are in
tests/notifications/test_bus.py.
"""

from collections.abc import Mapping
from typing import Any

from oslo_config import cfg
from oslo_service import backend

# oslo.messaging imports oslo.service, which would otherwise choose eventlet. The choice is final.
if backend.get_backend_type() is None:
    backend.init_backend(backend.BackendType.THREADING)

import oslo_messaging
from oslo_messaging._drivers import common
from oslo_messaging.notify import messaging, notifier

from imsgate import plugins
from imsgate.errors import BadConfig
from imsgate.notifications.target import Target, Undelivered, message_of
from imsgate.registry.outbox import Event

GROUP = "oslo_messaging_notifications"

#: The exchange of Glance, unless ``control_exchange`` names another one.
_EXCHANGE = "glance"

#: The outbox tries again; one attempt must end before another process takes its turn.
_NO_RETRY = 0


def load(conf: cfg.ConfigOpts) -> list[Target]:
    """The bus, if a driver is configured. Raises BadConfig."""
    oslo_messaging.set_transport_defaults(_EXCHANGE)
    try:
        transport = oslo_messaging.get_notification_transport(conf)
    except (oslo_messaging.MessagingException, cfg.Error, ValueError) as error:
        # Its text contains the URL with the password.
        problem = f"oslo.messaging does not accept it: {type(error).__name__}"
        raise BadConfig(f"[{GROUP}] transport_url", problem) from None
    options = conf[GROUP]
    names = [name for name in dict.fromkeys(options.driver) if name and name != "noop"]
    drivers = []
    for name in names:
        kind = plugins.find("oslo.messaging.notify.drivers", name, f"[{GROUP}] driver")
        drivers.append(kind(conf, topics=options.topics, transport=transport))
    return [Bus(drivers)] if drivers else []


class Bus(Target):
    """All drivers of oslo.messaging that are configured."""

    name = "messaging"
    label = "the message bus"

    def __init__(self, drivers: list[notifier.Driver]) -> None:
        self._drivers = drivers

    def send(self, event: Event) -> None:
        message = message_of(event)
        for driver in self._drivers:
            try:
                _send(driver, message)
            except Exception as error:  # the libraries below raise many kinds
                raise Undelivered(f"{type(error).__name__}") from error

    def check_broker(self) -> bool:
        """Connect to the broker, and send nothing. Raises Undelivered.

        Returns False if no driver has a connection of this kind; Kafka's has not.
        """
        found = [connect for driver in self._drivers if (connect := _connector(driver))]
        try:
            for connect in found:
                with connect(common.PURPOSE_SEND, retry=_NO_RETRY):
                    pass
        except Exception as error:  # the libraries below raise many kinds
            raise Undelivered(f"{type(error).__name__}: {error}") from error
        return bool(found)


def _connector(driver: notifier.Driver) -> Any:
    if not isinstance(driver, messaging.MessagingDriver):
        return None
    return getattr(driver.transport._driver, "_get_connection", None)


def _send(driver: notifier.Driver, message: Mapping[str, Any]) -> None:
    priority = str(message["priority"])
    if not isinstance(driver, messaging.MessagingDriver):
        driver.notify({}, dict(message), priority, _NO_RETRY)
        return
    for topic in driver.topics:
        target = oslo_messaging.Target(topic=f"{topic}.{priority.lower()}")
        driver.transport._send_notification(
            target, {}, dict(message), version=driver.version, retry=_NO_RETRY
        )
