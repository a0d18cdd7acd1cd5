"""What installed packages bring under a name: entry points, found by stevedore."""

import importlib.metadata
from typing import Any

import stevedore
from stevedore.exception import MultipleMatches, NoMatches

from imsgate.errors import BadConfig


def find(namespace: str, name: str, key: str, hint: str = "") -> Any:
    """The object of the entry point ``name``; ``key`` is the option that names it.

    ``hint`` says what may be missing where it cannot be imported. Raises BadConfig, naming
    the key, where there is none or several, or none that can be imported.
    """
    try:
        found: stevedore.DriverManager[Any] = stevedore.DriverManager(namespace, name)
    except NoMatches:
        known = ", ".join(sorted(importlib.metadata.entry_points(group=namespace).names))
        raise BadConfig(key, f"there is no driver {name!r}; there are: {known}") from None
    except MultipleMatches as error:
        raise BadConfig(key, f"several installed packages have a driver {name!r}") from error
    except (ImportError, AttributeError) as error:
        raise BadConfig(key, f"driver {name!r} cannot be imported: {error}{hint}") from error
    return found.driver
