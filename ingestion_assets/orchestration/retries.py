"""Who tries again when something fails: one page for three layers that do not know each other.

What is said of a failure, wherever it is kept or logged, is `text_of` it (`stores/error_text.py`): never what a payload holds.

| what failed | who tries again | how |
| --- | --- | --- |
| a store or the network, for a moment | the stage itself | `IN_STEP_RETRIES` times, with backoff, in the same process; the stages before it are not repeated |
| a store or the network, for longer | the ledger | the drops go back, to be taken at once the first time, then after a growing delay; that costs them no attempt |
| what somebody has to mend first: a zone's table that cannot follow it (`NotYetError`) | the ledger | as before, however long that takes |
| the broker, or it takes no run | Dagster's queue | runs stay `QUEUED` until it is back; see `broker_watch.py` |
| runs that end before they claim anything | the decision on runs | twice at once, then after 5, 10, 20… s, at most 5 min, until one claims; see `landing/dispatch.py` |
| one payload, always | the run takes its drops one by one | the one that fails again is `failed`, with what may be said of the exception; the rest go through |
| memory | the run takes its drops one by one; else, or where the system killed the process, the ledger | each is taken alone once; the one that is too much alone is `failed`, with what it took |
| the process (killed) | the ledger | the worker's warden gives the drops back at once (the sensor, should it be gone too), one attempt fewer; after two lost runs each is taken alone |
| a run whose process stands still (stopped, deadlocked, hanging in a call) | the ledger | after `INGESTION_RUN_STALLED_S` its worker interrupts it, then kills it; the drops go back, one attempt fewer |
| a check that blocks, or a run that took longer than it may | the ledger | the drops go back, one attempt fewer |
| a run that a person cancelled | the ledger | its payloads wait for `INGESTION_CANCEL_PAUSE_S`, or until `ingestion drops resume`; that costs them no attempt |
| a run that a person started | Dagster's `run_retries` | for lost processes only; dispatched runs carry `dagster/max_retries: 0` |
"""

from collections.abc import Callable
from dataclasses import dataclass

import dagster as dg
import psycopg
import pymongo.errors
import sqlalchemy as sa
import tenacity
from sqlalchemy import exc as sql

from ingestion_assets.landing import finishing
from ingestion_assets.landing.claims import ClaimLostError
from ingestion_assets.landing.drops import LandingUnavailableError, NotYetError
from ingestion_assets.landing.isolation import OUT_OF_MEMORY
from ingestion_assets.landing.leases import LaneBusyError
from ingestion_assets.landing.memory import out_of_memory
from ingestion_assets.settings import Settings
from ingestion_assets.stores.error_text import text_of
from ingestion_assets.stores.storable_text import storable

IN_STEP_RETRIES = 3
FIRST_DELAY_S = 0.5
REDISPATCH_DELAY_S = 1.0
CANCELLED = "run_cancelled"

_LIMIT_EXCEEDED = "54"  # SQLSTATE class: an operational error, but one that comes again with the same values
_TRANSIENT = (
    pymongo.errors.ConnectionFailure,
    pymongo.errors.WTimeoutError,
    sql.OperationalError,
    sql.InterfaceError,
    sql.TimeoutError,
    psycopg.OperationalError,
    psycopg.InterfaceError,
    LandingUnavailableError,
    LaneBusyError,
    NotYetError,
    ConnectionError,
    TimeoutError,
)


@dataclass(frozen=True, slots=True)
class FailureOf:
    """What an exception means for the drops of a run: a code for the receipt, its text, and whether it will pass."""

    code: str
    reason: str
    transient: bool
    alone: bool = False
    """Each of the drops is to be taken alone, and given up where it already was."""

    def as_error(self) -> dict[str, str]:
        return {"code": self.code, "reason": storable(self.reason)}


def is_transient(error: BaseException) -> bool:
    """Whether the same call may work a little later."""
    cause = error.orig if isinstance(error, sql.DBAPIError) else error
    if isinstance(error, ClaimLostError) or str(getattr(cause, "sqlstate", None)).startswith(_LIMIT_EXCEEDED):
        return False
    return isinstance(error, _TRANSIENT) or bool(
        isinstance(error, sql.DBAPIError) and error.connection_invalidated
    )


def failure_of(error: BaseException) -> FailureOf:
    """The word on an exception that is kept in the ledger."""
    reason = text_of(error)
    if isinstance(error, MemoryError):
        return FailureOf(OUT_OF_MEMORY, out_of_memory(error)[:2000], transient=False, alone=True)
    if isinstance(error, Exception):
        return FailureOf(
            "store_unavailable" if is_transient(error) else "run_failed", reason, is_transient(error)
        )
    return FailureOf("run_interrupted", "the run's worker was stopped", transient=True)


def lost(run_id: str, detail: str = "", *, cut_off: bool = False) -> FailureOf:
    """The word on a run whose process ended before it could give back: only if it died of itself may the payloads be at fault."""
    how = "was cut off" if cut_off else "was lost"
    reason = f"the process of run {run_id} {how} before it finished the payload{detail and '; '}{detail}"
    return FailureOf("run_lost", reason, transient=cut_off)


def killed_for_memory(run_id: str, detail: str) -> FailureOf:
    """The word on a run whose process the system killed to get memory: together the payloads may have been too much."""
    reason = f"the system killed the process of run {run_id} because it ran out of memory; {detail}"
    return FailureOf(OUT_OF_MEMORY, reason, transient=False, alone=True)


def stalled(run_id: str, reason: str) -> FailureOf:
    """The word on a run whose worker ended it because it made no progress: its payloads may be at fault, so it counts."""
    return FailureOf("run_stalled", f"run {run_id} was ended: {reason}", transient=False)


def failed(run_id: str, what: str) -> FailureOf:
    """The word on a run that failed outside the work on its payloads (a blocking check, its longest runtime): it counts."""
    return FailureOf("run_failed", f"run {run_id} failed: {what}"[:2000], transient=False)


def what_failed(instance: dg.DagsterInstance, run_id: str) -> str:
    """What Dagster's event log says of a failed run: the step and its error, else why the run was reported as failed."""
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    events = [record.dagster_event for record in instance.all_logs(run_id, of_type=kinds)]
    return next((_said_by(event) for event in events if event), "its event log does not say why")


def _said_by(event: dg.DagsterEvent) -> str:
    error = event.step_failure_data.error if event.is_step_failure else None
    if error is None:
        return event.message or event.event_type_value
    while error.cause is not None:
        error = error.cause
    return f"{event.step_key}: {error.message.strip()}"


def cancelled(run_id: str) -> FailureOf:
    """The word on a run that a person ended: no fault of its payloads."""
    reason = f"run {run_id} was cancelled; `ingestion drops resume` has its payloads taken again at once"
    return FailureOf(CANCELLED, reason, transient=True)


def retrying(tell: Callable[[str], object]) -> tenacity.Retrying:
    """Calls a function, and again after what will pass by itself, until it is time to give the drops back. Each failure is
    told in a sentence."""

    def tell_failure(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if error is not None:
            tell(f"Tried again in {state.upcoming_sleep:.1f} s after {text_of(error)}")

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(
            lambda error: is_transient(error) and not isinstance(error, LaneBusyError | NotYetError)
        ),
        wait=tenacity.wait_exponential(multiplier=FIRST_DELAY_S),
        stop=tenacity.stop_after_attempt(1 + IN_STEP_RETRIES),
        before_sleep=tell_failure,
        reraise=True,
    )


def give_back(connection: sa.Connection, claim_id: str, failure: FailureOf, settings: Settings) -> int:
    """Return the drops of a claim to the ledger, which decides when they are tried again, or not at all. Gives their number."""
    return finishing.give_back(
        connection,
        claim_id,
        error=failure.as_error(),
        transient=failure.transient,
        delay_s=REDISPATCH_DELAY_S,
        max_attempts=settings.max_attempts,
        pause_s=settings.cancel_pause_s if failure.code == CANCELLED else 0.0,
        alone=failure.alone,
    )
