"""Users' buckets, where images are registered from and exported to: the driver contract.

This is not a store: no image record refers to these objects, and users choose their names.

A driver may rely on its input: the names of bucket and object are valid
(``imsgate.buckets.image_url``), and the requesting project may use the bucket.
"""

import abc
import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, cast

import stevedore
from oslo_config import cfg

from imsgate import errors, plugins
from imsgate.config import Config, Section
from imsgate.errors import BadConfig
from imsgate.settings import Settings
from imsgate.stores.base import CopySource, Sink

LOG = logging.getLogger(__name__)

NAMESPACE = "imsgate.buckets"
GROUP = "ims_buckets"

#: The options of the group, except the driver's.
OPTS: Sequence[cfg.Opt] = (
    cfg.StrOpt(
        "driver",
        help="Driver for the buckets from which users register images and to which they export "
        "them: s3. If unset, users can do neither.",
    ),
    cfg.ListOpt(
        "allowed",
        default=[],
        help="Which projects may use which buckets: project:bucket, separated by commas; * stands "
        "for any project or any bucket. Everything else is refused, because most buckets are "
        "accessed with the one access key of this section.",
    ),
    cfg.DictOpt(
        "accounts",
        default={},
        help="Projects whose buckets are accessed with their own access keys: project:section, "
        "separated by commas. Each section must set the driver's options itself: host, keys and "
        "others as needed. The option allowed applies to these projects too.",
    ),
    cfg.BoolOpt(
        "server_side_copy",
        default=True,
        help="When an image is registered into a store of the same service, have the service copy "
        "the object, and read the copy instead of sending the data back. The store's access key "
        "needs read permission on the bucket. If it lacks the permission or the service does not "
        "copy, the data is transferred.",
    ),
    cfg.IntOpt(
        "minimum_rate",
        default=4096,
        min=0,
        help="The lowest rate at which the service may send an object, in bytes per second, "
        "measured over 30 seconds of waiting for it. 0 means no limit.",
    ),
)


class BucketsSettings(Settings, group=GROUP, opts=OPTS):
    """The options of users' buckets, except the driver's."""

    driver: str | None
    allowed: list[str]
    accounts: dict[str, str]
    server_side_copy: bool
    minimum_rate: int


@dataclasses.dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object in a user's bucket.

    ``size`` is in bytes. ``storage_class`` is the service's name of it, such as STANDARD. A
    store may copy the object from ``copy_source``; None disables that.
    """

    size: int
    storage_class: str
    copy_source: CopySource | None = None


class ObjectWriter(Sink):
    """An object in a user's bucket that is being written.

    Raises what a store's sink raises. ``begun`` identifies, for ``Buckets.discard``, what is left
    if this process dies; None if nothing is. It is set before the first ``write``.
    """

    begun: str | None = None


class Buckets(abc.ABC):
    """The buckets of one service and account. Built once, used by many threads.

    Every method raises BucketNotAccessible, and SourceFailed if the service refuses the
    request, and SourceUnavailable if it cannot be reached or fails by itself, in addition to
    what its docstring names.
    """

    OPTS: ClassVar[Sequence[cfg.Opt]] = ()

    @abc.abstractmethod
    def __init__(self, name: str, settings: Section) -> None:
        """Use the options in ``settings``: the driver's own, ``server_side_copy`` and
        ``minimum_rate``.

        ``name`` is the section where they are set. Raises BadConfig.
        """

    def check(self) -> None:  # noqa: B027 - a driver may have nothing to check
        """Check that the service accepts the keys, whatever they permit.

        Raises BadConfig, naming the option, and SourceFailed if that cannot be found out now.
        """

    @abc.abstractmethod
    def find(self, bucket: str, key: str) -> ObjectInfo | None:
        """The object, or None if it does not exist."""

    @abc.abstractmethod
    def read(self, bucket: str, key: str, length: int | None = None) -> Iterator[bytes]:
        """The first ``length`` bytes of the object, or all if it is None.

        All bytes are of one version of the object. The iterator has a ``close`` method. Raises
        SourceMissing.
        """

    @abc.abstractmethod
    def create(self, bucket: str, key: str, size: int) -> ObjectWriter:
        """Begin an object of ``size`` bytes, which becomes visible when it is committed.

        Others may write to the same key at the same time; their data is left alone. If the
        service supports it, ``commit`` raises TargetExists rather than replace an object.
        """

    @abc.abstractmethod
    def discard(self, bucket: str, key: str, begun: str) -> None:
        """Remove what the writer with this ``begun`` left when its process died, if anything."""


@dataclasses.dataclass(frozen=True, slots=True)
class Accounts:
    """The service as each project reaches it: with its own access key if it has one."""

    default: Buckets
    own: Mapping[str, Buckets] = dataclasses.field(default_factory=dict)

    def of(self, project: str | None) -> Buckets:
        """The buckets as ``project`` reaches them."""
        return self.own.get(project or "", self.default)

    def check(self) -> Iterator[tuple[str, str]]:
        """Check the keys of each account; yield what is checked, and the problem or nothing."""
        for project, buckets in {"": self.default, **self.own}.items():
            problem = ""
            try:
                buckets.check()
            except (BadConfig, errors.Error) as error:
                problem = str(error)
            yield f"{GROUP}:{project}" if project else GROUP, problem

    def check_at_start(self) -> None:
        """Raises BadConfig if the service refuses the keys for all projects.

        The keys of a single project do not keep the server from starting, nor does a service that
        cannot be reached: these are logged.
        """
        for buckets in (self.default, *self.own.values()):
            try:
                buckets.check()
            except BadConfig as problem:
                if buckets is self.default:
                    raise
                LOG.error("A project's buckets cannot be used: %s", problem)
            except errors.Error as error:
                LOG.warning("The keys for users' buckets could not be checked: %s", error)


def load(conf: Config) -> Accounts | None:
    """The configured service, or None. Raises BadConfig, naming the option."""
    kind = driver(conf)
    if kind is None:
        return None

    common = conf.read(BucketsSettings)

    def account(group: str) -> Buckets:
        # The store's access key belongs to another account, which may have a different bucket
        # of the same name.
        own = vars(conf.section(group, kind.OPTS))
        rate = common.minimum_rate
        return kind(group, Section(**{**own, "server_side_copy": False, "minimum_rate": rate}))

    own = {project: account(group) for project, group in common.accounts.items()}
    return Accounts(kind(GROUP, conf.section(GROUP, [*OPTS, *kind.OPTS])), own)


def driver(conf: Config) -> type[Buckets] | None:
    """The configured driver, or None. Raises BadConfig."""
    name = conf.read(BucketsSettings).driver
    if not name:
        return None
    return cast(type[Buckets], plugins.find(NAMESPACE, name, f"[{GROUP}] driver"))


def list_opts() -> list[tuple[str, Sequence[cfg.Opt]]]:
    """The options of the group, including those of all installed drivers."""
    extensions: stevedore.ExtensionManager[type[Buckets]] = stevedore.ExtensionManager(NAMESPACE)
    kinds = [cast(type[Buckets], extension.plugin) for extension in extensions]
    driver_opts = {opt.dest: opt for kind in kinds for opt in kind.OPTS}
    return [(GROUP, [*OPTS, *driver_opts.values()])]
