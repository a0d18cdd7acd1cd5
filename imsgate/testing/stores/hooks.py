"""What is not checked of a driver without a hook. ``doc/writing-a-store.md`` describes them."""

from imsgate.stores.base import DirectUrls, Store, Sweeps

#: Names of hooks.
UNCHECKED = {
    "away": "a medium that does not respond: is it taken for missing objects; does abort raise",
    "denied": "a medium that refuses access: is it StoreDenied, with a problem and without a path",
    "private": "whether errors and properties contain credentials or directories",
    "read_fault": "reads that fail: are they reported, or does the data end early",
    "removals": "a commit in the middle of a discard: does the object stay",
    "replaced": "another medium in the place of the store's, such as an empty mount point",
    "silent": "a medium that never answers: does the driver have time limits",
    "small_store": "a full store: StoreFull, announced sizes, and space that is given back",
    "sync_fault": "durability: is everything synced, in the right order, and are failures seen",
    "truncate": "an object that is shorter than its size: does the data end early",
    "write_fault": "writes that fail: are they reported, and does commit fail afterwards",
}

#: Names of hooks that only a driver with DirectUrls needs.
UNCHECKED_URLS = {
    "expired": "whether a direct URL ends",
    "redirecting_store": "direct URLs, unless the fixture `store` has them enabled",
}

#: Names of hooks that only a driver with Sweeps needs.
UNCHECKED_SWEEPS = {"others": "a sweep where other applications have data: does that stay"}

_KIT = "imsgate.testing.stores"
_BASE = "in imsgate/stores/base.py"
_RESUMABLE = "Resumable in imsgate/stores/abilities.py, ResumableSink in imsgate/stores/sinks.py"

#: Where the contract is that the checks of a module are about.
SOURCES = {
    f"{_KIT}.attempts": f"Sink and Store.discard (imsgate/stores/sinks.py, {_BASE})",
    f"{_KIT}.contents": f"Store.read, Store.size, Store.delete {_BASE}",
    f"{_KIT}.copies": "Copies in imsgate/stores/abilities.py",
    f"{_KIT}.durability": "Sink.commit and ResumableSink.suspend in imsgate/stores/sinks.py",
    f"{_KIT}.faults": f"what every driver promises, {_BASE}",
    f"{_KIT}.forks": f"all other concurrency, {_BASE}",
    f"{_KIT}.resources": f"Store.read (close), Store.place, Store.properties {_BASE}",
    f"{_KIT}.resumable": _RESUMABLE,
    f"{_KIT}.space": f"Store.create {_BASE}",
    f"{_KIT}.sweeps": f"Sweeps in imsgate/stores/abilities.py, Store.discard {_BASE}",
    f"{_KIT}.takeovers": _RESUMABLE,
    f"{_KIT}.urls": "DirectUrls in imsgate/stores/abilities.py",
    _KIT: f"all of the contract {_BASE}; imsgate/stores/memory.py is the reference",
}


def unchecked(store: Store) -> dict[str, str]:
    """The hooks that the tests of this store need, and what each is for."""
    needed = dict(UNCHECKED)
    if isinstance(store, DirectUrls):
        needed |= UNCHECKED_URLS
    if isinstance(store, Sweeps):
        needed |= UNCHECKED_SWEEPS
    return needed
