"""Brokers that are away are named, without their passwords.

That of notifications is tested in tests/notifications/test_bus.py.
"""

from imsgate.doctor import broker
from tests.doctor.conftest import wrong
from tests.functional.gateway import HOST, free_port


def test_no_broker(install):
    (finding,) = broker.check(install())
    assert (finding.check, finding.severity) == ("broker", "skipped")


def test_a_broker_that_works(install):
    (finding,) = broker.check(install("[jobs]\nengine = celery\nbroker_url = memory://\n"))
    assert (finding.check, finding.severity) == ("broker.jobs", "ok")


def test_a_broker_that_is_away(install):
    url = f"amqp://u:hush@{HOST}:{free_port()}//"
    findings = list(broker.check(install(f"[jobs]\nengine = celery\nbroker_url = {url}\n")))
    assert wrong(findings) == [("broker.jobs", "error")]
    assert "[jobs] broker_url" in findings[0].advice
    assert "hush" not in findings[0].message
