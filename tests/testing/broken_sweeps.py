"""Stores whose discard or sweep removes too much or too little; see ``broken_stores``."""

import contextlib
import os
import pathlib

from imsgate.stores.base import Swept
from tests.testing.sound_store import Files, rejected_by

SPARES = "test_the_sweep_spares_the_living_the_young_and_the_committed"
REMOVES = "test_the_sweep_removes_what_dead_processes_left"
ORPHANS = "test_the_sweep_of_objects_removes_only_orphans"
OTHERS = "test_the_sweep_spares_data_of_other_applications"
MEANWHILE = "test_discard_removes_what_is_committed_meanwhile"


@rejected_by(SPARES)
class IgnoresTheLiving(Files):
    def sweep(self, age, living):
        return super().sweep(age, lambda _: False)


@rejected_by(SPARES)
class IgnoresTheAge(Files):
    def sweep(self, age, living):
        return super().sweep(0, living)


@rejected_by(SPARES)
class SweepsObjects(Files):
    def sweep(self, age, living):
        objects = self.sweep_objects(lambda key: not living(key)) if not age else Swept(0, 0)
        swept = super().sweep(age, living)
        return Swept(swept.attempts + objects.attempts, swept.bytes + objects.bytes)


@rejected_by(SPARES)
class AsksForLocations(Files):
    def sweep(self, age, living):
        return super().sweep(age, lambda key: living(f".part-{key}") or living(key))


@rejected_by(REMOVES)
class SweepsNothing(Files):
    def sweep(self, age, living):
        return Swept(0, 0)


@rejected_by(REMOVES)
class SweepsOne(Files):
    def sweep(self, age, living):
        first = iter([True])
        return super().sweep(age, lambda key: living(key) or next(first, False))


@rejected_by(REMOVES)
class CountsNothing(Files):
    def sweep(self, age, living):
        super().sweep(age, living)
        return Swept(0, 0)


@rejected_by(REMOVES)
class CountsBytesTwice(Files):
    def sweep(self, age, living):
        swept = super().sweep(age, living)
        return Swept(swept.attempts, swept.bytes * 2)


@rejected_by(ORPHANS)
class SweepsAllObjects(Files):
    def sweep_objects(self, orphaned):
        return super().sweep_objects(lambda key: True)


@rejected_by(ORPHANS)
class SweepsNoObjects(Files):
    def sweep_objects(self, orphaned):
        return Swept(0, 0)


@rejected_by(ORPHANS)
class SweepsObjectsAndSaysNothing(Files):
    def sweep_objects(self, orphaned):
        super().sweep_objects(orphaned)
        return Swept(0, 0)


@rejected_by(ORPHANS)
class SweepsAttemptsWithTheObjects(Files):
    def sweep_objects(self, orphaned):
        self.sweep(0, lambda _: False)
        return super().sweep_objects(orphaned)


@rejected_by(OTHERS)
class SweepsWhateverLooksUnfinished(Files):
    def sweep(self, age, living):
        swept = super().sweep(age, living)
        for path in pathlib.Path(self.directory.path).glob(".part-*"):
            if not living(path.name.removeprefix(".part-")):
                path.unlink()
        return swept


@rejected_by(OTHERS)
class TakesAllFilesForObjects(Files):
    def sweep_objects(self, orphaned):
        swept = super().sweep_objects(orphaned)
        for path in pathlib.Path(self.directory.path).glob("[!.]*"):
            if orphaned(path.name):
                path.unlink()
                swept = Swept(swept.attempts + 1, swept.bytes)
        return swept


def _unlink(path):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


@rejected_by(MEANWHILE)
class DiscardsTheObjectFirst(Files):
    def discard(self, key):
        place = self.directory
        for path in (place.final(key), place.temporary(key), place.fence(key)):
            _unlink(path)


@rejected_by(MEANWHILE)
class DiscardsTheObjectIfItExists(Files):
    def discard(self, key):
        place = self.directory
        if os.path.exists(place.final(key)):
            _unlink(place.final(key))
        for path in (place.temporary(key), place.fence(key)):
            _unlink(path)
