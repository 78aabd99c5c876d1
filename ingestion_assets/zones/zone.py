"""A drop zone as its code location has it: the user's types and functions, and what is asked for in words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import sqlalchemy as sa

from ingestion_assets.zones.batch import Function
from ingestion_assets.zones.document import ByValue, ZoneDocument, ZoneError, check_name
from ingestion_assets.zones.framing import check_path
from ingestion_assets.zones.partition_values import check_by
from ingestion_assets.zones.record_types import RecordType
from ingestion_assets.zones.sources.source_config import check_apart, read_source
from ingestion_assets.zones.tables.target import Shape, Table
from ingestion_assets.zones.verification.config import read_config


class MakeTable(Protocol):
    """What makes a zone's table."""

    def __call__(self, engine: sa.Engine, shape: Shape) -> Table: ...

    def check(self, shape: Shape) -> None:
        """Raises `TableRefusedError` for what can be said without the table's store."""
        ...


@dataclass(frozen=True, kw_only=True)
class Zone:
    """What a component or a decorated function says. `asset` is the name of the asset that its records become.

    Either `table` makes the table that its records are stored in, or `function` is called with them. `secrets` gives the texts that the
    sender signs with, when they are needed. `reject_rate` is the share of rejected records from which on a check warns, `fresh_within_s`
    how old the newest payload may be. Raises `ZoneError` where that does not fit together.
    """

    name: str
    records: RecordType
    asset: str
    table: MakeTable | None = None
    kind: str = "python"
    function: Function | None = None
    path: str = "$"
    key: tuple[str, ...] = ()
    version: str | None = None
    verify: Mapping[str, Any] | None = None
    secrets: Callable[[], Sequence[str]] = tuple
    partitions: ByValue | None = None
    sources: Sequence[Mapping[str, Any]] = ()
    reject_rate: float = 0.05
    fresh_within_s: float | None = None
    owners: Sequence[str] = ()
    description: str | None = None
    waits_normally_s: float = 300.0
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name(self.name)
        columns = {column.name for column in self.records.columns}
        for what, names in (("key", self.key), ("version", (self.version,) if self.version else ())):
            if missing := [name for name in names if name not in columns]:
                raise ZoneError(
                    f"the {what} of the zone {self.name}, {', '.join(missing)}, is no field of its records; these are {', '.join(sorted(columns))}"
                )
        if self.version and not self.key:
            raise ZoneError(
                f"the zone {self.name} has a version but no key: say which field names the record"
            )
        if type(self.reject_rate) not in {int, float} or not 0 <= self.reject_rate <= 1:
            raise ZoneError(
                f"the reject_rate of the zone {self.name} is a share from 0 to 1, such as 0.02, not {self.reject_rate!r}"
            )
        try:
            check_path(self.path)
            if self.verify is not None:
                read_config(self.verify)
            check_apart([read_source(source) for source in self.sources], self.name)
            if self.partitions is not None:
                check_by(self.partitions.by)
        except ValueError as error:
            raise ZoneError(f"the zone {self.name}: {error}") from error

    def document(self, *, location: str = "", repository: str = "__repository__") -> ZoneDocument:
        """What is published of it."""
        return ZoneDocument(
            name=self.name, asset=self.asset, schema=self.records.schema, location=location, repository=repository,
            path=self.path, key=self.key, version=self.version, verify=self.verify, partitions=self.partitions,
            sources=self.sources, waits_normally_s=self.waits_normally_s,
        )  # fmt: skip

    def shape(self) -> Shape:
        """What its table holds."""
        return Shape(self.records.columns, self.key, self.version)
