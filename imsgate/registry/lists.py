"""A Query as one SELECT: who sees what, conditions, and the page after a marker."""

import operator
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from imsgate.model import Image, MemberStatus, Status, Visibility
from imsgate.registry.base import Condition, Op, Query, ordering
from imsgate.registry.tables import IMAGES, MEMBERS, PROPERTIES, TAGS

Clause = sa.ColumnElement[bool]

_COMPARE = {
    Op.EQ: operator.eq,
    Op.NEQ: operator.ne,
    Op.GT: operator.gt,
    Op.GTE: operator.ge,
    Op.LT: operator.lt,
    Op.LTE: operator.le,
}

#: Selects the images that are not deleted.
EXISTS = IMAGES.c.alive == sa.true()


def page(query: Query, nulls_are_largest: bool) -> sa.Select[Any]:
    """The images of one page, in order. Raises KeyError for a field that has no column."""
    order = ordering(query)
    clauses = [EXISTS, *map(_holds, query.conditions)]
    clauses += _has_all(PROPERTIES, ("name", "value"), sorted(query.properties.items()))
    clauses += _has_all(TAGS, ("tag",), [(tag,) for tag in sorted(query.tags)])
    if query.marker is not None:
        clauses.append(_after(query.marker, order))

    def first(images: Any, *where: Clause) -> sa.Select[Any]:
        by = [_ordered(images, field, down, nulls_are_largest) for field, down in order]
        return sa.select(images).where(*where).order_by(*by).limit(query.limit)

    pages = [first(IMAGES, *visible, *clauses) for visible in _visible(query)]
    if len(pages) == 1:
        return pages[0]
    # The first page of all is among the first pages of each set, and each set has an index in
    # this order. With "or" between the sets, databases read the images of every project.
    return first(sa.union_all(*(sa.select(page.subquery()) for page in pages)).subquery())


def expired(now: float) -> sa.Select[Any]:
    """The images that ``Registry.expired`` returns."""
    unfinished = sa.or_(IMAGES.c.upload_expires < now, IMAGES.c.status == Status.PENDING_DELETE)
    return sa.select(IMAGES).where(unfinished).order_by(IMAGES.c.id)


# Who sees what


#: Everybody may see images of these visibilities.
_OPEN = (Visibility.PUBLIC, Visibility.COMMUNITY)


def _visible(query: Query) -> list[list[Clause]]:
    """The images that the query's viewer sees, as sets of which no two overlap.

    Each set has an index: own images, images of one visibility, images shared with the viewer.
    """
    if query.admin:
        return [_as_admin(query)]
    asked = query.visibility
    visibilities = [asked or Visibility.PUBLIC]
    if query.all_visibilities and asked is None:
        visibilities.append(Visibility.COMMUNITY)
    sets = [
        [IMAGES.c.visibility == visibility] for visibility in visibilities if visibility in _OPEN
    ]
    if query.viewer is None:
        return sets or [[sa.false()]]
    if asked in _OPEN:
        return sets
    own, others = IMAGES.c.owner == query.viewer, IMAGES.c.owner.is_distinct_from(query.viewer)
    sets = [[*clauses, others] for clauses in sets]
    if asked in (None, Visibility.SHARED):
        sets.append([others, *_shared_with(query.viewer, query.member_status)])
    return [[own] if asked is None else [own, IMAGES.c.visibility == asked], *sets]


def _as_admin(query: Query) -> list[Clause]:
    if query.visibility is not None:
        return [IMAGES.c.visibility == query.visibility]
    if query.all_visibilities:
        return []
    own = sa.false() if query.viewer is None else IMAGES.c.owner == query.viewer
    return [sa.or_(own, IMAGES.c.visibility != Visibility.COMMUNITY)]


def _shared_with(viewer: str, status: MemberStatus | None) -> list[Clause]:
    memberships = sa.select(MEMBERS.c.image_id).where(MEMBERS.c.member_id == viewer)
    if status is not None:
        memberships = memberships.where(MEMBERS.c.status == status)
    return [IMAGES.c.visibility == Visibility.SHARED, IMAGES.c.id.in_(memberships)]


# Conditions


def _holds(condition: Condition) -> Clause:
    holds = _compared(condition)
    return sa.or_(holds, IMAGES.c[condition.field].is_(None)) if condition.or_none else holds


def _compared(condition: Condition) -> Clause:
    column, value = IMAGES.c[condition.field], condition.value
    if condition.op is Op.IN:
        return column.in_([member for member in value if member is not None])
    if value is None:
        nulls = {Op.EQ: column.is_(None), Op.NEQ: column.is_not(None)}
        return nulls.get(condition.op, sa.false())
    # Bound with the column's type: SQLAlchemy refuses to order a bare True or False.
    compared: Clause = _COMPARE[condition.op](column, sa.literal(value, column.type))
    return compared


def _has_all(
    table: sa.Table, names: Sequence[str], required: Sequence[tuple[str, ...]]
) -> list[Clause]:
    """Selects images that have all these rows of ``table``; no two of the rows are equal.

    The first row is joined, so that the database may begin with its index. The others are
    counted: for twenty joins PostgreSQL takes seconds to find the best order.
    """
    own = table.c.image_id == IMAGES.c.id
    columns = [table.c[name] for name in names]
    clauses: list[Clause] = []
    if required:
        first = (column == text for column, text in zip(columns, required[0], strict=True))
        clauses.append(sa.exists().where(own, *first))
    if rest := required[1:]:
        among = sa.tuple_(*columns).in_(rest)
        count = sa.select(sa.func.count()).select_from(table).where(own, among)
        clauses.append(count.scalar_subquery() == len(rest))
    return clauses


# Pages


def _ordered(
    images: Any, field: str, descending: bool, nulls_are_largest: bool
) -> sa.ColumnElement[Any]:
    column: sa.ColumnElement[Any] = images.c[field]
    ordered = column.desc() if descending else column.asc()
    if nulls_are_largest and IMAGES.c[field].nullable:
        return ordered.nulls_last() if descending else ordered.nulls_first()
    return ordered


def _after(marker: Image, order: Sequence[tuple[str, bool]]) -> Clause:
    """Selects the images that sort after the marker."""
    (field, descending), *rest = order
    beyond, here_or_beyond = _beyond(field, getattr(marker, field), descending)
    if not rest:
        return beyond
    # "Beyond, or equal and the rest beyond", written so that an index can serve the first half.
    return sa.and_(here_or_beyond, sa.or_(beyond, _after(marker, rest)))


def _beyond(field: str, value: Any, descending: bool) -> tuple[Clause, Clause]:
    """Selects what sorts after ``value``, without and with equal values.

    None sorts below every value.
    """
    column = IMAGES.c[field]
    if value is None:
        if descending:
            return sa.false(), column.is_(None)
        return column.is_not(None), sa.true()
    bound = sa.literal(value, column.type)
    if not descending:
        return column > bound, column >= bound
    if not column.nullable:
        return column < bound, column <= bound
    return sa.or_(column < bound, column.is_(None)), sa.or_(column <= bound, column.is_(None))
