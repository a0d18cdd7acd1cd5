"""Users' buckets: where images are registered from and exported to.

Not a store: nothing lies there that a record points at, and every object is named by a user.
What a driver is given has been checked: the name of a bucket and the key of an object in it
(``imsgate.buckets.image_url``), and that the asking project may use that bucket.
"""

import abc
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import stevedore
from oslo_config import cfg

from imsgate import plugins
from imsgate.config import Section
from imsgate.stores.base import CopySource, Sink

NAMESPACE = "imsgate.buckets"
GROUP = "ims_buckets"

#: Options of the group beside those of the driver.
OPTS: Sequence[cfg.Opt] = (
    cfg.StrOpt(
        "driver",
        help="How the buckets are reached that users register images from and export them to: "
        "s3. Without it nobody can do either.",
    ),
    cfg.ListOpt(
        "allowed",
        default=[],
        help="Which project may use which bucket, as project:bucket, separated by commas; * is "
        "any. Nobody may use what is not listed, since most of them are reached with the one "
        "access key given here.",
    ),
    cfg.DictOpt(
        "accounts",
        default={},
        help="Projects whose own access keys are used, as project:section, separated by commas. "
        "Each section has the driver's options anew: host, keys and what else is needed. What "
        "such a project may use is in allowed as for all.",
    ),
    cfg.BoolOpt(
        "server_side_copy",
        default=True,
        help="Have the service copy what is registered into a store of the same service, and read "
        "the copy, rather than send the data back. The store's access key must be allowed to "
        "read the bucket; where it is not, or the service does not copy, the data is sent.",
    ),
)


@dataclasses.dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What is known of an object. ``storage_class`` is as the service names it: STANDARD.

    ``origin`` is for stores to copy it from; None where that is not wanted.
    """

    size: int
    storage_class: str
    origin: CopySource | None = None


class ObjectWriter(Sink):
    """An object in a user's bucket, being written; the sink raises as a store's.

    ``begun`` is the name by which ``Buckets.discard`` knows what is left when this process
    dies; None where nothing is. It is known before the first ``write``.
    """

    begun: str | None = None


class Buckets(abc.ABC):
    """One service. Built once, used by many threads.

    Every call raises BucketNotAccessible, and SourceFailed when the service fails.
    """

    OPTS: ClassVar[Sequence[cfg.Opt]] = ()

    @abc.abstractmethod
    def __init__(self, name: str, settings: Any) -> None:
        """``settings`` is the record of the group ``name``. Raises BadConfig."""

    @abc.abstractmethod
    def find(self, bucket: str, key: str) -> ObjectInfo | None:
        """The object, or None where there is none."""

    @abc.abstractmethod
    def read(self, bucket: str, key: str, length: int | None = None) -> Iterator[bytes]:
        """The first ``length`` bytes, or all, of one version of the object; has ``close``.

        Raises SourceMissing.
        """

    @abc.abstractmethod
    def create(self, bucket: str, key: str, size: int) -> ObjectWriter:
        """Begin an object, which is visible when it is committed.

        Others may be writing under this key, and nothing of theirs is touched. Where the
        service can, ``commit`` raises TargetExists rather than replace an object.
        """

    @abc.abstractmethod
    def discard(self, bucket: str, key: str, begun: str) -> None:
        """Remove what a dead process left of what it had ``begun``; it may be gone already."""


@dataclasses.dataclass(frozen=True, slots=True)
class Accounts:
    """Whose access key opens the buckets: a project's ``own`` where it has one."""

    default: Buckets
    own: Mapping[str, Buckets] = dataclasses.field(default_factory=dict)

    def of(self, project: str | None) -> Buckets:
        """The service as this project reaches it."""
        return self.own.get(project or "", self.default)


def load(section: Callable[[str, Sequence[cfg.Opt]], Any]) -> Accounts | None:
    """The service that is configured, if any; ``section`` gives the values of a group's options.

    Raises BadConfig, naming the key.
    """
    kind: Any = driver(section)
    if kind is None:
        return None
    settings = section(GROUP, [*OPTS, *kind.OPTS])

    def account(group: str) -> Buckets:
        # In another account, a bucket of that name may be another bucket for the store's key.
        told = {**vars(section(group, kind.OPTS)), "server_side_copy": False}
        made: Buckets = kind(group, Section(**told))
        return made

    own = {project: account(group) for project, group in settings.accounts.items()}
    return Accounts(kind(GROUP, settings), own)


def driver(section: Callable[[str, Sequence[cfg.Opt]], Any]) -> type[Buckets] | None:
    """The driver that is configured, if any. Raises BadConfig."""
    name = section(GROUP, OPTS).driver
    if not name:
        return None
    found: type[Buckets] = plugins.find(NAMESPACE, name, f"[{GROUP}] driver")
    return found


def list_opts() -> list[tuple[str, Sequence[cfg.Opt]]]:
    """The group's options, those of every installed driver among them."""
    found: stevedore.ExtensionManager[type[Buckets]] = stevedore.ExtensionManager(NAMESPACE)
    kinds: list[Any] = [extension.plugin for extension in found]
    more = {option.dest: option for kind in kinds for option in kind.OPTS}
    return [(GROUP, [*OPTS, *more.values()])]
