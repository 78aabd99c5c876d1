"""`/batch/ws/{user_id}`: what happens to a user's jobs, as messages in their order, read from the tables at the client's own pace.

At first the present state, then what came after it; with `?after=` what came after that, without a gap. A slow client holds up nobody,
as nothing is kept for it: it is told later. Clients that have been told the same read the tables together.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
import sqlalchemy as sa
from fastapi import APIRouter, Path, Query, Request, WebSocket, WebSocketDisconnect
from starlette.responses import Response

from ingestion_assets.documents import job_events, job_views
from ingestion_assets.documents.job_control import OVER, STATUSES
from ingestion_assets.documents.job_requests import JOB_ID, USER_ID
from ingestion_assets.frontdoor.door import FrontDoor, front_door
from ingestion_assets.frontdoor.openapi import keyed_errors, secured
from ingestion_assets.frontdoor.problems import Problem
from ingestion_assets.frontdoor.tickets import Ticket, create_ticket
from ingestion_assets.frontdoor.websockets import admitted, close_for, opened

router = APIRouter()

LOOK_S = 5.0  # without a notification
AT_ONCE = 200
NEWEST, MOST_JOBS = 100, 10_000
"""Jobs that the present state shows: the newest, whatever became of them, and all that are not over."""
NOT_OVER = [status for status in STATUSES if status not in OVER]
LONGEST = 4096  # of what a client says
SEND_S = 60.0
GATHER_S = 0.02
"""For so long a read waits for others that want the same."""


class _Ping(msgspec.Struct):
    type: Literal["ping"]
    timestamp: str | int | float | None = None


@router.post(
    "/ws-tickets",
    operation_id="createBatchTicket",
    summary="Get a ticket for the WebSocket",
    description="A page in a browser opens `/batch/ws/{user_id}?ticket=…` with it, once, within 30 s.",
    status_code=201,
    response_model=Ticket,
    responses=keyed_errors(),
    openapi_extra=secured(),
)
async def ticket_for_socket(request: Request) -> Response:
    return await create_ticket(request)


@router.websocket("/ws/{user_id}")
async def follow_jobs(
    websocket: WebSocket,
    user_id: Annotated[str, Path(pattern=USER_ID)],
    job_id: Annotated[str | None, Query(pattern=JOB_ID, description="Only this job.")] = None,
    after: Annotated[
        int | None, Query(ge=0, description="`sequence` of the last message that was seen.")
    ] = None,
    ticket: Annotated[str | None, Query(max_length=128)] = None,  # noqa: ARG001 - `admitted` reads it
) -> None:
    door = front_door(websocket)
    principal = await admitted(websocket, f"documents:{user_id}")
    if (
        job_id is not None
        and await door.in_thread(lambda connection: job_views.owner(connection, job_id)) != user_id
    ):
        raise Problem(404, "There is no such job.")
    async with opened(websocket, principal):
        sending = asyncio.Lock()
        try:
            async with asyncio.TaskGroup() as tasks:
                listening = tasks.create_task(_answer(websocket, sending))
                telling = tasks.create_task(_tell(door, websocket, sending, user_id, job_id, after))
                await asyncio.wait({listening, telling}, return_when=asyncio.FIRST_COMPLETED)
                listening.cancel()
                telling.cancel()
        except* Problem as refused:
            for problem in refused.exceptions:
                if isinstance(problem, Problem):
                    await close_for(websocket, problem)
        except* (WebSocketDisconnect, TimeoutError):  # it has left, or takes nothing any more
            pass


async def _answer(websocket: WebSocket, sending: asyncio.Lock) -> None:
    """Until the client has left. Raises `Problem` for what is no ping."""
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return
        said = message.get("text") or (message.get("bytes") or b"").decode(errors="replace")
        if len(said) > LONGEST:
            raise Problem(413, f"A message has {LONGEST} characters at most.")
        try:
            ping = msgspec.json.decode(said, type=_Ping)
        except (msgspec.DecodeError, RecursionError):  # the latter of what is nested too deeply
            raise Problem(400, 'The only message taken here is {"type": "ping"}.') from None
        await _send(websocket, sending, {"type": "pong", "timestamp": ping.timestamp or _now()})


async def _tell(
    door: FrontDoor,
    websocket: WebSocket,
    sending: asyncio.Lock,
    user_id: str,
    job_id: str | None,
    after: int | None,
) -> None:
    with door.notifications.subscribe((job_events.CHANNEL, user_id)) as heard:
        oldest, newest = await door.in_thread(lambda connection: job_events.ends(connection, user_id))
        known = after is not None and oldest - 1 <= after <= newest
        at = after if known and after is not None else newest
        hello = {"type": "connection_established", "user_id": user_id, "job_id": job_id, "timestamp": _now()}
        await _send(websocket, sending, {**hello, "sequence": at, "resumed": known})
        if not known:
            for job in await door.in_thread(lambda connection: _present(connection, user_id, job_id)):
                await _send(
                    websocket,
                    sending,
                    {"type": "job_update", "job": job, "timestamp": _now(), "sequence": at},
                )
        async for message in _messages(door, user_id, job_id, at, heard):
            await _send(websocket, sending, message)


def _present(connection: sa.Connection, user_id: str, job_id: str | None) -> list[dict[str, Any]]:
    if job_id is not None:
        job = job_views.brief(connection, job_id)
        return [] if job is None else [job]
    newest = job_views.page(connection, user_id, statuses=None, limit=NEWEST, offset=0)[0]
    others = job_views.page(connection, user_id, statuses=NOT_OVER, limit=MOST_JOBS, offset=0)[0]
    found = {job["job_id"]: job for job in (*newest, *others)}
    return [found[one] for one in sorted(found)]  # ids follow the order of creation


async def _messages(
    door: FrontDoor, user_id: str, job_id: str | None, at: int, heard: Any
) -> AsyncGenerator[dict[str, Any], None]:
    while True:
        rows = await _read(door, user_id, job_id, at)
        for row in rows:
            at = row.sequence
            yield {**row.message, "timestamp": row.at, "sequence": row.sequence}
        if len(rows) < AT_ONCE:
            await heard.wait(LOOK_S)


_Rows = Sequence[sa.Row[Any]]
_reads: dict[tuple[FrontDoor, str, str | None, int], asyncio.Task[_Rows]] = {}
"""Those that have not begun yet: whoever joins one is told all that was there before it joined."""


async def _read(door: FrontDoor, user_id: str, job_id: str | None, after: int) -> _Rows:
    """What comes after a number; nothing while the ledger is away."""
    wanted = door, user_id, job_id, after

    async def read() -> _Rows:
        try:
            await asyncio.sleep(GATHER_S)
        finally:
            del _reads[wanted]
        with contextlib.suppress(Problem):
            return await door.in_thread(
                lambda connection: job_events.later(connection, user_id, job_id, after=after, limit=AT_ONCE)
            )
        return []

    if wanted not in _reads:
        _reads[wanted] = asyncio.create_task(read())
    return await asyncio.shield(_reads[wanted])  # others wait for it too


async def _send(websocket: WebSocket, sending: asyncio.Lock, message: dict[str, Any]) -> None:
    async with sending, asyncio.timeout(SEND_S):
        await websocket.send_text(msgspec.json.encode(message).decode())


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
