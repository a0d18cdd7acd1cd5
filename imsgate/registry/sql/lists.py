"""A Query as one SELECT: who sees what, and the page after a marker."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from imsgate.model import Image, MemberStatus, Status, Visibility
from imsgate.registry.base import Query, ordering
from imsgate.registry.sql.candidates import Attribute, Requirement, has_all, requirements, wanted
from imsgate.registry.sql.conditions import holds
from imsgate.registry.sql.tables import IMAGES, MEMBERS

Clause = sa.ColumnElement[bool]
#: The columns of images, or of some images in a subquery.
Columns = Any

#: Selects the images that are not deleted.
EXISTS = IMAGES.c.alive == sa.true()


def page(
    query: Query, nulls_are_largest: bool, candidates: Sequence[str] | None = None
) -> sa.Select[Any]:
    """The images of one page, in order. Raises KeyError for a field that has no column.

    ``candidates`` are the ids that ``candidates.find`` returned for the query.
    """
    order = ordering(query)
    table = IMAGES if candidates is None else _only(candidates)
    columns = table.c
    clauses = [columns.alive == sa.true(), *(holds(columns, each) for each in query.conditions)]

    def first(images: Any, *where: Clause, index: str | None = None) -> sa.Select[Any]:
        by = [_ordered(images, field, down, nulls_are_largest) for field, down in order]
        if index:
            by[0] = _plainly(images, *order[0])
        return sa.select(images).where(*where).order_by(*by).limit(query.limit)

    sets = _visible(columns, query)
    if candidates is not None:
        if query.marker is not None:
            clauses.append(_after(columns, query.marker, order))
        return first(table, sa.or_(*(sa.and_(sa.true(), *each) for each in sets)), *clauses)
    clauses += has_all(columns.id, requirements(query))
    index = _index(query, order)
    # PostgreSQL. MariaDB would sort some of these parts.
    if index and nulls_are_largest:
        parts = _parts(columns, query.marker, order)
    else:
        parts = [[] if query.marker is None else [_after(columns, query.marker, order)]]
    pages = [
        first(table, *visible, *clauses, *part, index=index) for visible in sets for part in parts
    ]
    if index and all(_is_about(each, order[0][0]) for each in wanted(query)):
        # MariaDB would begin with the first image instead of the marker or the condition's first.
        pages = [_with_index(each, index) for each in pages]
    if len(pages) == 1:
        return pages[0]
    # The first page of all is among the first pages of each set, and each set has an index in
    # this order. With "or" between the sets, databases read the images of every project.
    return first(sa.union_all(*(sa.select(page.subquery()) for page in pages)).subquery())


def _only(ids: Sequence[str]) -> sa.Subquery:
    """These images. The limit keeps databases from reading others in the order of the page."""
    return sa.select(IMAGES).where(IMAGES.c.id.in_(ids)).limit(max(len(ids), 1)).subquery()


def expired(now: float) -> sa.Select[Any]:
    """The images that ``Registry.expired`` returns."""
    unfinished = sa.or_(IMAGES.c.upload_expires < now, IMAGES.c.status == Status.PENDING_DELETE)
    return sa.select(IMAGES).where(unfinished).order_by(IMAGES.c.id)


# Who sees what


#: Everybody may see images of these visibilities.
_OPEN = (Visibility.PUBLIC, Visibility.COMMUNITY)


def _visible(columns: Columns, query: Query) -> list[list[Clause]]:
    """The images that the query's viewer sees, as sets of which no two overlap.

    Each set has an index: own images, images of one visibility, images shared with the viewer.
    """
    if query.admin:
        return [_as_admin(columns, query)]
    asked = query.visibility
    visibilities = [asked or Visibility.PUBLIC]
    if query.all_visibilities and asked is None:
        visibilities.append(Visibility.COMMUNITY)
    sets = [
        [columns.visibility == visibility] for visibility in visibilities if visibility in _OPEN
    ]
    if query.viewer is None:
        return sets or [[sa.false()]]
    if asked in _OPEN:
        return sets
    own, others = columns.owner == query.viewer, columns.owner.is_distinct_from(query.viewer)
    sets = [[*clauses, others] for clauses in sets]
    if asked in (None, Visibility.SHARED):
        sets.append([others, *_shared_with(columns, query.viewer, query.member_status)])
    return [[own] if asked is None else [own, columns.visibility == asked], *sets]


def _as_admin(columns: Columns, query: Query) -> list[Clause]:
    if query.visibility is not None:
        return [columns.visibility == query.visibility]
    if query.all_visibilities:
        return []
    own = sa.false() if query.viewer is None else columns.owner == query.viewer
    return [sa.or_(own, columns.visibility != Visibility.COMMUNITY)]


def _shared_with(columns: Columns, viewer: str, status: MemberStatus | None) -> list[Clause]:
    memberships = sa.select(MEMBERS.c.image_id).where(MEMBERS.c.member_id == viewer)
    if status is not None:
        memberships = memberships.where(MEMBERS.c.status == status)
    return [columns.visibility == Visibility.SHARED, columns.id.in_(memberships)]


# Pages


def _plainly(images: Any, field: str, descending: bool) -> sa.ColumnElement[Any]:
    column: sa.ColumnElement[Any] = images.c[field]
    return column.desc() if descending else column.asc()


def _ordered(
    images: Any, field: str, descending: bool, nulls_are_largest: bool
) -> sa.ColumnElement[Any]:
    ordered = _plainly(images, field, descending)
    if nulls_are_largest and IMAGES.c[field].nullable:
        return ordered.nulls_last() if descending else ordered.nulls_first()
    return ordered


def _index(query: Query, order: Sequence[tuple[str, bool]]) -> str | None:
    """The index that has all images of the query in this order, if there is one.

    None for the images of a project or of a visibility: PostgreSQL would read all in order to find
    those.
    """
    fields = {each.field for each in query.conditions}
    if not query.admin or query.visibility is not None or "owner" in fields:
        return None
    if len({descending for _, descending in order}) > 1:
        return None
    columns = ["alive", *(field for field, _ in order)]
    found = (each.name for each in IMAGES.indexes if each.columns.keys() == columns)
    return next(found, None)


def _is_about(wanted: Requirement | Attribute, field: str) -> bool:
    return isinstance(wanted, Attribute) and wanted.conditions[0].field == field


def _with_index(select: sa.Select[Any], index: str) -> sa.Select[Any]:
    for dialect in ("mysql", "mariadb"):
        select = select.with_hint(IMAGES, f"FORCE INDEX ({index})", dialect)
    return select


def _parts(
    columns: Columns, marker: Image | None, order: Sequence[tuple[str, bool]]
) -> list[list[Clause]]:
    """The images after the marker, as sets that are each a range of the index.

    With "or" between them, databases read all images that have the marker's value, or all before
    it. Images without a value are a set of their own, since the index has them at its other end.
    """
    field, _ = order[0]
    if marker is None:
        column = columns[field]
        is_divided = IMAGES.c[field].nullable
        return [[column.is_(None)], [column.is_not(None)]] if is_divided else [[]]
    parts: list[list[Clause]] = []
    equal: list[Clause] = []
    for field, descending in order:
        value, column = getattr(marker, field), columns[field]
        parts += ([*equal, beyond] for beyond in _ranges(columns, field, value, descending))
        same = column.is_(None) if value is None else column == sa.literal(value, column.type)
        equal.append(same)
    return parts


def _ranges(columns: Columns, field: str, value: Any, descending: bool) -> list[Clause]:
    """What sorts after ``value``. None sorts below every value."""
    column = columns[field]
    if value is None:
        return [] if descending else [column.is_not(None)]
    bound = sa.literal(value, column.type)
    if not descending:
        return [column > bound]
    return [column < bound, *([column.is_(None)] if IMAGES.c[field].nullable else [])]


def _after(columns: Columns, marker: Image, order: Sequence[tuple[str, bool]]) -> Clause:
    """Selects the images that sort after the marker."""
    (field, descending), *rest = order
    beyond, here_or_beyond = _beyond(columns, field, getattr(marker, field), descending)
    if not rest:
        return beyond
    # "Beyond, or equal and the rest beyond", written so that an index can serve the first half.
    return sa.and_(here_or_beyond, sa.or_(beyond, _after(columns, marker, rest)))


def _beyond(columns: Columns, field: str, value: Any, descending: bool) -> tuple[Clause, Clause]:
    """Selects what sorts after ``value``, without and with equal values.

    None sorts below every value.
    """
    column = columns[field]
    if value is None:
        if descending:
            return sa.false(), column.is_(None)
        return column.is_not(None), sa.true()
    bound = sa.literal(value, column.type)
    if not descending:
        return column > bound, column >= bound
    if not IMAGES.c[field].nullable:
        return column < bound, column <= bound
    return sa.or_(column < bound, column.is_(None)), sa.or_(column <= bound, column.is_(None))
