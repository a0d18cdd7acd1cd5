"""Which images of a Glance can be taken over, and their records here.

The data stays where Glance has put it: the new record refers to it. An image is added together
with its members in one step, and one that is recorded here is never changed. So an adoption may be
interrupted and repeated.
"""

import dataclasses
import enum
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from imsgate import errors, model
from imsgate.adoption.glance_database import GlanceImage, GlanceLocation, moment
from imsgate.errors import AlreadyExists, LocationTaken, NotFound
from imsgate.model import Image, Location, Member, MemberStatus, Status, Visibility
from imsgate.records import attributes
from imsgate.registry.base import Registry
from imsgate.stores.base import Adopts, LocalFiles
from imsgate.stores.enabled import Backend, Stores

#: Copies that are looked up in their stores at the same time.
_THREADS = 8

#: Fields of an image that Glance and imsgate record alike.
_SAME = (
    "owner name disk_format container_format min_disk min_ram protected os_hidden size "
    "virtual_size checksum os_hash_algo os_hash_value"
).split()
#: Fields that are compared with the record of an image that is here already.
_COMPARED = (*_SAME, "status", "visibility", "properties", "tags", "locations")

_STATUSES = {str(status): status for status in Status}

#: Why an image with this status in Glance is not taken.
_NOT_NOW = {
    Status.SAVING: "its data is coming in: repeat this when Glance has it",
    Status.UPLOADING: "its data is being staged: repeat this when Glance has imported it",
    Status.IMPORTING: "it is being imported: repeat this when Glance has it",
    Status.KILLED: "its upload failed, and Glance never uses such an image again",
    Status.PENDING_DELETE: "glance-scrubber has yet to delete its data",
}


class AdoptionOutcome(enum.StrEnum):
    """What happens to one image of Glance's."""

    #: It is recorded here, or would be.
    TAKEN = "take"
    #: It is deleted in Glance: its id is recorded here as deleted, or would be.
    RESERVED = "reserve"
    #: It is recorded here already, and is the same.
    PRESENT = "present"
    #: It is recorded here already, but differs. It stays as it is.
    DIFFERENT = "differs"
    #: It cannot be taken.
    LEFT = "leave"


#: Outcomes that need somebody's attention.
INCOMPLETE = frozenset({AdoptionOutcome.DIFFERENT, AdoptionOutcome.LEFT})


@dataclasses.dataclass(frozen=True, slots=True)
class Adopted:
    """An image of Glance's and what happens to it.

    ``problems`` say why it cannot be taken, or what of it cannot be, or how it differs.
    """

    image_id: str
    outcome: AdoptionOutcome
    name: str | None = None
    status: str | None = None
    size: int | None = None
    stores: Sequence[str] = ()
    problems: Sequence[str] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class _Copy:
    """A copy of Glance's: its location here, or why it has none."""

    location: Location | None
    problem: str | None = None


class Adoption:
    """Takes images into ``registry`` whose data is in ``stores``."""

    def __init__(self, registry: Registry, stores: Stores, *, apply: bool) -> None:
        """Unless ``apply`` is true, nothing is recorded."""
        self._registry = registry
        self._backends = list(stores)
        self._apply = apply
        #: Locations that other images of this run would have.
        self._taken: set[Location] = set()

    def run(self, pages: Iterable[Sequence[GlanceImage]]) -> Iterator[Adopted]:
        """Take all images. Raises Unavailable if the records here cannot be reached."""
        with ThreadPoolExecutor(_THREADS) as pool:
            for page in pages:
                copies = pool.map(self._copies, page)
                yield from itertools.starmap(self._adopt, zip(page, copies, strict=True))

    def _adopt(self, image: GlanceImage, copies: Sequence[_Copy]) -> Adopted:
        record = _record(image, copies)
        seen = Adopted(
            image_id=record.shown_id,
            outcome=AdoptionOutcome.RESERVED if image.deleted else AdoptionOutcome.TAKEN,
            name=record.name,
            status=image.row["status"],
            size=record.size,
            stores=[location.store for location in record.locations],
            problems=[copy.problem for copy in copies if copy.problem] + _not_taken(image),
        )
        members = [] if image.deleted else _members(image, record.id)
        try:
            here = self._registry.recall(record.id)
        except NotFound:
            if problem := self._obstacle(image, record):
                problems = [problem, *seen.problems]
                return dataclasses.replace(seen, outcome=AdoptionOutcome.LEFT, problems=problems)
            return self._add(record, members, seen)
        problems = self._differences(record, members, here)
        outcome = AdoptionOutcome.DIFFERENT if problems else AdoptionOutcome.PRESENT
        return dataclasses.replace(seen, outcome=outcome, problems=problems)

    def _obstacle(self, image: GlanceImage, record: Image) -> str | None:
        """Why an image that is not here cannot be taken, besides its copies."""
        if image.deleted:
            return None
        status = image.row["status"]
        if status in _NOT_NOW:
            return _NOT_NOW[status]
        if status not in _STATUSES:
            return f"its status {status!r} is unknown"
        if record.status in model.READABLE and not record.locations:
            return "none of its copies can be taken" if image.locations else "it has no location"
        taken = any(
            place in self._taken or self._registry.holds(place) for place in record.locations
        )
        return "another image has its location" if taken else None

    def _add(self, record: Image, members: Sequence[Member], seen: Adopted) -> Adopted:
        if not self._apply:
            self._taken.update(record.locations)
            return seen
        try:
            self._registry.add(record, shared_with=members)
        except (AlreadyExists, LocationTaken) as error:  # it was recorded just now
            return dataclasses.replace(seen, outcome=AdoptionOutcome.LEFT, problems=[str(error)])
        return seen

    def _differences(self, record: Image, members: Sequence[Member], here: Image) -> list[str]:
        """How the record here differs from Glance's."""
        if here.status in model.DELETED or record.status in model.DELETED:
            if here.status in model.DELETED and record.status in model.DELETED:
                return []
            return [f"it is deleted {'here' if here.status in model.DELETED else 'in Glance'}"]
        fields = [name for name in _COMPARED if getattr(here, name) != getattr(record, name)]
        shared = {member.member_id: member.status for member in self._registry.members(here.id)}
        if shared != {member.member_id: member.status for member in members}:
            fields.append("members")
        return [f"other here than in Glance: {', '.join(fields)}"] if fields else []

    # Copies

    def _copies(self, image: GlanceImage) -> list[_Copy]:
        """The copies of an image, each looked up in its store."""
        return [self._copy(location, image.row["size"]) for location in image.locations]

    def _copy(self, location: GlanceLocation, size: int | None) -> _Copy:
        for backend in self._backends:
            try:
                store = backend.store
                place = store.glance_location(location.url) if isinstance(store, Adopts) else None
                if place is None:
                    continue
                if problem := _examine(backend, place, size):
                    return _Copy(None, problem)
                return _Copy(Location(backend.id, place))
            except errors.Error as error:
                return _Copy(None, str(error))
        return _Copy(None, _unknown(location))


def _examine(backend: Backend, place: str, size: int | None) -> str | None:
    """What is wrong with a copy. Raises StoreUnavailable or StoreDenied."""
    store = backend.store
    try:
        stored = store.size(place)
        if isinstance(store, LocalFiles):
            store.open(place).close()  # whether this process may read it
    except errors.ObjectNotFound:
        return f"store {backend.id} has no object {place}"
    if size is not None and stored != size:
        return f"its object in store {backend.id} has {stored} bytes instead of {size}"
    return None


def _unknown(location: GlanceLocation) -> str:
    scheme, separator, rest = location.url.partition("://")
    if not separator:
        return "its location is encrypted (metadata_encryption_key)"
    # Without credentials, which may themselves contain slashes.
    shown = f"{scheme}://{rest.rpartition('@')[2]}"
    store = f"; Glance calls its store {location.store!r}" if location.store else ""
    return f"no store that is enabled here has {shown}{store}"


def _record(image: GlanceImage, copies: Sequence[_Copy]) -> Image:
    """The record of an image here."""
    row = image.row
    created_at = moment(row["created_at"])
    changed = row["deleted_at"] if image.deleted else row["updated_at"]
    common: Mapping[str, Any] = {
        "id": row["id"].lower(),
        "owner": row["owner"],
        "created_at": created_at,
        "updated_at": moment(changed) if changed else created_at,
    }
    if image.deleted:
        return Image(**common, status=Status.DELETED)
    status = _STATUSES.get(row["status"], Status.KILLED)
    properties = {name: image.properties[name] for name in _custom(image)}
    if row["id"] != common["id"]:
        properties[model.GIVEN_ID] = row["id"]
    locations = [copy.location for copy in copies if copy.location]
    return Image(
        **{**common, **{name: row[name] for name in _SAME}},
        status=status,
        visibility=Visibility(row["visibility"]),
        properties=properties,
        tags=image.tags,
        locations=tuple(dict.fromkeys(locations)) if status in model.READABLE else (),
    )


def _custom(image: GlanceImage) -> list[str]:
    return [name for name in image.properties if attributes.is_custom(name)]


def _not_taken(image: GlanceImage) -> list[str]:
    """What is not taken besides copies. Glance's own properties (os_glance_*) are not missed."""
    names = sorted(set(image.properties).difference(_custom(image)))
    names = [name for name in names if not name.startswith(attributes.RESERVED_PREFIX)]
    return [f"its properties {', '.join(names)} are not taken: the names are reserved"] * bool(
        names
    )


def _members(image: GlanceImage, image_id: str) -> list[Member]:
    members = {}
    for row in image.members:
        created_at = moment(row["created_at"])
        members[row["member"]] = Member(
            image_id=image_id,
            member_id=row["member"],
            status=MemberStatus(row["status"]),
            created_at=created_at,
            updated_at=moment(row["updated_at"]) if row["updated_at"] else created_at,
        )
    return list(members.values())
