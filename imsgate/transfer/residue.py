"""Residue: what an unreachable store may still contain of attempts that have ended.

A row in the registry contains the store and the attempt's key. It is a job that no engine runs: the
sweep of any process claims it and discards the attempt. The image is not involved. It may be
uploaded again at once, and any number of its attempts may leave residue.
"""

import datetime
import logging
import time
import uuid
from collections.abc import Callable

from imsgate import errors, metrics, model
from imsgate.model import Job, JobState
from imsgate.registry.base import Registry
from imsgate.stores.base import Store
from imsgate.stores.enabled import Stores

LOG = logging.getLogger(__name__)

#: The kind of these rows.
KIND = "residue"

#: How long discarding is retried; a store may never come back.
_PATIENCE = datetime.timedelta(days=30)


def discard(registry: Registry, store: Callable[[], Store], store_id: str, key: str) -> bool:
    """Discard what the attempt with this key left in a store, now or later. Never raises.

    ``store`` returns the store with the id ``store_id``, or raises. Returns False if the store
    failed and the registry could not be reached either: then the record must keep naming the
    attempt.
    """
    try:
        _discard(store(), key)
        return True
    except errors.Error as error:
        LOG.warning("What attempt %s left will be removed later: %s", key, error)
    except Exception:
        LOG.exception("What attempt %s left will be removed later", key)
    now = model.now()
    arguments = {"store": store_id, "key": key}
    job = Job(id=str(uuid.uuid4()), kind=KIND, arguments=arguments, created_at=now, updated_at=now)
    try:
        registry.add_job(job)
    except errors.Unavailable:
        return False
    return True


def sweep(registry: Registry, stores: Stores, lease: float) -> int:
    """Discard all residue that no other process is discarding; return the number of attempts.

    ``lease`` is the number of seconds until another process may try, or this one again.
    """
    now = time.time()
    count, away = 0, set()
    while job := registry.claim_job([KIND], now, now + lease):
        store_id, key = job.arguments["store"], job.arguments["key"]
        if store_id in away:
            continue  # leased until the next sweep
        try:
            _discard(stores.get(store_id), key)
        except Exception as error:
            away.add(store_id)
            LOG.warning("What attempt %s left could not be removed yet: %s", key, error)
            if model.now() - job.created_at > _PATIENCE:
                LOG.error("What attempt %s left stays in store %s", key, store_id)
                _end(registry, job, JobState.FAIL)
            continue
        _end(registry, job, JobState.SUCCESS)
        metrics.RESIDUE_REMOVED.add(store_id)
        count += 1
    return count


def _discard(store: Store, key: str) -> None:
    if not store.read_only:
        store.discard(key)


def _end(registry: Registry, job: Job, state: JobState) -> None:
    registry.change_job(job.id, job.epoch, {"state": state, "lease": None, "end_at": model.now()})
