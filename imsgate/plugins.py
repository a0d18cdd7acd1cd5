"""Drivers of installed packages: entry points, loaded by stevedore."""

import importlib.metadata
from typing import Any

import stevedore
from stevedore.exception import MultipleMatches, NoMatches

from imsgate.errors import BadConfig


def find(namespace: str, name: str, key: str, hint: str = "") -> Any:
    """The object that the entry point ``name`` refers to; the option ``key`` names it.

    ``hint`` says which package may be missing if the driver cannot be imported. Raises BadConfig,
    naming the key, if there is not exactly one such driver or it cannot be imported.
    """
    try:
        manager: stevedore.DriverManager[Any] = stevedore.DriverManager(namespace, name)
    except NoMatches:
        available = ", ".join(sorted(importlib.metadata.entry_points(group=namespace).names))
        raise BadConfig(key, f"there is no driver {name!r}; available: {available}") from None
    except MultipleMatches as error:
        raise BadConfig(key, f"several installed packages have a driver {name!r}") from error
    except (ImportError, AttributeError) as error:
        raise BadConfig(key, f"driver {name!r} cannot be imported: {error}{hint}") from error
    return manager.driver
