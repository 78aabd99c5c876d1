"""`/health*` and `/metrics`: how this front door and what it depends on are doing."""

from datetime import UTC, datetime
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from ingestion_assets.frontdoor.code_location import is_loaded
from ingestion_assets.frontdoor.door import FrontDoor, front_door
from ingestion_assets.frontdoor.json_response import json_response
from ingestion_assets.frontdoor.metrics import CONTENT_TYPE
from ingestion_assets.frontdoor.openapi import errors
from ingestion_assets.landing.clock import OFF_S

router = APIRouter(tags=["operations"])


class Live(BaseModel):
    """The process answers."""

    status: Literal["alive"]


class Ready(BaseModel):
    """Whether requests should be sent here."""

    status: Literal["ready", "not ready"]
    with_results: bool = Field(
        description="Whether runs can be started now, so that an answer that waits brings results. While false, payloads are taken all the "
        "same, and answered with their receipts."
    )
    reasons: list[str] = Field(description="Why not, empty when ready.")
    warnings: list[str] = Field(
        description="What is wrong with this machine, but keeps no payload from being taken."
    )


class Health(BaseModel):
    """The whole picture; flows add what is theirs."""

    model_config = ConfigDict(extra="allow")

    status: Literal["healthy", "degraded", "unhealthy"]
    service: str
    version: str
    timestamp: datetime
    database: str = Field(description="`connected` or `disconnected`.")
    dependencies: dict[str, Any] = Field(description="By name: `up` or `down`, and why.")
    rate_limits: str = Field(description="`shared`, `local` while the shared store is down, or `off`.")
    backlog: dict[str, Any] = Field(
        description="Payloads that wait, for how many seconds the oldest does, payloads that runs work on, flows whose payloads wait for longer than is normal, or for a queue that no worker takes."
    )
    clock_off_s: float | None = Field(
        description="Seconds by which this machine's clock is ahead of the ledger's."
    )
    unreadable_segments: list[dict[str, Any]] = Field(
        description="Segments on landing storage that cannot be read as a whole (the first ten): path, reason, since when."
    )
    flows: list[str] = Field(description="The flows whose payloads are taken here.")
    left_out: list[str] = Field(description="Flows that cannot be used, and why.")


_UNAVAILABLE = {
    "description": "Not now; the body says why.",
    "headers": {"Retry-After": {"schema": {"type": "string"}}},
}


@router.get(
    "/health/live", operation_id="readLiveness", summary="Is the process alive", description="Answers as long as the process can.",
    response_model=Live, responses=errors(),
)  # fmt: skip
async def live() -> Response:
    return json_response({"status": "alive"})


@router.get(
    "/health/ready",
    operation_id="readReadiness",
    summary="Should requests be sent here",
    description=(
        "Ready when payloads can be landed durably and PostgreSQL was reached once since the start. Not ready from the moment "
        "the process is told to stop; it then finishes what it has. A clock that is off is a warning: it decides nothing here."
    ),
    response_model=Ready,
    responses={**errors(), 503: {**_UNAVAILABLE, "model": Ready}},
)
async def ready(request: Request) -> Response:
    door = front_door(request)
    reasons = await _not_ready(door)
    body = {
        "status": "not ready" if reasons else "ready",
        "with_results": not reasons
        and is_loaded(door)
        and door.dependencies.known.get("orchestrator") is None,
        "reasons": reasons,
        "warnings": _clock_warnings(door),
    }
    return json_response(body, 503, headers={"Retry-After": "2"}) if reasons else json_response(body)


@router.get(
    "/health",
    operation_id="readHealth",
    summary="Health of everything",
    description="Unhealthy when no payload can be taken; degraded when something else is down; healthy otherwise.",
    response_model=Health,
    responses={**errors(), 503: {**_UNAVAILABLE, "model": Health}},
)
async def health(request: Request) -> Response:
    door = front_door(request)
    known = await door.dependencies.refresh()
    down = {name for name, error in known.items() if error is not None}
    limits = door.limits.mode
    statistics = await door.backlog.refresh()
    unreadable = list(statistics.unreadable) if statistics else []
    off_s = door.clock.off_by()
    overdue = door.backlog.overdue(statistics) if statistics else []
    stranded = door.backlog.without_worker(statistics, door.settings.idle_queues) if statistics else {}
    degraded = (
        down
        or (limits == "local" and door.settings.redis_url)
        or unreadable
        or overdue
        or stranded
        or _clock_warnings(door)
        or request.app.state.faults
    )
    status = "unhealthy" if "landing" in down or door.stopping else "degraded" if degraded else "healthy"
    body = {
        **request.app.state.health_of_flows(),
        "status": status,
        "service": request.app.title,
        "version": request.app.version,
        "timestamp": datetime.now(UTC),
        "database": "disconnected" if "postgresql" in down else "connected",
        "dependencies": {
            name: {"status": "up"} if error is None else {"status": "down", "detail": error}
            for name, error in known.items()
        },
        "rate_limits": limits,
        "backlog": {
            "landed": _number(statistics.unfinished, "landed") if statistics else None,
            "claimed": _number(statistics.unfinished, "claimed") if statistics else None,
            "overdue": overdue,
            "without_worker": [
                f"payloads of {flow} wait and no worker takes queue {queue}: INGESTION_WORKERS_{queue.upper()} is 0"
                for flow, queue in stranded.items()
            ],
            "oldest_unprocessed_s": statistics.oldest_unprocessed_s if statistics else None,
        },
        "clock_off_s": None if off_s is None else round(off_s, 3),
        "unreadable_segments": unreadable[:10],
        "flows": sorted(door.flows),
        "left_out": list(request.app.state.faults),
    }
    if status == "unhealthy":
        return json_response(body, 503, headers={"Retry-After": "5"})
    return json_response(body)


@router.get(
    "/metrics",
    operation_id="readMetrics",
    summary="Metrics for Prometheus",
    description="Requests of this process, payloads by state, age of the oldest and the newest, queue depth, rejects, dependencies.",
    response_class=Response,
    responses={
        **errors(),
        200: {"description": "Prometheus text.", "content": {"text/plain": {"schema": {"type": "string"}}}},
    },
)
async def metrics(request: Request) -> Response:
    door = front_door(request)
    statistics = await door.backlog.refresh()
    stranded = door.backlog.without_worker(statistics, door.settings.idle_queues) if statistics else {}
    door.metrics.show_ledger(statistics, flows=door.flows, without_worker=stranded)
    door.metrics.show_ages(await door.payload_ages.now())
    door.metrics.show_dependencies({name: error is None for name, error in door.dependencies.known.items()})
    door.metrics.inflight.set(door.body_memory.used_bytes)
    door.metrics.waiting.set(door.finished.waiting)
    door.metrics.streams.set(door.streams.open)
    door.metrics.limiter.set(door.limits.mode == "shared")
    door.metrics.show_clock(door.clock.off_by())
    return Response(door.metrics.text(), headers={"Content-Type": CONTENT_TYPE})


async def _not_ready(door: FrontDoor) -> list[str]:
    if door.stopping:
        return ["stopping"]
    known = await door.dependencies.refresh()
    reasons = []
    if known.get("landing") is not None:
        reasons.append("landing storage cannot be written")
    if not door.dependencies.ledger_was_seen:
        reasons.append("postgresql was not reached yet")
    return reasons


def _clock_warnings(door: FrontDoor) -> list[str]:
    """Payloads are ordered and aged by the ledger's clock; logs, rate limits and certificates go by this machine's."""
    off_s = door.clock.off_by()
    if off_s is None or abs(off_s) < OFF_S:
        return []
    side = "ahead of" if off_s > 0 else "behind"
    return [f"the clock of this machine is {abs(off_s):.0f} s {side} the ledger's; set it (NTP)"]


def _number(unfinished: dict[tuple[str, str], int], wanted: str) -> int:
    return sum(number for (_, state), number in unfinished.items() if state == wanted)
