"""`ingestion_assets.DropZone`: a drop zone in one YAML file of a `dg` project."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from dagster.components.component_scaffolding import scaffold_component
from dagster.components.scaffold.scaffold import Scaffolder, ScaffoldRequest, scaffold_with
from pydantic import Field

from ingestion_assets.zones.document import ZoneError
from ingestion_assets.zones.record_types import RecordType, RecordTypeError, record_type
from ingestion_assets.zones.tables.table_kinds import table_of
from ingestion_assets.zones.wording import Verify, duration_of, partitions_of
from ingestion_assets.zones.zone import Zone
from ingestion_assets.zones.zone_assets import zone_definitions


class DropZoneScaffolder(Scaffolder):
    """Writes a `defs.yaml` to begin with, and a JSON Schema beside it."""

    def scaffold(self, request: ScaffoldRequest) -> None:
        name = request.target_path.name.replace("-", "_")
        scaffold_component(
            request,
            {
                "name": name,
                "records": {"schema": "record.json"},
                "key": "id",
                "partitions": "day",
                "table": {"postgres": f"{name}.records"},
                "checks": {"reject_rate": 0.02},
            },
        )
        (request.target_path / "record.json").write_text(_SCHEMA, encoding="utf-8")


_SCHEMA = """{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "required": ["id"],
  "properties": {
    "id": {"type": "string"},
    "at": {"type": "string", "format": "date-time"},
    "note": {"type": "string"}
  }
}
"""


@scaffold_with(DropZoneScaffolder)
class DropZone(dg.Component, dg.Resolvable, dg.Model):
    """A drop zone: an endpoint that takes records durably, and the assets that they become."""

    name: str
    records: dict[str, Any]
    key: str | list[str] = Field(default_factory=list)
    version: str | None = None
    verify: dict[str, Any] | None = None
    partitions: Any = "day"
    table: dict[str, str]
    checks: dict[str, Any] = Field(default_factory=dict)
    owners: list[str] = Field(default_factory=list)
    sources: list[dict[str, Any]] = Field(default_factory=list)
    description: str | None = None

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The zone's assets, checks, job, sensor and audit. Raises `ZoneError`, `RecordTypeError`."""
        try:
            return zone_definitions(self.zone(Path(context.path)))
        except (ZoneError, RecordTypeError) as error:
            raise type(error)(f"the zone {self.name} in {context.path} cannot be: {error}") from error

    def zone(self, folder: Path) -> Zone:
        """What the YAML in `folder` says."""
        records, path = _records(self.records, folder)
        verify = Verify.read(self.verify)
        unknown = set(self.checks) - {"reject_rate", "fresh_within"}
        if unknown:
            raise ZoneError(f"`checks` knows reject_rate and fresh_within, not {', '.join(sorted(unknown))}")
        make, asset, kind = table_of(self.table)
        fresh_within = self.checks.get("fresh_within")
        return Zone(
            name=self.name, records=records, asset=asset, table=make, kind=kind, path=path,
            key=(self.key,) if isinstance(self.key, str) else tuple(self.key), version=self.version,
            verify=verify.config, secrets=verify.secrets, partitions=partitions_of(self.partitions), sources=self.sources,
            reject_rate=_number(self.checks.get("reject_rate", 0.05)),
            fresh_within_s=None if fresh_within is None else duration_of(fresh_within),
            owners=self.owners, description=self.description,
        )  # fmt: skip


@dataclass
class LoadedZone(dg.Component):
    """A zone that was made in Python."""

    zone: Zone

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002 - Dagster gives it
        return zone_definitions(self.zone)


def _number(written: Any) -> Any:
    """What is no number stays what it is: the zone says what is wrong with it."""
    try:
        return float(written)
    except (TypeError, ValueError):
        return written


def _records(written: Mapping[str, Any], folder: Path) -> tuple[RecordType, str]:
    """The type of records and the JSONPath where they lie. Raises `ZoneError`, `RecordTypeError`."""
    unknown = set(written) - {"model", "schema", "from"}
    if unknown or ("model" in written) == ("schema" in written):
        raise ZoneError(
            "`records` says either `model: package.module.Class` or `schema: file.json`, and `from` where they lie deeper"
        )
    path = str(written.get("from", "$"))
    if "schema" in written:
        return record_type(str(written["schema"]), folder=folder), path
    module, _, name = str(written["model"]).rpartition(".")
    try:
        return record_type(getattr(importlib.import_module(module), name)), path
    except (ImportError, AttributeError, ValueError) as error:
        raise ZoneError(
            f"`records` names the model {written['model']}, which cannot be imported: {error}"
        ) from error
