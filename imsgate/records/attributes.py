"""The names of a record's attributes: which of them clients may set, and which never."""

import re

from imsgate import errors

#: Attributes that no client may set.
READ_ONLY = frozenset(
    "checksum created_at direct_url file os_hash_algo os_hash_value schema self size status "
    "stores updated_at virtual_size locations".split()
)
#: Read-only attributes that a request for a new image may contain; as in Glance, they are ignored.
IGNORED_ON_CREATE = frozenset({"os_hash_algo", "os_hash_value"})
#: Names that are refused even for custom properties.
RESERVED = frozenset({"location", "deleted", "deleted_at"})
RESERVED_PREFIX = "os_glance"
#: Attributes that a client may set, besides ``id`` of a new image and custom properties.
SETTABLE = frozenset(
    "name visibility protected os_hidden owner tags min_disk min_ram disk_format "
    "container_format".split()
)

_MAX_NAME_CHARACTERS = 255

#: Characters that servers, proxies and clients refuse or change in a path: controls and the
#: separators of lines.
_NOT_IN_PATHS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def check_settable(name: str) -> None:
    """Raises ReadOnly or Reserved if clients may not set the attribute, BadJson if no
    property can have that name."""
    if name in READ_ONLY:
        raise errors.ReadOnly(name=name)
    if name in RESERVED or name.startswith(RESERVED_PREFIX):
        raise errors.Reserved(name=name)
    if name not in SETTABLE and name != "id" and not 0 < len(name) <= _MAX_NAME_CHARACTERS:
        problem = f"a property name must have 1 to {_MAX_NAME_CHARACTERS} characters"
        raise errors.BadJson(problem=problem)
    if name != name.strip():
        # A PATCH document names the property without them.
        raise errors.BadJson(problem=f"{name!r}: a property name has no spaces around it")


def is_custom(name: str) -> bool:
    """Whether the attribute is a custom property, which clients name as they like."""
    fixed = SETTABLE | READ_ONLY | RESERVED | {"id"}
    return name not in fixed and not name.startswith(RESERVED_PREFIX)


def check_project(text: str) -> None:
    """Raises BadJson unless ``text`` can be the id of a project, so that every call with the id
    in its path can name it."""
    if not 0 < len(text) <= 255:
        raise errors.BadJson(problem="a project id has 1 to 255 characters")
    if "/" in text or text != text.strip() or not _fits_path(text):
        problem = f"{text!r}: a project id has no slashes, control characters or outer spaces"
        raise errors.BadJson(problem=problem)


def check_tag(text: str) -> None:
    """Raises BadJson unless the calls with the tag in their path can name it."""
    if not _fits_path(text):
        problem = "it has no control characters, and no / at its ends or around . or .."
        raise errors.BadJson(problem=f"tag {text!r}: {problem}")


def _fits_path(text: str) -> bool:
    """Whether ``text``, escaped, can be the end of a path. Clients resolve the segments ``.`` and
    ``..``, and a slash at either end cannot be told from the path's own."""
    is_changed = text.strip("/") != text or not {".", ".."}.isdisjoint(text.split("/"))
    return not is_changed and not _NOT_IN_PATHS.search(text)
