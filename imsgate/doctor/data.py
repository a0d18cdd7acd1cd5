"""Records and data: records whose data is missing, and data to which no record refers."""

import collections
import dataclasses
import datetime
import functools
import time
from collections.abc import Iterator

from imsgate import errors, model
from imsgate.doctor import database
from imsgate.doctor.diagnosis import Diagnosis, Severity, counted
from imsgate.doctor.installation import Installation
from imsgate.model import Image, Location
from imsgate.registry.base import Query, Registry
from imsgate.stores.base import Sweeps
from imsgate.stores.enabled import Backend
from imsgate.transfer import orphans

_PAGE = 500
#: How many images a message names.
_NAMED = 5
#: Seconds for which a record may wait for cleanup before it is reported.
_CLEANUP_SECONDS = 3600.0
#: How long a job may wait for a worker; as in etc/prometheus-rules.yaml.
_JOB_WAIT = datetime.timedelta(seconds=900)


def check(installation: Installation) -> Iterator[Diagnosis]:
    """Compare all records with the stores, in bounded memory."""
    if not installation.has_records:
        message = "This service only passes requests on."
        yield Diagnosis(check="data", severity=Severity.SKIPPED, message=message)
        return
    if database.is_before_start(installation):
        message = "The next start of this release creates or migrates the database."
        yield Diagnosis(check="data", severity=Severity.SKIPPED, message=message)
        return
    registry, backends = installation.registry, installation.backends
    yield from _records(registry, {each.id: each for each in backends})
    for backend in backends:
        try:
            yield from _objects(registry, backend)
        except errors.Error as error:
            yield _unchecked(f"data.orphans.{backend.id}", error)
    yield _cleanup(registry)
    yield _jobs(registry)


@dataclasses.dataclass(slots=True)
class _Images:
    """A number of images, and the first few of them."""

    number: int = 0
    ids: list[str] = dataclasses.field(default_factory=list)

    def add(self, image: Image) -> None:
        self.number += 1
        if len(self.ids) < _NAMED:
            self.ids.append(image.id)

    def __str__(self) -> str:
        more = ", …" if self.number > len(self.ids) else ""
        return f"{self.number} ({', '.join(self.ids)}{more})"


def _records(registry: Registry, backends: dict[str, Backend]) -> Iterator[Diagnosis]:
    count = 0
    found: dict[tuple[str, str], _Images] = collections.defaultdict(_Images)
    away: dict[str, errors.Error] = {}
    for image in _listed(registry):
        for copy in image.copies:
            count += 1
            if copy.store in away:
                continue
            try:
                problem = _problem(registry, backends.get(copy.store), image, copy)
            except errors.StoreUnavailable as error:
                away[copy.store] = error
                continue
            if problem:
                found[problem, copy.store].add(image)
    for store, outage in away.items():
        yield _unchecked(f"data.records.{store}", outage)
    for (problem, store), images in found.items():
        text, advice = _PROBLEMS[problem]
        yield Diagnosis(
            check=f"data.{problem}.{store}",
            severity=Severity.ERROR,
            message=f"{text.format(store=store)}: {images}.",
            advice=advice.format(store=store),
        )
    if not found and not away:
        copies = counted(count, "copy", "copies")
        message = f"The stores have {copies} of image data, as recorded."
        yield Diagnosis(check="data.records", severity=Severity.OK, message=message)


#: By the name of the finding: what is wrong, and what to do.
_PROBLEMS = {
    "missing": (
        "The store {store!r} lacks the data of images",
        "Restore their files from a backup or copy them from another store, or delete the images "
        "and upload them again.",
    ),
    "size": (
        "The store {store!r} has data of another size than recorded for images",
        "Restore these files from a backup, or delete the images and upload them again.",
    ),
    "disabled": (
        "The store {store!r} is not enabled or cannot be used, and has the data of images",
        "Enable the store in [DEFAULT] enabled_backends, and correct what the check of the stores "
        "reports.",
    ),
}


def _problem(
    registry: Registry, backend: Backend | None, image: Image, copy: Location
) -> str | None:
    """Raises StoreUnavailable."""
    if backend is None:
        return "disabled"
    try:
        size = backend.store.size(copy.url)
    except errors.ObjectNotFound:
        return "missing" if _still_has(registry, image, copy) else None
    if image.size is not None and size != image.size:
        return "size" if _still_has(registry, image, copy) else None
    return None


def _still_has(registry: Registry, image: Image, copy: Location) -> bool:
    """Whether the record has not changed since it was read: the service may be running."""
    try:
        return copy in registry.get(image.id).copies
    except errors.NotFound:
        return False


def _listed(registry: Registry) -> Iterator[Image]:
    query = Query(admin=True, all_visibilities=True, limit=_PAGE)
    while page := registry.list(query):
        yield from page
        query = dataclasses.replace(query, marker=page[-1])


def _objects(registry: Registry, backend: Backend) -> Iterator[Diagnosis]:
    name = f"data.orphans.{backend.id}"
    store = backend.store
    if store.read_only or not isinstance(store, Sweeps):
        message = "The driver cannot list what is in this store."
        yield Diagnosis(check=name, severity=Severity.SKIPPED, message=message)
        return
    found = orphans.find(registry, backend)
    examples = ", ".join(found.examples)
    if found.attempts:
        yield Diagnosis(
            check=name,
            severity=Severity.WARNING,
            message=f"There is data of {counted(found.attempts, 'unfinished upload')} that nobody "
            "continues.",
            advice=f"Run 'imsgate stores sweep {backend.id}'.",
            fix=functools.partial(_sweep, registry, backend),
        )
    if found.objects:
        yield Diagnosis(
            check=name,
            severity=Severity.WARNING,
            message=f"No record refers to {counted(found.objects, 'complete object')}, for "
            f"example {examples}.",
            advice=f"If the database was not restored from a backup, run 'imsgate stores sweep "
            f"{backend.id}', which removes them.",
        )
    if found.foreign:
        yield Diagnosis(
            check=name,
            severity=Severity.WARNING,
            message=f"The data of {counted(found.foreign, 'image')} belongs to no record that "
            f"this database has ever had, for example {examples}.",
            advice="Find out whether another installation uses this place, or whether this is the "
            "wrong database. If neither is so, remove them by hand.",
        )
    if not (found.attempts or found.objects or found.foreign):
        message = "Records refer to all data in this store."
        yield Diagnosis(check=name, severity=Severity.OK, message=message)


def _sweep(registry: Registry, backend: Backend) -> str:
    """Remove unfinished uploads. Complete objects stay."""
    ((_, outcome),) = orphans.sweep(registry, [backend])
    if isinstance(outcome, errors.Error):
        raise outcome
    uploads, size = counted(outcome.attempts, "upload"), counted(outcome.bytes, "byte")
    return f"The data of {uploads} was removed ({size})."


def _cleanup(registry: Registry) -> Diagnosis:
    """What the sweep of a serving process should have cleaned up."""
    before, waiting = time.time() - _CLEANUP_SECONDS, _Images()
    for image in registry.expired(before):
        if image.upload_expires is not None or image.updated_at.timestamp() < before:
            waiting.add(image)
    if not waiting.number:
        message = "No upload or deletion has waited for cleanup for an hour."
        return Diagnosis(check="data.cleanup", severity=Severity.OK, message=message)
    return Diagnosis(
        check="data.cleanup",
        severity=Severity.WARNING,
        message=f"Uploads or deletions have waited for cleanup for an hour: {waiting}.",
        advice="Start 'imsgate serve', which cleans up regularly, and look for 'cleaned up' in its "
        "log. It waits while a store is away, and in read-only mode.",
    )


def _jobs(registry: Registry) -> Diagnosis:
    """Whether somebody works on the jobs."""
    since = registry.activity().waiting_since
    if since is None or model.now() - since < _JOB_WAIT:
        message = "No job has been waiting for long."
        return Diagnosis(check="data.jobs", severity=Severity.OK, message=message)
    return Diagnosis(
        check="data.jobs",
        severity=Severity.WARNING,
        message=f"A job has been waiting since {model.isotime(since)}.",
        advice="Start 'imsgate worker' on some host, or more of them. Without one, only 'imsgate "
        "serve' with [jobs] engine = local works on jobs, and not in read-only mode.",
    )


def _unchecked(name: str, error: errors.Error) -> Diagnosis:
    advice = "Repeat this check when the store works."
    return Diagnosis(
        check=name, severity=Severity.WARNING, message=f"Not checked: {error}.", advice=advice
    )
