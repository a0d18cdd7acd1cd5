"""A Query as one SELECT: who sees what, conditions, and the page behind a marker."""

import operator
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from imsgate.model import GONE, Image, Visibility
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

#: Held by the records that still exist for clients.
EXISTS = IMAGES.c.status.not_in(sorted(GONE))


def page(query: Query, nulls_are_largest: bool) -> sa.Select[Any]:
    """The images of one page, in order. A field that is no column raises KeyError."""
    order = ordering(query)
    clauses = [EXISTS, *_seen(query), *map(_holds, query.conditions)]
    clauses += [_has_property(name, value) for name, value in query.properties.items()]
    clauses += [_has_tag(tag) for tag in sorted(query.tags)]
    if query.marker is not None:
        clauses.append(_behind(query.marker, order))
    by = [_ordered(field, descending, nulls_are_largest) for field, descending in order]
    return sa.select(IMAGES).where(*clauses).order_by(*by).limit(query.limit)


# Who sees what


def _seen(query: Query) -> list[Clause]:
    clauses = []
    own = sa.false() if query.viewer is None else IMAGES.c.owner == query.viewer
    if query.visibility is not None:
        clauses.append(IMAGES.c.visibility == query.visibility)
    elif not query.all_visibilities:
        clauses.append(sa.or_(own, IMAGES.c.visibility != Visibility.COMMUNITY))
    if not query.admin:
        everyones = IMAGES.c.visibility.in_([Visibility.PUBLIC, Visibility.COMMUNITY])
        clauses.append(sa.or_(own, everyones, _shared_with(query)))
    return clauses


def _shared_with(query: Query) -> Clause:
    if query.viewer is None:
        return sa.false()
    memberships = sa.select(MEMBERS.c.image_id).where(MEMBERS.c.member_id == query.viewer)
    if query.member_status is not None:
        memberships = memberships.where(MEMBERS.c.status == query.member_status)
    return sa.and_(IMAGES.c.visibility == Visibility.SHARED, IMAGES.c.id.in_(memberships))


# Conditions


def _holds(condition: Condition) -> Clause:
    column, value = IMAGES.c[condition.field], condition.value
    if condition.op is Op.IN:
        return column.in_([one for one in value if one is not None])
    if value is None:
        nulls = {Op.EQ: column.is_(None), Op.NEQ: column.is_not(None)}
        return nulls.get(condition.op, sa.false())
    # Bound with its type: SQLAlchemy refuses to order a bare True or False.
    return _COMPARE[condition.op](column, sa.literal(value, column.type))


def _has_property(name: str, value: str) -> Clause:
    return sa.exists().where(
        PROPERTIES.c.image_id == IMAGES.c.id,
        PROPERTIES.c.name == name,
        PROPERTIES.c.value == value,
    )


def _has_tag(tag: str) -> Clause:
    return sa.exists().where(TAGS.c.image_id == IMAGES.c.id, TAGS.c.tag == tag)


# Pages


def _ordered(field: str, descending: bool, nulls_are_largest: bool) -> sa.ColumnElement[Any]:
    column = IMAGES.c[field]
    ordered = column.desc() if descending else column.asc()
    if column.nullable and nulls_are_largest:
        return ordered.nulls_last() if descending else ordered.nulls_first()
    return ordered


def _behind(marker: Image, order: Sequence[tuple[str, bool]]) -> Clause:
    (field, descending), *rest = order
    beyond, here_or_beyond = _beyond(field, getattr(marker, field), descending)
    if not rest:
        return beyond
    # "Beyond, or here and the rest beyond", said so that an index can serve the first half.
    return sa.and_(here_or_beyond, sa.or_(beyond, _behind(marker, rest)))


def _beyond(field: str, value: Any, descending: bool) -> tuple[Clause, Clause]:
    """What sorts behind ``value``, without and with equals; None is smaller than any value."""
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
