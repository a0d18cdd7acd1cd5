"""The stores: each writes, reads and deletes an object, and each of the buckets' keys is tried."""

from collections.abc import Callable, Iterator

from imsgate.buckets import base as buckets
from imsgate.doctor import store_trial
from imsgate.doctor.diagnosis import Diagnosis, Severity
from imsgate.doctor.installation import Installation
from imsgate.errors import BadConfig
from imsgate.stores.base import Store
from imsgate.stores.enabled import Backend
from imsgate.transfer import media

#: More than one part of a multipart upload.
_OBJECT_BYTES = 8 << 20

_ADVICE = {
    "store_full": "Free space, or add a store.",
    "store_denied": "Check the credentials of the store and what they permit, or the owner and "
    "the permissions of its directory.",
    "store_unavailable": "Start the storage service or mount the volume, and check the address "
    "in section [{store}].",
    "": "The medium loses or changes data. Stop uploads to it, and look at its own logs.",
}
_ADVICE_CONFIG = "Correct this option. 'imsgate stores check {store}' tries again."
_ADVICE_KEYS = "Correct the access key in this section, or its permissions."


def check(installation: Installation) -> Iterator[Diagnosis]:
    """One finding for each store and for each of the buckets' access keys."""
    if not installation.has_records:
        message = "This service only passes requests on."
        yield Diagnosis(check="stores", severity=Severity.SKIPPED, message=message)
        return
    for store_id, _, found in installation.stores:
        if isinstance(found, BadConfig):
            advice = _ADVICE_CONFIG.format(store=store_id)
            yield _error(store_id, f"The store cannot be used: {found}.", advice)
        else:
            yield _try(found, _place_check(installation, found))
    accounts = buckets.load(installation.conf)
    for section, problem in accounts.check() if accounts else ():
        if problem:
            yield _error(section, f"The keys of the buckets do not work: {problem}.", _ADVICE_KEYS)
        else:
            yield _ok(section, "The service accepts the keys of the buckets.")


def _try(backend: Backend, check_place: Callable[[Store], object]) -> Diagnosis:
    for step in store_trial.run(backend, _OBJECT_BYTES, check_place):
        if step.problem:
            advice = _ADVICE.get(step.reason, _ADVICE_CONFIG).format(store=backend.id)
            return _error(backend.id, f"The step {step.name!r} fails: {step.problem}.", advice)
    done = "can be read" if backend.read_only else "was written to, read from and deleted from"
    return _ok(backend.id, f"The store {done}.")


def _place_check(installation: Installation, backend: Backend) -> Callable[[Store], object]:
    """Whether the server would start with this place; only one without a mark needs records."""
    if backend.started is None or backend.started.unmarked() is None:
        return lambda store: None
    try:
        registry = installation.registry
    except BadConfig:  # there is no database yet, or another check reports it
        return lambda store: None
    return lambda store: media.require_right_place(registry, store)


def _ok(name: str, message: str) -> Diagnosis:
    return Diagnosis(check=f"stores.{name}", severity=Severity.OK, message=message)


def _error(name: str, message: str, advice: str) -> Diagnosis:
    return Diagnosis(
        check=f"stores.{name}", severity=Severity.ERROR, message=message, advice=advice
    )
