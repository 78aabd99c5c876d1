"""What a run does with its claim of a job: work on its files in slices, conclude, say what became of them."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import msgspec
import sqlalchemy as sa

from ingestion_assets.documents import batch_jobs, job_slices, llm_pages, source_connections
from ingestion_assets.documents.file_errors import FileError
from ingestion_assets.documents.files_in_hand import Slice, Word
from ingestion_assets.documents.flow import DOCUMENTS, NAME, JobPayload
from ingestion_assets.documents.job_control import OVER, STEPS_OF
from ingestion_assets.documents.job_options import ProcessingOptions
from ingestion_assets.documents.parsing.parsed_files import Limits
from ingestion_assets.documents.preparing import MB, Job
from ingestion_assets.documents.run_figures import Done
from ingestion_assets.documents.settings import DocumentsSettings
from ingestion_assets.documents.source_connections import Connection
from ingestion_assets.documents.verification import faults
from ingestion_assets.embedding.errors import EmbeddingError
from ingestion_assets.embedding.models import Model, text_model
from ingestion_assets.landing import claims, dispatch
from ingestion_assets.landing.claims import Claim, DropRef
from ingestion_assets.landing.drop_outcomes import DropOutcome, RecordOutcome
from ingestion_assets.landing.storage import LandingStorage
from ingestion_assets.settings import Settings, load_settings
from ingestion_assets.stores.scratch_folders import delete_left, scratch_folder, scratch_root
from ingestion_assets.stores.sealing import SealError, sealer

Open = TypeVar("Open")

_RECORDS = sa.text("""
    SELECT status, error_code AS code, error AS reason, content_id FROM documents.files WHERE job_id = :job_id ORDER BY number
""")
_STORED = sa.text("SELECT options, model, sealed_passwords, priority FROM documents.jobs WHERE id = :job_id")


class Run(Protocol):
    """What a run of Dagster is to the work."""

    claim: Claim
    storage: LandingStorage
    engine: sa.Engine
    settings: Settings

    def safe_point(self, drop: DropRef) -> Word: ...
    def progress(self, drop: DropRef, state: Mapping[str, Any]) -> None: ...
    def keep_open(self, resource: AbstractContextManager[Open]) -> Open: ...


@dataclass(slots=True)
class DocumentsWork:
    """The work on a claim. `done` sums up what was done for all its jobs: one, but for a rebuild."""

    run: Run
    settings: DocumentsSettings
    done: Done = field(default_factory=Done)
    jobs: list[str] = field(default_factory=list)
    _outcomes: list[DropOutcome] | None = None
    _faults: dict[str, list[str]] | None = None

    def worked(self) -> Done:
        """The job, worked on until it is over or the run has to stop."""
        if self._outcomes is None:
            drops = claims.load(self.run.storage, self.run.claim.drops)
            refs = {ref.id: ref for ref in self.run.claim.drops}
            scratch = self.run.keep_open(scratch_folder(scratch_root(self.run.settings, NAME)))
            outcomes = []
            for drop in drops:
                payload = msgspec.json.decode(drop.body, type=JobPayload)
                outcomes.append(self._work(refs[drop.id], payload, scratch))
            self._outcomes = outcomes
        return self.done

    def faults(self) -> dict[str, list[str]]:
        """What is wrong with what was stored, by check."""
        if self._faults is None:
            contents = self.worked().contents
            with self.run.engine.connect() as connection:
                self._faults = faults(connection, self.run.settings, contents=contents)
        return self._faults

    def outcomes(self) -> list[DropOutcome]:
        """What is to be said of each payload."""
        self.worked()
        return self._outcomes or []

    def _work(self, ref: DropRef, payload: JobPayload, scratch: Any) -> DropOutcome:
        run, holder = self.run, self.run.claim.run_id
        self.jobs.append(payload.job_id)
        with run.engine.begin() as connection:
            held = batch_jobs.begin(connection, payload, principal=ref.principal, holder=holder)
            known = connection.execute(_STORED, {"job_id": payload.job_id}).one_or_none()
        if held is None or known is None:
            return self._said(ref, payload.job_id)
        model = self._model(known.model)
        options, why_locked = self._options(known, payload.job_id)
        if model is None or options is None:
            sentence = f"The model {known.model} that the job was created with is not there any more; create the job anew."
            with run.engine.begin() as connection:
                batch_jobs.hold(connection, payload.job_id).give_up(
                    connection,
                    why_locked or sentence,
                    code="password_required" if why_locked else "embedding_rejected",
                )
        else:
            job = Job(
                payload.job_id, payload.user_id, options, model, limits=Limits(memory_bytes=self.settings.documents_parser_mb * 2**20),
                max_bytes=self._max_bytes(options), llm=llm_pages.reader(self.settings) if options.use_llm_parsing else None,
            )  # fmt: skip
            rank = DOCUMENTS.runs.priority + STEPS_OF[known.priority]
            self._add(job_slices.work(self._slice(ref, job, scratch, rank)))
        with run.engine.begin() as connection:
            status, _ = batch_jobs.conclude(
                connection, payload.job_id, holder=holder, outranked=self.done.outranked
            )
        if status not in {"completed", "failed"} and not (status in OVER and ref.state == "done"):
            return DropOutcome(ref.id, {}, unfinished=True)
        return self._said(ref, payload.job_id)

    def _slice(self, ref: DropRef, job: Job, scratch: Any, rank: int) -> Slice:
        run = self.run

        def outranked() -> bool:
            """Whether a job waits that goes before this one, and has no place unless this one gives its own."""
            runs = {NAME: DOCUMENTS.runs}
            with run.engine.connect() as connection:
                if dispatch.room(connection, runs).get(NAME, 1):
                    return False
                states = dispatch.lane_states(connection, flows=[NAME])
            return any(
                not state.leased and not state.pending and state.rank(DOCUMENTS.runs) > rank
                for state in states
            )

        def connected(connection_id: str) -> Connection:
            with run.engine.connect() as connection:
                found = source_connections.get(connection, connection_id, user_id=job.user_id)
            if found is None:
                raise FileError("not_found", "accessing", "The connection was deleted.")
            return found

        fetching = source_connections.fetching(job.options.source_specific_options)

        return Slice(
            engine=run.engine, job=job, holder=run.claim.run_id, flow=NAME, scratch=scratch,
            cap=self.settings.max_concurrent_processing, slice_s=self.settings.documents_slice_s,
            connected=connected, open_source=lambda one: source_connections.open_source(one, run.settings, fetching),
            wanted=lambda: run.safe_point(ref), outranked=outranked, came_on=lambda outcomes: run.progress(ref, outcomes),
        )  # fmt: skip

    def _options(self, known: sa.Row[Any], job_id: str) -> tuple[ProcessingOptions | None, str]:
        """The job's options, or why its passwords cannot be had."""
        said = dict(known.options)
        if known.sealed_passwords is not None:
            try:
                opened = msgspec.json.decode(
                    sealer(self.run.settings).open(known.sealed_passwords, of=job_id)
                )
            except SealError as error:
                return None, f"The job's passwords cannot be opened: {error}."
            said["source_specific_options"] = {**said.get("source_specific_options", {}), "passwords": opened}
        return ProcessingOptions.model_validate(said), ""

    def _model(self, model_id: str) -> Model | None:
        """The model, if it is there in the same revision."""
        try:
            model = text_model(model_id.rpartition("@")[0] or None, self.run.settings)
        except EmbeddingError:
            return None
        return model if model.id == model_id else None

    def _max_bytes(self, options: ProcessingOptions) -> int:
        asked = options.source_specific_options.max_file_size_mb or self.settings.max_file_size_mb
        return round(min(asked, self.settings.max_file_size_mb) * MB)

    def _said(self, ref: DropRef, job_id: str) -> DropOutcome:
        with self.run.engine.connect() as connection:
            rows = connection.execute(_RECORDS, {"job_id": job_id}).all()
        records = [_RECORD[row.status](row) for row in rows if row.status in _RECORD]
        kinds = [record.status for record in records]
        counts = {kind: kinds.count(kind) for kind in ("stored", "duplicate", "rejected")}
        return DropOutcome(ref.id, {"job_id": job_id, **counts}, records=records)

    def _add(self, done: Done) -> None:
        mine = self.done
        for name, number in done.outcomes.items():
            mine.outcomes[name] = mine.outcomes.get(name, 0) + number
        for name, spent in done.took_ms.items():
            mine.took_ms.setdefault(name, []).extend(spent)
        mine.failures += done.failures
        mine.contents += done.contents
        for name in ("pages", "chunks", "embedded", "reused", "retried"):
            setattr(mine, name, getattr(mine, name) + getattr(done, name))
        mine.outranked = done.outranked


_RECORD: Mapping[str, Callable[[sa.Row[Any]], RecordOutcome]] = {
    "completed": lambda row: RecordOutcome("stored", id=str(row.content_id)),
    "skipped": lambda row: RecordOutcome("duplicate", duplicate_of=str(row.content_id)),
    "failed": lambda row: RecordOutcome("rejected", code=row.code, reason=row.reason),
}


def begin_worker() -> None:
    """A worker begins: what killed processes left is deleted."""
    delete_left(scratch_root(load_settings(), NAME))


def begin(run: Run, settings: DocumentsSettings) -> DocumentsWork:
    """The work on a run's claim."""
    return DocumentsWork(run, settings)
