"""What ought to be known of a site after some syncs: a replay in plain Python, and syncs as tests write them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
import uuid_utils.compat

from ingestion_assets.modules.inventory import modules_of
from ingestion_assets.modules.module_tables import sites
from ingestion_assets.modules.schema import ModuleSyncRequest
from ingestion_assets.modules.sync import Incoming

START = datetime(2026, 1, 1, tzinfo=UTC)


def make_site(engine: sa.Engine, name: str = "site") -> int:
    with engine.begin() as connection:
        return connection.execute(sa.insert(sites).values(name=name).returning(sites.c.id)).scalar_one()


def module(name: str, version: str = "1.0.0", **more: Any) -> dict[str, Any]:
    return {
        "machine_name": name,
        "name": name.title(),
        "type": "contrib",
        "version": version,
        "status": True,
        **more,
    }


def body(modules: Sequence[Mapping[str, Any]], *, minute: int = 0, sync_type: str = "full") -> dict[str, Any]:
    return {
        "site_info": {},
        "modules": list(modules),
        "sync_timestamp": (START + timedelta(minutes=minute)).isoformat(),
        "drupal_version": "10.2.1",
        "php_version": "8.3.0",
        "sync_type": sync_type,
    }


def incoming(
    site_id: int, modules: Sequence[Mapping[str, Any]], *, confirmed: bool = False, **more: Any
) -> Incoming:
    return Incoming(
        id=uuid_utils.compat.uuid7(), site_id=site_id, request=ModuleSyncRequest.model_validate(body(modules, **more)),
        received_at=datetime.now(UTC), principal="test", attributes={}, confirmed=confirmed,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Moment:
    """An inventory and the snapshot it was true from."""

    at: datetime
    modules: Mapping[str, Mapping[str, Any]]


def replay(syncs: Iterable[Incoming]) -> list[Moment]:
    """The inventories that syncs give, applied in this order; stale ones give none."""
    moments: list[Moment] = []
    for one in syncs:
        if moments and one.request.sync_timestamp < moments[-1].at:
            continue
        reported = {
            m.machine_name: m.model_dump() | {"project": m.drupal_project() or None}
            for m in one.request.modules
        }
        before = dict(moments[-1].modules) if moments and one.request.sync_type == "partial" else {}
        moments.append(Moment(one.request.sync_timestamp, before | reported))
    return moments


def stored(engine: sa.Engine, site_id: int, *, as_of: datetime | None = None) -> dict[str, dict[str, Any]]:
    """What the tables say was installed, in the shape of `replay`."""
    beside = {"first_seen", "last_seen", "removed_at", "security"}
    with engine.connect() as connection:
        found = modules_of(connection, site_id, as_of=as_of, removed=False)
    return {one["machine_name"]: {key: one[key] for key in one.keys() - beside} for one in found}


def tables(engine: sa.Engine, site_id: int) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that a rebuild has to make anew."""
    queries = {
        "states": "SELECT * FROM ingestion.module_states WHERE site_id = :site ORDER BY machine_name, sequence",
        "syncs": "SELECT id, state, sequence, counts, unchanged_names FROM ingestion.module_syncs WHERE site_id = :site ORDER BY id",
        "site": "SELECT * FROM ingestion.sites WHERE id = :site",
    }
    with engine.connect() as connection:
        return {
            name: [tuple(row) for row in connection.execute(sa.text(query), {"site": site_id})]
            for name, query in queries.items()
        }
