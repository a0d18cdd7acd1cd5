"""What every registry driver must do, as tests.

Subclass :class:`RegistryContract` in a test module and override the ``registry``
fixture, which yields an empty registry::

    class TestMine(RegistryContract):
        @pytest.fixture
        def registry(self, tmp_path):
            with contextlib.closing(MyRegistry(...)) as registry:
                yield registry
"""

import pytest

from imsgate.registry.base import Registry
from imsgate.testing.registries import walk
from imsgate.testing.registries.activity import ActivityContract
from imsgate.testing.registries.changes import ChangeContract
from imsgate.testing.registries.checks import CheckContract
from imsgate.testing.registries.cleanup import CleanupContract
from imsgate.testing.registries.idempotency import IdempotencyContract
from imsgate.testing.registries.job_claims import JobClaimContract
from imsgate.testing.registries.jobs import JobContract
from imsgate.testing.registries.limits import LimitContract
from imsgate.testing.registries.lists import ListContract
from imsgate.testing.registries.locations import LocationContract
from imsgate.testing.registries.maintenance import MaintenanceContract
from imsgate.testing.registries.members import MemberContract
from imsgate.testing.registries.outbox import OutboxContract
from imsgate.testing.registries.records import RecordContract
from imsgate.testing.registries.statuses import StatusContract
from imsgate.testing.registries.uploads import UploadContract

__all__ = ["RegistryContract"]


class RegistryContract(
    RecordContract,
    ChangeContract,
    StatusContract,
    LocationContract,
    ListContract,
    MemberContract,
    LimitContract,
    CleanupContract,
    JobContract,
    JobClaimContract,
    IdempotencyContract,
    UploadContract,
    ActivityContract,
    OutboxContract,
    MaintenanceContract,
    CheckContract,
):
    """The promises of ``imsgate.registry.base`` and of the parts of its contract."""

    @pytest.fixture
    def registry(self) -> Registry:
        """An empty registry. Override this."""
        raise NotImplementedError

    def test_random_walk(self, registry: Registry) -> None:
        walk.walk(registry)
