"""What plugin authors test their drivers and filters with; needs pytest and hypothesis.

The kits are imported when they are asked for, so that each needs only its own part.
"""

import contextlib
import importlib
from typing import Any

_KITS = {
    "FilterContract": "filters",
    "RegistryContract": "registries",
    "StoreContract": "stores",
}

with contextlib.suppress(ImportError):
    import pytest

    # Without this a failing check would say only that it failed. The checks of stores say what is
    # wrong themselves, because pytest would take minutes to compare images.
    pytest.register_assert_rewrite(f"{__name__}.filters", f"{__name__}.registries")


def __getattr__(name: str) -> Any:
    if name not in _KITS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_KITS[name]}"), name)
