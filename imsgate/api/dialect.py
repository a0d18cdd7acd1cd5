"""How clients of ``/v2/images`` write and read image records."""

from typing import Any

from imsgate.api import listing, patch, schemas, views
from imsgate.http.json_body import is_empty
from imsgate.model import Image
from imsgate.records.attributes import IGNORED_ON_CREATE, check_settable, is_custom
from imsgate.records.operations import Operation
from imsgate.registry.base import Query

#: Attributes of a new image, besides custom properties, for which an empty text is a value.
_MAY_BE_EMPTY = frozenset({"name", "owner"})


class Dialect:
    """The Image API v2 as Glance serves it.

    The subclass for IMS overrides ``complete``, ``changes``, ``query``, ``image`` and
    ``may_be_empty``.
    """

    def __init__(self, schema: schemas.Checker) -> None:
        """``schema`` is that of one image."""
        self.schema = schema

    def new_image(self, body: dict[str, Any]) -> dict[str, Any]:
        """The fields of a new record, from the body of a request.

        Raises ReadOnly, Reserved, BadJson, BadAttribute.
        """
        body = {name: value for name, value in body.items() if not self._is_unused(name, value)}
        for name in body:
            if name not in IGNORED_ON_CREATE:
                check_settable(name)
        self.schema.check(body)
        fields = {name: value for name, value in body.items() if name not in IGNORED_ON_CREATE}
        if "id" in fields:
            schemas.check_id(fields["id"])
        return self.complete(fields)

    def _is_unused(self, name: str, value: Any) -> bool:
        """Whether a member of the body of a new image says nothing, as typed clients serialize
        what their user did not set. That is true of read-only attributes, too."""
        if name == "owner" and value is None:
            return False  # administrators may ask for an image without an owner
        return is_empty(value) and not (value == "" and self.may_be_empty(name))

    def may_be_empty(self, name: str) -> bool:
        """Whether an empty text is a value of this attribute."""
        return name in _MAY_BE_EMPTY or is_custom(name)

    def operations(self, document: Any, content_type: str) -> list[Operation]:
        """The changes that a PATCH document asks for.

        Raises ReadOnly, Reserved, BadJson, BadAttribute.
        """
        operations = patch.parse(document, content_type)
        for operation in operations:
            if operation.op != "remove":
                self.schema.check({operation.name: operation.value})
        return self.changes(operations)

    def complete(self, fields: dict[str, Any]) -> dict[str, Any]:
        """The fields of a new record, with those that the dialect adds. Raises BadAttribute."""
        return fields

    def changes(self, operations: list[Operation]) -> list[Operation]:
        """The operations, with those that the dialect adds. Raises ReadOnly, BadAttribute."""
        return operations

    def query(self, params: listing.Params, viewer: str | None, **bounds: Any) -> Query:
        """The query that a query string asks for; see ``listing.parse``."""
        return listing.parse(params, viewer, **bounds)

    def image(self, record: Image, viewer: str | None) -> dict[str, Any]:
        """One image as the project ``viewer`` sees it."""
        return views.image(record)
