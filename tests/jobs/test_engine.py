import datetime

import pytest

from imsgate import errors, model
from imsgate.model import JobState
from imsgate.testing.gateways import gateway
from imsgate.testing.records import job


def test_ended_jobs_can_be_looked_up_for_a_week():
    gate = gateway()
    now = model.now()
    kept, old = (
        job(state=JobState.SUCCESS, end_at=now - datetime.timedelta(days=days)) for days in (6, 8)
    )
    for one in (kept, old, job()):
        gate.registry.add_job(one)
    assert gate.engine.forget() == 1
    assert gate.registry.get_job(kept.id) == kept
    with pytest.raises(errors.NotFound):
        gate.registry.get_job(old.id)
