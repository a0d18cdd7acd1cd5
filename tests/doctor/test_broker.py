"""Brokers that are away are named, without their passwords.

tests/notifications/test_bus.py has one that works.
"""

import pytest

from imsgate.doctor import broker
from tests.doctor.conftest import wrong
from tests.functional.gateway import HOST, free_port


def test_no_broker(install):
    (finding,) = broker.check(install())
    assert (finding.check, finding.severity) == ("broker", "skipped")


def test_a_broker_that_works(install):
    (finding,) = broker.check(install("[jobs]\nengine = celery\nbroker_url = memory://\n"))
    assert (finding.check, finding.severity) == ("broker.jobs", "ok")


@pytest.mark.parametrize(
    ("text", "name", "key"),
    [
        (
            "[jobs]\nengine = celery\nbroker_url = amqp://u:hush@{at}//\n",
            "broker.jobs",
            "[jobs] broker_url",
        ),
        (
            "[oslo_messaging_notifications]\ndriver = messagingv2\n"
            "transport_url = rabbit://u:hush@{at}//\n",
            "broker.notifications",
            "[oslo_messaging_notifications] transport_url",
        ),
    ],
)
def test_a_broker_that_is_away(install, text, name, key):
    findings = list(broker.check(install(text.format(at=f"{HOST}:{free_port()}"))))
    assert wrong(findings) == [(name, "error")]
    assert key in findings[0].advice
    assert "hush" not in findings[0].message
