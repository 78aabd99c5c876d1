"""A run's work on a job's files, as a pipeline: this thread begins files while there is room, threads get them ready side by side, one
makes vectors of what is ready, of all of them together, and one stores each file in a transaction.

What is ready waits for its vectors within bounds, so that a pause is soon over and memory stays small. Meanwhile a watch
(`files_in_hand.py`) looks at what is wanted: a pause lets what is in hand be finished, a cancel and the worker's end do not.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue

import structlog
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from ingestion_assets.documents import job_files, source_connections, stored_contents
from ingestion_assets.documents.file_errors import FileError, FileLostError
from ingestion_assets.documents.files_in_hand import LOOK_S, TICK_S, FilesInHand, Slice
from ingestion_assets.documents.job_files import BEGUN_AT, JobFile, hold
from ingestion_assets.documents.open_sources import OpenSources
from ingestion_assets.documents.preparing import Clock, Prepared, prepare
from ingestion_assets.documents.run_figures import Done
from ingestion_assets.documents.vectors import embed_missing, unpinned
from ingestion_assets.embedding.errors import (
    EmbeddingRejectedError,
    EmbeddingUnavailableError,
    StoppedError,
)

READY_FILES = 16  # and characters, that are ready but not stored, before no more are begun
READY_CHARACTERS = 250_000
GATHER_S = 0.01  # in which more places may come free: files that are known are over in less, and to begin some is a transaction
BATCH_TEXTS = 128  # of which vectors are made together, unless one file has more

log = structlog.get_logger(__name__)


def work(run: Slice) -> Done:
    """Work on the job until nothing is left or the run has to stop; what is in hand then is still to be put back.

    Raises what PostgreSQL raises while it is away, `ClaimLostError`.
    """
    worker = _Worker(run)
    with contextlib.ExitStack() as stack:
        stack.callback(worker.making.close)
        files = stack.enter_context(ThreadPoolExecutor(run.job.options.workers, thread_name_prefix="file"))
        others = [
            threading.Thread(target=target, name=name, daemon=True)
            for name, target in (("job-watch", worker.watch), ("job-embed", worker.embed_all), ("job-store", worker.store_all))
        ]  # fmt: skip
        for thread in others:
            thread.start()
        try:
            worker.begin_all(files)
        finally:
            worker.stop.set()
            worker.over.set()
            for thread in others:
                thread.join()
    worker.sources.close()
    if worker.fault is not None:
        raise worker.fault
    worker.tell_steps()
    return worker.done


class _Worker(FilesInHand):
    def __init__(self, run: Slice) -> None:
        super().__init__(run)
        self._ready: SimpleQueue[Prepared] = SimpleQueue()
        self._with_vectors: SimpleQueue[Prepared] = SimpleQueue()
        self._preparing = 0
        self.sources = OpenSources(run.connected, run.open_source)

    # In the run's own thread

    def begin_all(self, threads: ThreadPoolExecutor) -> None:
        """Begin files while there is room, until all are stored or somebody wants the run to stop."""
        idle_s = 0.02
        while not self.stop.is_set():
            self.moved.clear()
            begun = 0 if self.no_more.is_set() else self._begin_some(threads)
            if not self._in_hand and (self.no_more.is_set() or not self._wait_for_more()):
                return
            idle_s = 0.02 if begun else min(0.2, idle_s * 1.5)
            if self.moved.wait(idle_s):  # another job may leave a place free, too
                time.sleep(GATHER_S)

    def _begin_some(self, threads: ThreadPoolExecutor) -> int:
        with self._lock:
            in_hand, preparing = list(self._in_hand), self._preparing
            characters = sum(self._characters.values())
        room = min(self.run.job.options.workers, self.run.cap) - preparing
        if room <= 0 or len(in_hand) - preparing >= READY_FILES or characters >= READY_CHARACTERS:
            return 0
        with self.run.engine.begin() as connection:
            job = hold(connection, self.run.job.id)
            if job.status not in {"running", "retrying"}:
                return 0  # the watch finds out why
            self.move_steps(connection, job)  # files that are ready take none of the places any more
            taken = job.take(
                connection, self.run.holder, flow=self.run.flow, in_hand=in_hand, most=room, cap=self.run.cap
            )
        with self._lock:
            for file in taken:
                self._in_hand[file.number] = file
                self._preparing += 1
            self._slice_files += len(taken)
        for file in taken:
            threads.submit(self._prepare, file)
        return len(taken)

    def _wait_for_more(self) -> bool:
        """Nothing is in hand. False where nothing is left either; else files wait for their time, or for a place."""
        with self.run.engine.connect() as connection:
            files, due_s = job_files.left(connection, self.run.job.id)
        if files:
            self.no_more.wait(min(max(due_s, 0.05), LOOK_S))
        return bool(files)

    # In the thread that makes vectors

    def embed_all(self) -> None:
        """Until the work is over."""
        self._each(self._ready, lambda first: self._embed(self._batch(first)))

    def _batch(self, first: Prepared) -> list[Prepared]:
        batch, texts = [first], first.texts
        with contextlib.suppress(Empty):
            while texts < BATCH_TEXTS:
                batch.append(self._ready.get_nowait())
                texts += batch[-1].texts
        return batch

    def _embed(self, wanting: Sequence[Prepared]) -> None:
        texts = [chunk.text for one in wanting if one.new for chunk in one.new.chunks]
        began = time.monotonic()

        def came(done: int, of: int) -> None:
            if len(wanting) == 1 and of:
                self._tell(wanting[0].file, "embedding", BEGUN_AT["embedding"] + 39 * done // of)

        try:
            embedded = embed_missing(
                self.run.engine, self.run.job.model, texts, stopped=self.stop.is_set, progress=came
            )
        except StoppedError:
            return
        except EmbeddingRejectedError as error:
            if len(wanting) == 1:
                self._failed(
                    wanting[0].file, FileError("embedding_rejected", "embedding", str(error)), wanting[0].took
                )
                return
            for one in wanting:  # whose it is
                if not self.stop.is_set():
                    self._embed([one])
            return
        except EmbeddingUnavailableError as error:
            for one in wanting:
                self._failed(one.file, FileError("embedding_unavailable", "embedding", str(error)), one.took)
            return
        self.done.embedded += embedded.embedded
        self.done.reused += embedded.reused
        spent_ms = round((time.monotonic() - began) * 1000)
        for one in wanting:
            share = one.texts / len(texts) if texts else 0
            one.took["embedding"] = round(spent_ms * share)
            self._with_vectors.put(one)

    # In the thread that stores

    def store_all(self) -> None:
        """Until the work is over."""
        self._each(self._with_vectors, self._store)

    def _each(self, waiting: SimpleQueue[Prepared], work: Callable[[Prepared], object]) -> None:
        """Take what waits, one after the other; a fault ends the run."""
        try:
            while not self.stop.is_set():
                try:
                    one = waiting.get(timeout=TICK_S)
                except Empty:
                    continue
                work(one)
        except Exception as error:
            self._fail(error)

    def _store(self, one: Prepared) -> None:
        """The file's own transaction: content, chunks, document and outcome, or none of it."""
        self._tell(one.file, "storing", BEGUN_AT["storing"])
        run, file, began = self.run, one.file, time.monotonic()
        try:
            with run.engine.begin() as connection:
                source_connections.keep(
                    connection, file.connection_id, user_id=run.job.user_id, sealed=one.sealed
                )
                content = one.known
                if content is None:
                    assert one.new is not None and one.key is not None  # noqa: S101
                    replace = not run.job.options.skip_existing
                    content = stored_contents.store(connection, one.key, one.new, replace=replace)
                    digests = {chunk.digest for chunk in one.new.chunks}
                    if unpinned(connection, one.key.model, digests):
                        raise LookupError("a vector was deleted before its chunk was stored")
                if not one.skipped:
                    stored_contents.put_document(connection, run.job.user_id, file, content, size=one.size)
                job = hold(connection, run.job.id)
                one.took["storing"] = round((time.monotonic() - began) * 1000)
                facts = {
                    "content_id": content.id, "mime": content.mime, "size": one.size, "pages": content.pages, "chunks": content.chunks,
                    "embedded": one.texts, "took": one.took, "warnings": one.new.warnings if one.new else [],
                }  # fmt: skip
                job.end(connection, run.holder, file, "skipped" if one.skipped else "completed", facts=facts)
        except FileLostError:
            self._forget(file)
            return
        except FileError as error:
            self._failed(file, error, one.took)
            return
        except (IntegrityError, LookupError) as error:
            self._failed(
                file,
                FileError("store_failed", "storing", f"It was not stored: {type(error).__name__}."),
                one.took,
            )
            return
        except DBAPIError as error:
            if _passes(error):
                raise
            log.warning("file_not_stored", job=file.job_id, file=file.number, error=type(error.orig).__name__)
            self._failed(
                file,
                FileError("store_failed", "storing", f"PostgreSQL refused it: {type(error.orig).__name__}."),
                one.took,
            )
            return
        self._ended(file, "skipped" if one.skipped else "completed", one.took)
        self.done.pages += content.pages
        self.done.chunks += 0 if one.skipped else content.chunks
        self.done.contents.append(content.id)

    # In the threads of files

    def _prepare(self, file: JobFile) -> None:
        clock = Clock(
            lambda step, progress: self._tell(file, step, progress), self.run.job.options.timeout_seconds
        )
        try:
            if self.stop.is_set():
                return
            try:
                source, sealed = self.sources.of(file.connection_id)
                ready = prepare(
                    self.run.engine, self.run.job, file, source, self.run.scratch, clock=clock, making=self.making,
                    stopped=self.stop.is_set,
                )  # fmt: skip
                ready.sealed = sealed
            except FileError as error:
                if not self.stop.is_set():
                    self._failed(file, error, clock.took)
                return
            if ready.new is None:
                self._with_vectors.put(ready)
            else:
                with self._lock:
                    self._characters[file.number] = sum(len(chunk.text) for chunk in ready.new.chunks)
                self._tell(file, "embedding", BEGUN_AT["embedding"])
                self._ready.put(ready)
        except SQLAlchemyError as error:
            self._fail(error)
        except Exception as error:  # a fault of ours costs the file, not the job
            log.exception("file_failed", job=file.job_id, file=file.number)
            sentence = f"It could not be processed because of a fault in the program ({type(error).__name__}); the log has more."
            if not self.stop.is_set():
                self._failed(file, FileError("parser_crashed", clock.step, sentence), clock.took)
        finally:
            with self._lock:
                self._preparing -= 1
            self.moved.set()


def _passes(error: DBAPIError) -> bool:
    """Whether the whole run should stop and try again later."""
    state = str(getattr(error.orig, "sqlstate", None) or "")
    return error.connection_invalidated or state[:2] in {"08", "57", "53", "40"} or not state
