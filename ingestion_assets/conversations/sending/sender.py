"""Sends files: several at a time, each from where it was acknowledged last, small ones several in one request.

A file's mark moves only after the front door accepted all requests up to there. Order within a file is kept.
"""

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from ingestion_assets.conversations.sending.outcomes import OutcomeFollower
from ingestion_assets.conversations.sending.parcels import Parcel, Part, together
from ingestion_assets.conversations.sending.requests import Encoding, Outgoing, document, encode
from ingestion_assets.conversations.sending.slices import Mark, Problem, Slice, read_slices
from ingestion_assets.conversations.sending.sources import Source, unreadable
from ingestion_assets.conversations.sending.tally import Tally
from ingestion_assets.conversations.sending.transcript_memory import Memory, OpenReceipt, Sent
from ingestion_assets.sending.delivery import REFUSED_STATUS, Delivery
from ingestion_assets.sending.endings import AccessDeniedError, StoppedError
from ingestion_assets.sending.files import OpenFile, reason_of
from ingestion_assets.sending.side_by_side import side_by_side

OPEN_REQUESTS = 64  # accepted, outcome not known: with so many no further lines are read


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How requests are made: most records and bytes of one, its encoding, and how many files at a time."""

    max_records: int = 1000
    max_bytes: int = 4 * 2**20
    encoding: Encoding = "zstd"
    concurrency: int = 4


class Sender:
    """Sends sources over one delivery with one memory. `wait` also learns what became of every record.

    `dry` reads and counts what would be sent, and neither sends nor remembers; `anew` is as if nothing had been sent.
    """

    def __init__(
        self,
        *,
        delivery: Delivery,
        memory: Memory,
        cut: Cut,
        tally: Tally,
        stop: threading.Event,
        wait: bool,
        patience_s: float,
        dry: bool = False,
        anew: bool = False,
    ) -> None:
        self._dry = dry
        self._anew = anew
        self._delivery = delivery
        self._memory = memory
        self._cut = cut
        self._tally = tally
        self._stop = stop
        self._most_open = OPEN_REQUESTS
        self._outcomes: OutcomeFollower | None = None
        if wait and not dry:
            self._outcomes = OutcomeFollower(
                delivery=delivery, tally=tally, stop=stop, closed=memory.receipt_closed, patience_s=patience_s
            )
            for receipt in memory.open_receipts():
                self._outcomes.follow(receipt)
                self._most_open += 1  # what an earlier run left open keeps nobody waiting

    def send_all(self, sources: Iterable[Source], *, tick: Callable[[], None] = lambda: None) -> None:
        """Send what is new in these files; `tick` is called a few times a second meanwhile.

        The first error ends all (GaveUpError, AccessDeniedError, StoppedError); what was acknowledged until
        then is remembered.
        """

        def look() -> None:
            tick()
            self._raise_outcome_failure()

        groups = together(sources, max_bytes=self._cut.max_bytes)
        jobs = [partial(self._send_together, group) for group in groups]
        side_by_side(jobs, concurrency=self._cut.concurrency, stop=self._stop, tick=look)

    def wait_for_outcomes(self, *, tick: Callable[[], None] = lambda: None) -> None:
        """Return once the outcome of everything sent is known. Raises GaveUpError or StoppedError."""
        if self._outcomes is None:
            return
        self._outcomes.finish()
        while not self._outcomes.join(0.1):
            tick()
        self._raise_outcome_failure()
        if self._tally.waiting_for and self._stop.is_set():
            raise StoppedError

    def close(self) -> None:
        """End the thread that follows receipts; call after `stop` is set."""
        if self._outcomes is not None:
            self._outcomes.finish()
            self._outcomes.join()

    def _raise_outcome_failure(self) -> None:
        if self._outcomes is not None and self._outcomes.failure is not None:
            raise self._outcomes.failure

    def _send_together(self, sources: Sequence[Source]) -> None:
        """Send these files, in as few requests as their order allows."""
        parcel, alone = self._parcel(), len(sources) == 1
        for source in sources:
            try:
                for part in self._parts(source):
                    if not parcel.takes(part, alone=alone):
                        parcel = self._sent(parcel)
                        parcel.takes(part, alone=alone)
                    if alone:  # the next part is read once this one is sent
                        parcel = self._sent(parcel)
            except FileNotFoundError:
                continue  # renamed or removed since it was listed
            except OSError as error:
                self._tally.found("unsendable", [unreadable(source.name, reason_of(error))])
        self._sent(parcel)

    def _parcel(self) -> Parcel:
        return Parcel(max_records=self._cut.max_records, max_bytes=self._cut.max_bytes)

    def _parts(self, source: Source) -> Iterator[Part]:
        with OpenFile(source.path) as file:
            yield from (
                self._transcript(file, source)
                if source.kind == "transcript"
                else self._document(file, source)
            )

    def _transcript(self, file: OpenFile, source: Source) -> Iterator[Part]:
        before = Mark() if self._anew else self._memory.mark_of(file, path=source.name)
        self._tally.add(files=1, bytes_done=0 if file.packed else before.offset)
        self._tally.incomplete.pop(source.name, None)
        any_new = False
        for part in read_slices(
            file,
            path=source.name,
            mark=before,
            max_records=self._cut.max_records,
            max_bytes=self._cut.max_bytes,
        ):
            any_new = any_new or part.mark.offset > part.start
            sent = Sent(
                path=source.name, identity=file.identity, mark=part.mark if part.mark.offset else None
            )
            read = 0 if file.packed else part.mark.offset - part.start
            yield Part(source=source, sent=sent, lines=part, read=read)
        self._tally.add(files_unchanged=not any_new, bytes_done=source.size if file.packed else 0)

    def _document(self, file: OpenFile, source: Source) -> Iterator[Part]:
        content = file.read_all()
        digest = hashlib.sha256(content).hexdigest()
        self._tally.add(files=1)
        if not self._anew and self._memory.digest_of(source.name) == digest:
            self._tally.add(files_unchanged=1, bytes_done=len(content))
            return
        record = document(source, content)
        if isinstance(record, Problem):
            self._tally.add(bytes_done=len(content))
            self._tally.found("unsendable", [record])
            return
        sent = Sent(path=source.name, identity=file.identity, digest=digest)
        lines = Slice(records=[record], record_bytes=len(record.raw))
        yield Part(source=source, sent=sent, lines=lines, read=len(content))

    def _sent(self, parcel: Parcel) -> Parcel:
        """Deliver, then note how far each file is: all of them, with the receipts, in one go. Gives an empty parcel."""
        receipts: list[OpenReceipt] = []
        request = parcel.request()
        if request is not None and self._dry:
            self._tally.add(requests=1)
        elif request is not None:
            self._wait_for_room()
            receipts = self._deliver(request)
        if parcel.parts and not self._dry:
            self._memory.advance((part.sent for part in parcel.parts), receipts=receipts)
        self._follow(receipts)
        for part in parcel.parts:
            kind, count = part.source.kind, len(part.lines.records)
            counted = {"transcript": "sent", "todos": "todos", "config": "configs"}[kind]
            self._tally.add(**{"bytes_done": part.read, counted: count})
            self._tally.found("unsendable", part.lines.problems)
            self._tally.noted(part.lines.notes)
            if part.lines.incomplete is not None:
                self._tally.incomplete[part.source.name] = part.lines.incomplete
        return self._parcel()

    def _deliver(self, outgoing: Outgoing) -> list[OpenReceipt]:
        """Hand one request over; halves of it where the front door refuses the whole, down to the single
        record.
        """
        body = encode(outgoing, encoding=self._cut.encoding)
        answer = self._delivery.submit(
            "/api/v1/ingest/batch", refusals=REFUSED_STATUS, content=body.content,
            headers=body.headers | {"Idempotency-Key": body.key, "Prefer": "respond-async"},
        )  # fmt: skip
        self._tally.add(requests=1)
        if answer.succeeded:
            if self._outcomes is None:
                self._tally.add(unknown=len(outgoing.records) if outgoing.member == "messages" else 0)
                return []
            return [OpenReceipt(id=answer.receipt, places=outgoing.places(), replayed=answer.replayed)]
        if len(outgoing.records) > 1:
            del body
            return [receipt for half in outgoing.halves() for receipt in self._deliver(half)]
        if not answer.own:
            raise AccessDeniedError(answer.detail)
        ((path, line, offset),) = outgoing.places()
        code = f"http_{answer.status}"
        problem = Problem(path=path, line=line, offset=offset, code=code, reason=answer.detail)
        self._tally.found("rejected", [problem])
        return []

    def _wait_for_room(self) -> None:
        """Before a parcel, not before each of the requests that it may fall into: those are followed when all are sent."""
        if self._outcomes is not None:
            self._outcomes.wait_below(self._most_open)

    def _follow(self, receipts: list[OpenReceipt]) -> None:
        if self._outcomes is not None:
            for receipt in receipts:
                self._outcomes.follow(receipt)
