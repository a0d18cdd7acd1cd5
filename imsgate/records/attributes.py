"""The names of a record's attributes: which of them clients may set, and which never."""

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
