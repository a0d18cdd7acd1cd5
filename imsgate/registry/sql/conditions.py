"""A Condition as a clause of a SELECT."""

import operator
from typing import Any

import sqlalchemy as sa

from imsgate.registry.base import Condition, Op

Clause = sa.ColumnElement[bool]
#: The columns of images, or of some images in a subquery.
Columns = Any

_COMPARE = {
    Op.EQ: operator.eq,
    Op.NEQ: operator.ne,
    Op.GT: operator.gt,
    Op.GTE: operator.ge,
    Op.LT: operator.lt,
    Op.LTE: operator.le,
}


def holds(columns: Columns, condition: Condition) -> Clause:
    """The condition on these columns. Raises KeyError for a field that has no column."""
    clause = _compared(columns, condition)
    column: sa.ColumnElement[Any] = columns[condition.field]
    return sa.or_(clause, column.is_(None)) if condition.or_none else clause


def _compared(columns: Columns, condition: Condition) -> Clause:
    column: sa.ColumnElement[Any] = columns[condition.field]
    value = condition.value
    if condition.op is Op.IN:
        return column.in_([member for member in value if member is not None])
    if value is None:
        nulls = {Op.EQ: column.is_(None), Op.NEQ: column.is_not(None)}
        return nulls.get(condition.op, sa.false())
    # Bound with the column's type: SQLAlchemy refuses to order a bare True or False.
    compared: Clause = _COMPARE[condition.op](column, sa.literal(value, column.type))
    return compared
