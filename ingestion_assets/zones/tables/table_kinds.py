"""Which table a zone's YAML asks for."""

import pkgutil
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ingestion_assets.zones.document import ZoneError
from ingestion_assets.zones.tables.target import Shape, Table

_TABLES = {
    "postgres": "ingestion_assets.zones.tables.postgres_table:PostgresTable",
    "mongodb": "ingestion_assets.zones.tables.mongodb:mongo_table",
    "parquet": "ingestion_assets.zones.tables.parquet:ParquetTable",
    "duckdb": "ingestion_assets.zones.tables.duckdb:DuckTable",
}
"""By the word for it: what makes a table of an engine, the table's name and its shape."""
_CHECKS = {kind: f"{reference.partition(':')[0]}:check" for kind, reference in _TABLES.items()}
"""By the same word: what a table's name and shape are looked at with, without its store."""
_SEPARATORS = re.compile(r"[./]")
_ASSET = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True)
class WrittenTable:
    """A table as it is written down; called, it is the table of an engine with a shape."""

    kind: str
    name: str

    def __call__(self, engine: sa.Engine, shape: Shape) -> Table:
        return pkgutil.resolve_name(_TABLES[self.kind])(engine, self.name, shape)

    def check(self, shape: Shape) -> None:
        """Raises `TableRefusedError` for what can be said without its store."""
        pkgutil.resolve_name(_CHECKS[self.kind])(self.name, shape)


def table_of(written: Mapping[str, Any]) -> tuple[WrittenTable, str, str]:
    """What makes the table that is written as `{postgres: shop.events}`, the name of its asset, and its kind. Raises `ZoneError`."""
    if len(written) != 1 or next(iter(written)) not in _TABLES:
        raise ZoneError(
            f"`table` says one of {', '.join(sorted(_TABLES))} and the table's name, such as `{{postgres: shop.events}}`"
        )
    kind, name = next(iter(written.items()))
    _check_name(kind, str(name))
    asset = _SEPARATORS.split(str(name).rstrip("/"))[-1]
    if not _ASSET.fullmatch(asset):
        raise ZoneError(
            f"`table: {{{kind}: …}}` ends in {asset!r}, which is to be the asset's name: letters, digits and _"
        )
    return WrittenTable(kind, str(name)), asset, kind


def _check_name(kind: str, name: str) -> None:
    """Raises `ZoneError` where no table of the kind can have the name."""
    place, slash, table = name.rpartition("/")
    if kind == "parquet":
        scheme, colon, rest = name.partition("://")
        if not (scheme and colon and rest.strip("/")) or (scheme == "file" and not rest.startswith("/")):
            raise ZoneError(
                f"`table: {{parquet: …}}` says the URL of a folder, such as `s3://bucket/folder` or `file:///srv/orders`, not {name!r}"
            )
    elif kind == "duckdb" and not (slash and place):
        raise ZoneError(
            f"`table: {{duckdb: …}}` says a file and a table in it, such as `shop.duckdb/shop.orders`, not {name!r}"
        )
    elif not all(part.strip() for part in (name if kind == "postgres" else table).split(".")):
        raise ZoneError(f"`table: {{{kind}: …}}` names no table: {name!r}")
