"""The registry in a SQL database: SQLite for a single host, PostgreSQL or MariaDB for several."""

from imsgate.registry.sql.registry import SqlRegistry

__all__ = ["SqlRegistry"]
