"""One file on its way from its source to chunks that wait for vectors: accessed, fetched, parsed, cut. Nothing is written yet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ingestion_assets.documents import stored_contents
from ingestion_assets.documents.document_chunks import chunks
from ingestion_assets.documents.file_errors import FileError
from ingestion_assets.documents.job_files import BEGUN_AT, JobFile, Step
from ingestion_assets.documents.job_options import ProcessingOptions
from ingestion_assets.documents.making import Making
from ingestion_assets.documents.parsing.parsed_files import Limits, ParsedFile
from ingestion_assets.documents.parsing.sandbox import parse
from ingestion_assets.documents.sources.source import Source
from ingestion_assets.documents.stored_contents import ContentKey, NewChunk, NewContent, StoredContent
from ingestion_assets.documents.vectors import text_digest

if TYPE_CHECKING:
    from ingestion_assets.embedding.models import Model

MB = 1_000_000
CRASHED = frozenset({"parser_crashed", "out_of_memory"})


@dataclass(frozen=True, slots=True)
class Job:
    """What is the same for all files of a job."""

    id: str
    user_id: str
    options: ProcessingOptions
    model: Model
    limits: Limits
    max_bytes: int
    llm: Callable[[bytes, int], str] | None = None


@dataclass(slots=True)
class Prepared:
    """A file that is ready to be stored: its content as found (`known`), or as it is to be made (`new`). `sealed` is the configuration of its
    connection that it was read by."""

    file: JobFile
    key: ContentKey | None = None
    known: StoredContent | None = None
    new: NewContent | None = None
    skipped: bool = False
    size: int | None = None
    took: dict[str, int] = field(default_factory=dict)
    sealed: str = field(default="", repr=False)

    @property
    def texts(self) -> int:
        """How many vectors it wants."""
        return len(self.new.chunks) if self.new is not None else 0


class Clock:
    """Tells each step of a file where it begins, and keeps how long it took; the attempt's time is `timeout_s`."""

    def __init__(self, tell: Callable[[Step, int], object], timeout_s: float) -> None:
        self.tell = tell
        self.took: dict[str, int] = {}
        self.step: Step = "accessing"
        self._until = time.monotonic() + timeout_s
        self.timeout_s = timeout_s

    @contextmanager
    def at(self, step: Step) -> Iterator[None]:
        """Within the block the file is at this step. Raises `FileError` if the time is up before it."""
        self.step = step
        self.tell(step, BEGUN_AT[step])
        if self.left_s <= 0:
            raise self.timeout()
        began = time.monotonic()
        try:
            yield
        finally:
            self.took[step] = self.took.get(step, 0) + round((time.monotonic() - began) * 1000)

    @property
    def left_s(self) -> float:
        return self._until - time.monotonic()

    def timeout(self) -> FileError:
        return FileError(
            "timeout",
            self.step,
            f"It took longer than {self.timeout_s:g} s, the time that the job's options give a file.",
        )

    def part(self, step: Step, done: int, of: int | None) -> None:
        """So much of a step is done."""
        begun, end = BEGUN_AT[step], _END_OF[step]
        if of:
            self.tell(step, begun + (end - begun - 1) * min(done, of) // of)


_END_OF: Mapping[Step, int] = {
    "accessing": 5, "downloading": 20, "parsing": 45, "chunking": 50, "embedding": 90, "storing": 100,
}  # fmt: skip


def prepare(
    engine: sa.Engine,
    job: Job,
    file: JobFile,
    source: Source,
    scratch: Path,
    *,
    clock: Clock,
    making: Making,
    stopped: Callable[[], bool],
) -> Prepared:
    """Get a file ready. Raises `FileError`; what PostgreSQL raises while it is away."""

    def over() -> bool:
        return stopped() or clock.left_s <= 0

    key = ContentKey(job.user_id, b"", job.options.key(), job.model.id)
    with clock.at("accessing"):
        file, digest = _as_it_is_now(source, file)
        if job.options.skip_existing and digest is not None:
            with engine.connect() as connection:
                known = stored_contents.unchanged(connection, file, key, digest)
            if known is not None:
                return Prepared(file, key, known, skipped=True, took=clock.took)
    into = scratch / f"{file.number}"
    try:
        with clock.at("downloading"):
            try:
                fetched = source.fetch(
                    file.file_id, into, max_bytes=job.max_bytes, stopped=over,
                    progress=lambda done, of: clock.part("downloading", done, of),
                )  # fmt: skip
            except FileError as error:
                raise _in_time(error, clock, stopped) from error
            key = replace(key, sha256=bytes.fromhex(fetched.sha256))
        with engine.connect() as connection:
            same = stored_contents.same_document(connection, file, key)
        if same is not None and job.options.skip_existing:
            return Prepared(file, key, same, skipped=True, size=fetched.size, took=clock.took)
        # Another file of the same bytes may be under way, here or in another job: what comes of it is this one's, too.
        while not making.begin(file.number, key):
            if over():
                raise _in_time(FileError("cancelled", clock.step, "Cancelled."), clock, stopped)
            time.sleep(0.05)
        if job.options.skip_existing:
            with engine.connect() as connection:
                known = stored_contents.find(connection, key)
            if known is not None:
                return Prepared(file, key, known, size=fetched.size, took=clock.took)
        new = _made(job, file, into, clock, stopped)
        return Prepared(file, key, new=new, size=fetched.size, took=clock.took)
    finally:
        into.unlink(missing_ok=True)


def _as_it_is_now(source: Source, file: JobFile) -> tuple[JobFile, str | None]:
    """The file with what its source says of it now."""
    entry = source.entry(file.file_id)
    if entry is None:
        raise FileError("not_found", "accessing", f"{file.path}: the source has no such file (any more).")
    if entry.refused is not None:
        raise FileError(entry.refused, "accessing", entry.sentence or f"{entry.path}: it is refused.")
    now = replace(
        file, name=entry.name, path=entry.path, size=entry.size, mime=entry.mime or file.mime, digest=entry.digest, modified=entry.modified
    )  # fmt: skip
    return now, entry.digest


def _made(job: Job, file: JobFile, path: Path, clock: Clock, stopped: Callable[[], bool]) -> NewContent:
    options = job.options
    with clock.at("parsing"):
        parsed = _parsed(job, file, path, clock, stopped)
    with clock.at("chunking"):
        pieces = chunks(
            parsed, size=options.chunk_size, overlap=options.chunk_overlap, max_tokens=job.model.window_tokens,
            count_tokens=job.model.count_all, preserve_structure=options.preserve_structure,
        )  # fmt: skip
        texts = [piece.embedded for piece in pieces]
        tokens = job.model.count_all(texts) if texts else []
    engines: dict[str, int] = {}
    for page in parsed.pages:
        engines[page.engine or "dropped"] = engines.get(page.engine or "dropped", 0) + 1
    made = [
        NewChunk(
            piece.number, text, text_digest(text), piece.start, piece.end, count, piece.page_first, piece.page_last, tuple(piece.headings)
        )
        for piece, text, count in zip(pieces, texts, tokens, strict=True)
    ]  # fmt: skip
    warnings: list[dict[str, Any]] = [
        {"code": note.code, "page": note.page, "message": note.sentence} for note in parsed.warnings
    ]
    return NewContent(
        parsed.mime, parsed.language, parsed.encoding, parsed.quality, len(parsed.pages), parsed.text, warnings, engines, made
    )  # fmt: skip


def _parsed(job: Job, file: JobFile, path: Path, clock: Clock, stopped: Callable[[], bool]) -> ParsedFile:
    """A child that died may have been killed by anybody: the file gets another one; the second time it is the file."""
    for last in (False, True):
        limits = Limits(
            memory_bytes=job.limits.memory_bytes, timeout_s=max(0.1, clock.left_s), max_characters=job.limits.max_characters
        )  # fmt: skip
        try:
            return parse(
                path, file.name, job.options.parsing(), limits=limits, stopped=stopped,
                progress=lambda done, of: clock.part("parsing", done, of), llm=job.llm,
            )  # fmt: skip
        except FileError as error:
            if last or error.code not in CRASHED or clock.left_s <= 0 or stopped():
                raise
    raise AssertionError


def _in_time(error: FileError, clock: Clock, stopped: Callable[[], bool]) -> FileError:
    """What was stopped because its time was up is a timeout."""
    return clock.timeout() if error.code == "cancelled" and not stopped() else error
