"""The test kit for store drivers: every driver, built in or not, must pass it.

A driver's test derives a class that says how to build a store and how to list what is in it
without the driver::

    class TestTapeStore(StoreContract):
        @pytest.fixture
        def store(self, tmp_path):
            return TapeStore("tape", Section(tape_drive=str(tmp_path)))

        def leftovers(self, store):
            return os.listdir(store.settings.tape_drive)

After every check, the objects that it stored are deleted and the store must be empty.
"""

from imsgate.stores.base import Store
from imsgate.testing.stores import machine
from imsgate.testing.stores.attempts import AttemptChecks
from imsgate.testing.stores.contents import ContentChecks
from imsgate.testing.stores.copies import CopyChecks
from imsgate.testing.stores.durability import DurabilityChecks
from imsgate.testing.stores.faults import FaultChecks
from imsgate.testing.stores.forks import ForkChecks
from imsgate.testing.stores.resources import ResourceChecks
from imsgate.testing.stores.resumable import ResumableFaultChecks
from imsgate.testing.stores.space import SpaceChecks
from imsgate.testing.stores.sweeps import SweepChecks
from imsgate.testing.stores.urls import UrlChecks


class StoreContract(
    ContentChecks,
    AttemptChecks,
    ResourceChecks,
    SpaceChecks,
    ResumableFaultChecks,
    FaultChecks,
    DurabilityChecks,
    ForkChecks,
    SweepChecks,
    CopyChecks,
    UrlChecks,
):
    """Derive a test class with a ``store`` fixture and a ``leftovers`` method.

    What else it can define is in ``doc/writing-a-store.md``. The summary of pytest names the hooks
    that a driver's tests do not define, and what was therefore not checked.
    """

    def test_it_does_whatever_the_memory_store_does(self, store: Store) -> None:
        machine.compare(store, self.leftovers, self.budget())
