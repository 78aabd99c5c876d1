"""Taking in a stream over HTTP: parts land while it arrives, and what becomes of them goes back as Server-Sent Events.

Reading never waits for writing: a client that sends all before it reads is served as well as one that does both.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from starlette.types import Receive

from ingestion_assets.entities.streams import TOTALS, Cutter, Segment
from ingestion_assets.frontdoor.answers import unless
from ingestion_assets.frontdoor.body_memory import Reservation
from ingestion_assets.frontdoor.decoding import BrokenEncodingError, Decoder
from ingestion_assets.frontdoor.door import FrontDoor
from ingestion_assets.frontdoor.event_stream import event_bytes
from ingestion_assets.frontdoor.intake_refusals import intake_refusals
from ingestion_assets.frontdoor.problems import Problem
from ingestion_assets.frontdoor.receiving import Arrival
from ingestion_assets.landing import ledger
from ingestion_assets.landing.drops import NewDrop, Receipt

LINGER_S = 0.25
"""Seconds that whole lines are held back for more to come."""
IDLE_S = 600.0
KEEP_ALIVE_S = 10.0
ERRORS_SHOWN = 1000

Event = dict[str, Any]


class _GoneError(Exception):
    pass


class _SilentError(Exception):
    pass


class StreamIntake:
    """One request's part of a stream: lands it and follows what becomes of it."""

    def __init__(
        self,
        *,
        door: FrontDoor,
        arrival: Arrival,
        receive: Receive,
        cutter: Cutter,
        decoder: Decoder,
        partition: str,
        more: bool,
        by_line: bool,
    ) -> None:
        self._door = door
        self._arrival = arrival
        self._receive = receive
        self._cutter = cutter
        self._decoder = decoder
        self._partition = partition
        self._more = more
        self._by_line = by_line
        self._landed: deque[tuple[UUID, int]] = deque()
        self._changed = asyncio.Event()
        self._complete = False
        self._problem: Event | None = None
        self.parts = 0
        self.lines = cutter.lines
        self.bytes = cutter.bytes

    async def take_in(self) -> None:
        """Land all of the body. Raises `Problem`; a client that goes away leaves what it had sent in whole lines."""
        try:
            with self._door.body_memory.reserve() as reservation:
                await self._read(reservation)
        except _GoneError:
            with contextlib.suppress(Problem):
                await self._land(self._cutter.flush(), None)
            raise
        except (BrokenEncodingError, _SilentError) as error:
            await self._land(self._cutter.flush(), None)
            said = f"the text is {error}" if isinstance(error, BrokenEncodingError) else error
            raise Problem(400, f"The stream ends here: {said}.", acknowledged=self.position()) from error
        finally:
            self._complete = True
            self._changed.set()

    def position(self) -> dict[str, int]:
        """How far the stream is durable."""
        return {"lines": self.lines, "bytes": self.bytes}

    async def _read(self, reservation: Reservation) -> None:
        message: asyncio.Future[Any] = asyncio.ensure_future(self._receive())
        first_held = last_heard = time.monotonic()
        try:
            while True:
                done, _ = await asyncio.wait({message}, timeout=LINGER_S)
                now = time.monotonic()
                if done:
                    arrived = message.result()
                    if arrived["type"] == "http.disconnect":
                        raise _GoneError
                    last_heard = now
                    if not self._cutter.held:
                        first_held = now
                    for text in self._decoder.pieces(arrived.get("body", b"")):
                        await reservation.grow(len(text))
                        for segment in self._cutter.add(text):
                            await self._land(segment, reservation)
                            first_held = time.monotonic()
                    if not arrived.get("more_body", False):
                        self._decoder.end()
                        await self._land(
                            self._cutter.rest() if self._more else self._cutter.end(), reservation
                        )
                        return
                    message = asyncio.ensure_future(self._receive())
                elif now - last_heard > IDLE_S:
                    raise _SilentError(f"nothing was heard for {IDLE_S:.0f} s")
                if self._cutter.has_lines and now - first_held > LINGER_S:
                    await self._land(self._cutter.flush(), reservation)
        finally:
            message.cancel()

    async def _land(self, segment: Segment | None, reservation: Reservation | None) -> None:
        if segment is None:
            return
        drop = NewDrop(
            flow="entities",
            partition=self._partition,
            lane=self._partition,
            principal=self._arrival.principal.name,
            body=segment.body,
            records=segment.lines,
            idempotency_key=segment.key,
            attributes={**self._arrival.attributes, "endpoint": "stream", **segment.attributes},
        )
        with intake_refusals:
            accepted = await self._door.intake.accept(drop)
        self._door.metrics.count_accepted("entities")
        if reservation is not None:
            reservation.shrink(len(segment.body))
        self.lines += segment.lines
        self.bytes += len(segment.body)
        self.parts += 1
        self._landed.append((accepted.id, self.lines))
        self._changed.set()

    async def events(self) -> AsyncIterator[bytes]:
        """What becomes of the stream, from its first part to its totals."""
        started = time.monotonic()
        demand = self._door.waker.demand()
        demand.add("entities", self._partition)
        reading = asyncio.create_task(self._read_to_end())
        sums: dict[str, int] = dict.fromkeys(TOTALS, 0)
        told = -1
        try:
            while True:
                if self.lines != told:
                    told = self.lines
                    yield event_bytes({"type": "acknowledged", **self.position()}, number=self.lines)
                if self._landed:
                    drop_id, _ = self._landed[0]
                    receipt = await self._outcome(drop_id)
                    if receipt is None:
                        if self._door.stopping:
                            yield event_bytes(
                                {
                                    "type": "interrupted",
                                    "message": "the server is stopping",
                                    **self.position(),
                                }
                            )
                            return
                        yield b": working\n\n"
                        continue
                    self._landed.popleft()
                    async for event in self._of_receipt(receipt, sums):
                        yield event
                elif self._complete:
                    break
                else:
                    self._changed.clear()
                    if not self._landed and not self._complete:
                        with contextlib.suppress(TimeoutError):
                            await asyncio.wait_for(self._changed.wait(), KEEP_ALIVE_S)
                        if not self._changed.is_set():
                            yield b": listening\n\n"
            await reading
            if self._problem is not None:
                yield event_bytes(self._problem | self.position())
                return
            duration = round((time.monotonic() - started) * 1000)
            yield event_bytes(
                {
                    "type": "total",
                    "total": sums["processed"],
                    **sums,
                    **self.position(),
                    "more": self._more,
                    "duration_ms": duration,
                }
            )
        finally:
            demand.end()
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading

    async def _read_to_end(self) -> None:
        try:
            await self.take_in()
        except Problem as problem:
            self._problem = {"type": "error", "status": problem.status, "message": problem.detail}
        except _GoneError:
            pass

    async def _outcome(self, drop_id: UUID) -> Receipt | None:
        """The receipt once it is finished; None when new lines were acknowledged meanwhile, or after some seconds."""
        self._changed.clear()
        outcome = self._door.finished.outcome(drop_id, timeout_s=KEEP_ALIVE_S, known=True)
        return await unless(self._changed.wait(), outcome)

    async def _of_receipt(self, receipt: Receipt, sums: dict[str, int]) -> AsyncIterator[bytes]:
        result = receipt.result or {}
        errors = result.get("errors", [])
        if self._by_line and receipt.records:
            async for line in self._lines_of(receipt, sums["processed"], errors):
                yield line
        for name in TOTALS:
            sums[name] += int(result.get(name, 0))
        event: Event = {
            "type": "progress",
            "status": result.get("status", receipt.state),
            "receipt": str(receipt.id),
            **sums,
        }
        if errors:
            event["errors"] = errors[:ERRORS_SHOWN]
            event["errors_not_shown"] = max(0, len(errors) - ERRORS_SHOWN) + result.get(
                "errors_not_listed", 0
            )
        if receipt.state == "failed":
            event |= {"status": "error", "errors": receipt.errors or []}
        yield event_bytes(event)

    async def _lines_of(self, receipt: Receipt, before: int, errors: list[Any]) -> AsyncIterator[bytes]:
        outcomes = (
            await ledger.record_outcomes(self._door.async_engine, receipt.id, limit=receipt.records) or []
        )
        entities = {item["message"]: item["entity"] for item in errors}
        for number, outcome in enumerate(outcomes, before + 1):
            identity = outcome.get("id") or ""
            event: Event = {
                "processed": number,
                "entity": identity.partition("/")[0] or None,
                "status": "success",
            }
            if outcome["status"] == "superseded":
                event |= {"status": "superseded", "superseded_by": outcome["superseded_by"]}
            if outcome["status"] == "rejected":
                waits = outcome["code"] == "waits_for_reference"
                event["status"] = "waiting" if waits else "error"
                event["message"] = outcome.get("reason")
                event["entity"] = entities.get(event["message"]) if not waits else None
            yield event_bytes(event)
