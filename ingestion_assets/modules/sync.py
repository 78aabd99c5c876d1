"""Applying syncs to a site, each in one transaction: which are applied, held or only recorded, and in which order they are replayed.

The rules: a site's syncs are applied one after the other under its row's lock, in the order of their snapshots, and of two taken at the
same time in the order in which they were accepted, which their ids give. One that is older than the newest applied is superseded by it:
recorded, and nothing is changed. So whatever order syncs arrive in, they end in the same inventory. What is already there is not
written again. A full sync that would remove too much is held until somebody confirms it. A sync that was applied before is not applied
again, however often its payload comes.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from ingestion_assets.modules.differences import Counts, compare, forget_comparison, write_changes
from ingestion_assets.modules.module_tables import sites, states, syncs
from ingestion_assets.modules.schema import ModuleSyncRequest

SyncState = Literal["applied", "superseded", "held"]

# Built once: putting them together takes about as long as PostgreSQL takes for them.
_LOCK_SITE = (
    sa.select(sites.c.sequence, sites.c.snapshot_at, sites.c.full_snapshot_at, sites.c.drupal_version)
    .where(sites.c.id == sa.bindparam("site"))
    .with_for_update()
)
_ADVANCE_SITE = sa.update(sites).where(sites.c.id == sa.bindparam("site"))
_KNOWN = sa.select(syncs).where(syncs.c.id == sa.bindparam("sync"))
_NEWEST = sa.select(syncs.c.id).where(
    syncs.c.site_id == sa.bindparam("site"), syncs.c.sequence == sa.bindparam("sequence")
)
_INSERT = insert(syncs)
_RECORD = _INSERT.on_conflict_do_update(
    index_elements=["id"],
    set_={
        name: _INSERT.excluded[name]
        for name in ("state", "sequence", "counts", "unchanged_names", "superseded_by")
    },
)


class NoSuchSiteError(LookupError):
    """The site is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A sync as it landed. `confirmed`: it may remove as much as it does."""

    id: UUID
    site_id: int
    request: ModuleSyncRequest
    received_at: datetime
    principal: str
    attributes: dict[str, str]
    confirmed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalGuard:
    """A full sync that removes more than `share` of the modules, and at least `at_least`, is held."""

    share: float = 0.5
    at_least: int = 10

    def holds(self, *, removed: int, present: int) -> bool:
        return removed >= self.at_least and removed > self.share * present


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What became of a sync. `changed` names the reported modules it wrote, `changes_core` says whether it told of another core,
    `superseded_by` which sync is newer.
    """

    id: UUID
    state: SyncState
    sequence: int | None
    counts: Counts
    changed: frozenset[str] = frozenset()
    changes_core: bool = field(default=False, compare=False)  # only a hint of what there is to judge
    superseded_by: UUID | None = None


def apply_sync(connection: sa.Connection, incoming: Incoming, *, guard: RemovalGuard) -> Applied:
    """Apply one sync within the connection's transaction. Raises `NoSuchSiteError`."""
    site = _lock_site(connection, incoming.site_id)
    known = connection.execute(_KNOWN, {"sync": incoming.id}).one_or_none()
    if known is not None and (known.state != "held" or not incoming.confirmed):
        return _as_applied(connection, known)
    request = incoming.request
    newer = _newer(connection, incoming, site)
    if newer is not None:
        counts = Counts(superseded=len(request.modules))
        superseded = Applied(
            id=incoming.id, state="superseded", sequence=None, counts=counts, superseded_by=newer
        )
        _record(connection, incoming, superseded)
        return superseded
    counts, changed = compare(connection, incoming.site_id, request)
    if not incoming.confirmed and guard.holds(removed=counts.removed, present=counts.present_before):
        held = Applied(id=incoming.id, state="held", sequence=None, counts=counts)
        _record(connection, incoming, held)
        return held
    return _write(connection, incoming, site, counts, changed)


def replay_site(
    connection: sa.Connection, site_id: int, landed: Collection[UUID], *, load: Callable[[UUID], Incoming]
) -> list[Applied]:
    """Make a site's states anew from those of the payloads `landed` that were applied, in the order in which they were.

    `load` reads one payload; only one is held at a time.
    """
    if connection.execute(_LOCK_SITE, {"site": site_id}).one_or_none() is None:
        return []
    applied = (syncs.c.site_id == site_id) & (syncs.c.state == "applied")
    is_landed = syncs.c.id == sa.any_(sa.cast(list(landed), ARRAY(sa.Uuid)))
    order = connection.scalars(
        sa.select(syncs.c.id).where(applied, is_landed).order_by(syncs.c.sequence)
    ).all()
    connection.execute(sa.delete(states).where(states.c.site_id == site_id))
    # One that was applied by a run that was lost before it could say so is another run's: it is applied anew when that comes.
    connection.execute(sa.delete(syncs).where(applied, ~is_landed))
    connection.execute(sa.update(syncs).where(applied).values(state="superseded", sequence=None))
    nothing = dict.fromkeys(("snapshot_at", "full_snapshot_at", "drupal_version", "php_version", "site_info"))
    connection.execute(sa.update(sites).where(sites.c.id == site_id).values(sequence=0, **nothing))

    def anew(drop_id: UUID) -> Applied:
        forget_comparison(connection)
        incoming = load(drop_id)
        site = _lock_site(connection, site_id)
        return _write(connection, incoming, site, *compare(connection, site_id, incoming.request))

    return [anew(one) for one in order]


def _lock_site(connection: sa.Connection, site_id: int):
    site = connection.execute(_LOCK_SITE, {"site": site_id}).one_or_none()
    if site is None:
        raise NoSuchSiteError(f"there is no site {site_id}")
    return site


def _newer(connection: sa.Connection, incoming: Incoming, site: sa.Row[Any, Any, Any, Any]) -> UUID | None:
    """The sync that was applied last, if it is newer than this one."""
    taken_at = incoming.request.sync_timestamp
    if site.snapshot_at is None or taken_at > site.snapshot_at:
        return None
    newest = connection.execute(_NEWEST, {"site": incoming.site_id, "sequence": site.sequence}).scalar_one()
    return newest if taken_at < site.snapshot_at or newest > incoming.id else None


def _write(
    connection: sa.Connection,
    incoming: Incoming,
    site: sa.Row[Any, Any, Any, Any],
    counts: Counts,
    changed: frozenset[str],
) -> Applied:
    request, at = incoming.request, incoming.request.sync_timestamp
    sequence = site.sequence + 1
    if changed or counts.removed:
        write_changes(
            connection, incoming.site_id, sequence=sequence, at=at, full_snapshot_at=site.full_snapshot_at
        )
    full = request.sync_type == "full"
    unchanged = None if full else sorted({one.machine_name for one in request.modules} - changed)
    connection.execute(
        _ADVANCE_SITE,
        {
            "site": incoming.site_id,
            "sequence": sequence,
            "snapshot_at": at,
            "full_snapshot_at": at if full else site.full_snapshot_at,
            "drupal_version": request.drupal_version,
            "php_version": request.php_version,
            "site_info": request.site_info,
        },
    )
    applied = Applied(
        id=incoming.id, state="applied", sequence=sequence, counts=counts, changed=changed,
        changes_core=request.drupal_version != site.drupal_version,
    )  # fmt: skip
    _record(connection, incoming, applied, unchanged=unchanged)
    return applied


def _record(
    connection: sa.Connection, incoming: Incoming, applied: Applied, *, unchanged: Sequence[str] | None = None
) -> None:
    connection.execute(
        _RECORD,
        {
            "id": incoming.id,
            "site_id": incoming.site_id,
            "sync_type": incoming.request.sync_type,
            "snapshot_at": incoming.request.sync_timestamp,
            "received_at": incoming.received_at,
            "principal": incoming.principal,
            "attributes": incoming.attributes,
            "modules": len(incoming.request.modules),
            "state": applied.state,
            "sequence": applied.sequence,
            "counts": asdict(applied.counts),
            "unchanged_names": unchanged,
            "superseded_by": applied.superseded_by,
        },
    )


def _as_applied(connection: sa.Connection, row: sa.Row[Any]) -> Applied:
    """A sync that was decided on before; whether it told of another core is not known any more, so it may have."""
    changed = connection.scalars(
        sa.select(states.c.machine_name).where(
            states.c.site_id == row.site_id, states.c.sequence == row.sequence, states.c.present
        )
    )
    return Applied(
        id=row.id,
        state=row.state,
        sequence=row.sequence,
        counts=Counts(**row.counts),
        changed=frozenset(changed),
        changes_core=row.state == "applied",
        superseded_by=row.superseded_by,
    )
