"""What a run does with its claim of one site's syncs, stage by stage; each stage may be repeated."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from ingestion_assets.landing.claims import Claim, DropRef, load, require_lanes
from ingestion_assets.landing.drop_outcomes import DropOutcome, RecordOutcome, Reject
from ingestion_assets.landing.drops import LandedDrop
from ingestion_assets.landing.isolation import Worked, work_through
from ingestion_assets.landing.storage import LandingStorage
from ingestion_assets.landing.tables import drops
from ingestion_assets.modules.attempts import note_accepted, note_failed
from ingestion_assets.modules.differences import forget_comparison
from ingestion_assets.modules.flow import REFUSED, UNJUDGED
from ingestion_assets.modules.module_tables import sites, syncs
from ingestion_assets.modules.schema import ModuleSyncRequest, RequestError, SyncResponse, decode_request
from ingestion_assets.modules.security import Standing, judge_site, standing
from ingestion_assets.modules.sync import (
    Applied,
    Incoming,
    NoSuchSiteError,
    RemovalGuard,
    apply_sync,
    replay_site,
)
from ingestion_assets.modules.webhooks import announce

# A commit that does not wait for the disk: the outcomes' commit, which comes later in the same log, does. Lost before that, the payload
# is not done yet and is applied again.
_NO_WAIT = sa.text("SET LOCAL synchronous_commit = off")
# Both hold for the run that has the payloads now: one that stood still until another took them leaves what that one wrote.
_SET_RESULT = sa.update(syncs).where(
    syncs.c.id == sa.bindparam("sync"),
    sa.exists().where(drops.c.id == sa.bindparam("sync"), drops.c.claim == sa.bindparam("claim_id")),
)
NAMED_AT_MOST = 20
COUNTED = ("new", "updated", "removed", "returned", "enabled", "disabled", "modified", "unchanged")


@dataclass(frozen=True, slots=True)
class Done:
    """A sync that was decided on, without its bytes: the modules it reported, by name and in order."""

    ref: DropRef
    applied: Applied
    names: tuple[str, ...]


@dataclass(slots=True)
class ModulesWork:
    """The stages of one claim. What a stage needs of an earlier one it derives again where it is not in memory."""

    claim: Claim
    site_id: int
    storage: LandingStorage
    engine: sa.Engine
    guard: RemovalGuard
    is_transient: Callable[[BaseException], bool]
    _worked: Worked[Done] | None = None
    _refused: list[DropOutcome] = field(default_factory=list)
    _judged: int | None = None

    def done(self) -> list[Done]:
        """Apply the syncs of the claim, oldest first; what became of each."""
        return self._work().results

    def failed(self) -> list[DropOutcome]:
        """The payloads that could not be applied at all, or are none that a site may send."""
        return self._work().failed + self._refused

    def _work(self) -> Worked[Done]:
        if self._worked is None:
            self._worked = (
                self._rebuild()
                if self.claim.rebuild
                else self._apply(self.claim.drops, self._own_transaction)
            )
        return self._worked

    def judged(self) -> int:
        """Judge the versions that the syncs brought and nobody judged yet; how many."""
        applied = [done.applied for done in self.done()]
        brought = [
            one.sequence for one in applied if one.sequence is not None and (one.changed or one.changes_core)
        ]
        if self._judged is None and brought:
            with self.engine.begin() as connection:
                self._judged = judge_site(connection, self.site_id, since=min(brought))
        return self._judged or 0

    def outcomes(self) -> list[DropOutcome]:
        """What is to be said of each payload; kept with the sync, and announced to the site's webhook."""
        self.judged()
        now = self.claim.clock.time()
        ended: list[DropOutcome] = []
        with self.engine.begin() as connection:
            connection.execute(_NO_WAIT)
            known = standing(connection, self.site_id)
            for done in self.done():
                outcome = _outcome(done, site_id=self.site_id, known=known, now=now)
                ended.append(outcome)
                if done.ref.state == "done":
                    continue
                connection.execute(
                    _SET_RESULT,
                    {"sync": done.ref.id, "claim_id": self.claim.claim_id, "result": outcome.result},
                )
                note_accepted(connection, done.ref, site_id=self.site_id)
                if not outcome.held:
                    announce(
                        connection, site_id=self.site_id, sync_id=done.ref.id, result=outcome.result, at=now
                    )
            refs = {ref.id: ref for ref in self.claim.drops}
            for outcome in self.failed():
                note_failed(connection, refs[outcome.drop_id], site_id=self.site_id, error=outcome.errors[0])
        return ended + self.failed()

    def _apply(
        self, refs: Sequence[DropRef], transaction: Callable[[], AbstractContextManager[sa.Connection]]
    ) -> Worked[Done]:
        """Apply syncs, each in a `transaction` of its own."""

        self._refused.clear()  # of an earlier try

        def apply(group: Sequence[DropRef]) -> list[Done]:
            incoming = self._incoming(group[0])
            if incoming is None:
                return []
            with transaction() as connection:
                applied = apply_sync(connection, incoming, guard=self.guard)
            return [Done(group[0], applied, _names(incoming.request))]

        return work_through(([ref] for ref in refs), apply, is_transient=self.is_transient)

    @contextmanager
    def _own_transaction(self) -> Iterator[sa.Connection]:
        with self.engine.begin() as connection:
            connection.execute(_NO_WAIT)
            yield connection

    def _incoming(self, ref: DropRef) -> Incoming | None:
        """A payload as a sync. What no front door judged is judged here, and None if it is refused."""
        drop = load(self.storage, [ref])[0]
        if ref.state == "done" or drop.attributes.get("via") not in UNJUDGED:
            return incoming_of(drop)
        try:
            if REFUSED in drop.attributes:
                raise RequestError(drop.attributes[REFUSED], errors=[])
            with self.engine.connect() as connection:
                if not connection.scalar(sa.select(sites.c.active).where(sites.c.id == self.site_id)):
                    raise NoSuchSiteError(f"there is no site {self.site_id}, or it is switched off")
            return incoming_of(drop, now=drop.received_at)
        except (RequestError, NoSuchSiteError) as error:
            self._refused.append(_refused(ref.id, error))
            return None

    def _rebuild(self) -> Worked[Done]:
        refs = {ref.id: ref for ref in self.claim.drops}
        names: dict[UUID, tuple[str, ...]] = {}

        def take(drop_id: UUID) -> Incoming:
            incoming = incoming_of(load(self.storage, [refs[drop_id]])[0])
            names[drop_id] = _names(incoming.request)
            return incoming

        with self.engine.begin() as connection:
            replayed = replay_site(connection, self.site_id, list(refs), load=take)
            rest = [refs[one] for one in sorted(refs.keys() - names.keys())]
            worked = self._apply(rest, partial(_within, connection))
            require_lanes(
                connection, self.claim
            )  # with a newer payload another run may have written the site
        again = [Done(refs[one.id], one, names[one.id]) for one in replayed]
        return Worked(again + worked.results, worked.failed)


@contextmanager
def _within(connection: sa.Connection) -> Iterator[sa.Connection]:
    """A transaction of its own for one of many syncs that are applied in one transaction."""
    forget_comparison(connection)
    with connection.begin_nested():
        yield connection


def _refused(drop_id: UUID, error: RequestError | NoSuchSiteError) -> DropOutcome:
    code = "invalid" if isinstance(error, RequestError) else "no_such_site"
    return DropOutcome(
        drop_id, {}, rejects=[Reject(-1, "payload", code, str(error), b"")],
        errors=[{"code": code, "reason": str(error)}], failed=True,
    )  # fmt: skip


def incoming_of(drop: LandedDrop, *, now: datetime | None = None) -> Incoming:
    """A landed payload as a sync; it may be taken at most a day after `now`. Raises `RequestError`."""
    reverts = "reverts" in drop.attributes
    return Incoming(
        id=drop.id,
        site_id=int(drop.partition),
        request=decode_request(drop.body, now=now, reverted=reverts),
        received_at=drop.received_at,
        principal=drop.principal,
        attributes=dict(drop.attributes),
        confirmed=reverts or drop.attributes.get("confirm_removals") == "true",
    )


def _names(request: ModuleSyncRequest) -> tuple[str, ...]:
    return tuple(module.machine_name for module in request.modules)


def sync_name(sync_id: UUID) -> str:
    """A sync's id as the API writes it."""
    return f"sync_{sync_id}"


def _outcome(done: Done, *, site_id: int, known: Standing, now: datetime) -> DropOutcome:
    applied, counts = done.applied, done.applied.counts
    newer = str(applied.superseded_by) if applied.superseded_by else None
    response = SyncResponse(
        success=applied.state == "applied",
        state=applied.state,
        superseded_by=newer,
        sync_id=sync_name(done.ref.id),
        site_id=site_id,
        processed_count=len(done.names),
        processing_time_ms=max(0, round((now - done.ref.received_at).total_seconds() * 1000)),
        warnings=_warnings(done, known),
        next_sync_after=_next_sync_after(done.ref),
    )
    records: Sequence[RecordOutcome] = ()
    if applied.state == "applied":
        counted = {f"{name}_modules": getattr(counts, name) for name in COUNTED}
        found = known.updates_found(done.names)
        response = response.model_copy(update={**counted, "security_updates_found": found})
        records = [
            RecordOutcome("stored", id=name)
            if name in applied.changed
            else RecordOutcome("duplicate", duplicate_of=name)
            for name in done.names
        ]
    elif applied.state == "superseded":
        response = response.model_copy(update={"superseded_modules": len(done.names)})
        records = [RecordOutcome("superseded", id=name, superseded_by=newer) for name in done.names]
    else:
        response = response.model_copy(update={"unchanged_modules": len(done.names)})
    result: dict[str, Any] = response.model_dump(mode="json")
    return DropOutcome(done.ref.id, result, records, held=applied.state == "held")


def _warnings(done: Done, known: Standing) -> list[str]:
    applied, counts = done.applied, done.applied.counts
    if applied.state == "superseded":
        newer = f" ({sync_name(applied.superseded_by)})" if applied.superseded_by else ""
        return [
            f"A newer snapshot of the site was applied before{newer}: this one was recorded and changed nothing."
        ]
    if applied.state == "held":
        what = f"Held: it would remove {counts.removed} of {counts.present_before} modules."
        how = f"Confirm it with POST …/syncs/{sync_name(applied.id)}/confirm, or send it with ?confirm_removals=true."
        return [f"{what} {how}"]
    unjudged = known.unjudged_of(done.names)
    if len(unjudged) > NAMED_AT_MOST:
        return [f"Unknown modules: {len(unjudged)} of the reported are not judged yet."]
    return [f"Unknown module: {name}" for name in unjudged]


def _next_sync_after(ref: DropRef) -> datetime | None:
    given = ref.attributes.get("next_sync_after")
    return datetime.fromisoformat(given) if given else None
