"""Sends files: several at a time, each from where it was acknowledged last, one request after another.

A file's mark moves only after the front door accepted all requests up to there. Order within a file is kept.
"""

import hashlib
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import BinaryIO

from ingestion_assets.sending.delivery import Accepted, Delivery, ReceiptState, Refused, StoppedError
from ingestion_assets.sending.memory import Memory, OpenReceipt
from ingestion_assets.sending.outcomes import OutcomeFollower, settle
from ingestion_assets.sending.requests import Encoding, Outgoing, document, encode
from ingestion_assets.sending.slices import READ_BUFFER_BYTES, Mark, Problem, Slice, read_slices
from ingestion_assets.sending.sources import Source
from ingestion_assets.sending.tally import Tally

OPEN_REQUESTS = 64  # accepted, outcome not known: with so many no further lines are read
SPLIT_STATUS = frozenset({400, 413, 422})


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How requests are made: most records and bytes of one, its encoding, and how many files at a time."""

    max_records: int = 1000
    max_bytes: int = 4 * 2**20
    encoding: Encoding = "zstd"
    concurrency: int = 4


class Sender:
    """Sends sources over one delivery with one memory. `wait` also learns what became of every record."""

    def __init__(
        self,
        *,
        delivery: Delivery,
        memory: Memory,
        cut: Cut,
        tally: Tally,
        stop: threading.Event,
        wait: bool,
        patience_s: float | None,
    ) -> None:
        self._delivery = delivery
        self._memory = memory
        self._cut = cut
        self._tally = tally
        self._stop = stop
        self._most_open = OPEN_REQUESTS
        self._outcomes: OutcomeFollower | None = None
        if wait:
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
        with ThreadPoolExecutor(self._cut.concurrency, thread_name_prefix="send") as pool:
            pending: set[Future[None]] = {pool.submit(self._send, source) for source in sources}
            try:
                while pending:
                    done, pending = wait(pending, timeout=0.2, return_when=FIRST_EXCEPTION)
                    tick()
                    for future in done:
                        future.result()
                    self._raise_outcome_failure()
                    if pending and self._stop.is_set():
                        raise StoppedError
            except BaseException:
                self._stop.set()
                for future in pending:
                    future.cancel()
                raise

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

    def _send(self, source: Source) -> None:
        try:
            with source.path.open("rb", buffering=READ_BUFFER_BYTES) as file:
                if source.kind == "transcript":
                    self._send_transcript(file, source)
                else:
                    self._send_document(file, source)
        except FileNotFoundError:
            return  # renamed or removed since it was listed
        except PermissionError as error:
            self._tally.unsendable_found(
                [Problem(path=str(source.path), line=0, offset=0, code="unreadable", reason=str(error))]
            )

    def _send_transcript(self, file: BinaryIO, source: Source) -> None:
        path = str(source.path)
        before = self._memory.mark_of(file, path=source.path)
        self._tally.add(files=1, bytes_done=before.offset)
        self._tally.incomplete.pop(path, None)
        any_new = False
        for part in read_slices(
            file,
            path=source.path,
            mark=before,
            max_records=self._cut.max_records,
            max_bytes=self._cut.max_bytes,
        ):
            self._send_slice(file, source, part)
            any_new = any_new or part.mark.offset > part.start
        self._tally.add(files_unchanged=not any_new)

    def _send_slice(self, file: BinaryIO, source: Source, part: Slice) -> None:
        receipts: list[OpenReceipt] = []
        if part.records:
            self._wait_for_room()
            request = Outgoing(path=str(source.path), session_id=source.session_id, records=part.records)
            receipts = self._deliver(request)
        self._acknowledged(file, source, part.mark, receipts)
        self._tally.add(bytes_done=part.mark.offset - part.start, sent=len(part.records))
        self._tally.unsendable_found(part.problems)
        self._tally.noted(part.notes)
        if part.incomplete is not None:
            self._tally.incomplete[str(source.path)] = part.incomplete

    def _acknowledged(self, file: BinaryIO, source: Source, mark: Mark, receipts: list[OpenReceipt]) -> None:
        if mark.offset:
            self._memory.advance(file, path=source.path, mark=mark, receipts=receipts)
        self._follow(receipts)

    def _send_document(self, file: BinaryIO, source: Source) -> None:
        content = file.read()
        digest = hashlib.sha256(content).hexdigest()
        self._tally.add(files=1, bytes_done=len(content))
        if self._memory.digest_of(source.path) == digest:
            self._tally.add(files_unchanged=1)
            return
        outgoing = document(source, content)
        if isinstance(outgoing, Problem):
            self._tally.unsendable_found([outgoing])
            return
        self._wait_for_room()
        receipts = self._deliver(outgoing)
        self._memory.document_sent(path=source.path, digest=digest, receipts=receipts)
        self._follow(receipts)
        self._tally.add(**{"todos" if source.kind == "todos" else "configs": 1})

    def _deliver(self, outgoing: Outgoing) -> list[OpenReceipt]:
        """Hand one request over; halves of it where the front door refuses the whole, down to the single
        record.
        """
        answer = self._delivery.send(encode(outgoing, encoding=self._cut.encoding))
        self._tally.add(requests=1)
        if isinstance(answer, Accepted):
            return self._accepted(outgoing, answer)
        if len(outgoing.records) > 1 and answer.status in SPLIT_STATUS:
            return [receipt for half in outgoing.halves() for receipt in self._deliver(half)]
        self._refused(outgoing, answer)
        return []

    def _accepted(self, outgoing: Outgoing, answer: Accepted) -> list[OpenReceipt]:
        receipt = OpenReceipt(
            id=answer.receipt or "", path=outgoing.path, places=outgoing.places(), replayed=answer.replayed
        )
        if self._outcomes is not None and answer.result is None and answer.receipt is not None:
            return [receipt]
        if answer.result is not None:
            totals, problems = settle(
                receipt,
                ReceiptState(state="done", result=answer.result),
                record_outcomes=lambda: self._delivery.record_outcomes(receipt.id) if receipt.id else [],
            )
            self._tally.add(**totals)
            self._tally.rejected_found(problems)
        else:
            self._tally.add(unknown=len(outgoing.records))
        return []

    def _refused(self, outgoing: Outgoing, answer: Refused) -> None:
        self._tally.rejected_found(
            Problem(
                path=outgoing.path,
                line=line,
                offset=offset,
                code=f"http_{answer.status}",
                reason=answer.detail,
            )
            for line, offset in outgoing.places()
        )

    def _wait_for_room(self) -> None:
        """Before a slice, not before each of the requests that it may fall into: those are followed when all are sent."""
        if self._outcomes is not None:
            self._outcomes.wait_below(self._most_open)

    def _follow(self, receipts: list[OpenReceipt]) -> None:
        if self._outcomes is not None:
            for receipt in receipts:
                self._outcomes.follow(receipt)
