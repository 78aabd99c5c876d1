"""The assets of the documents flow: the stages of a run's claim of one job, of which it does a slice or some."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from ingestion_assets.documents import checks
from ingestion_assets.documents.flow import DOCUMENTS
from ingestion_assets.orchestration.partitions import DAYS
from ingestion_assets.orchestration.stages import Stages

if TYPE_CHECKING:
    from ingestion_assets.documents.work import DocumentsWork
    from ingestion_assets.orchestration.claiming import Working

POSTGRES = {"postgres"}
LISTED = 50


def _start(run: "Working") -> "DocumentsWork":
    from ingestion_assets.documents.settings import documents_settings  # noqa: PLC0415
    from ingestion_assets.documents.work import begin  # noqa: PLC0415

    return begin(run, documents_settings())


stages = Stages(flow=DOCUMENTS, partitions_def=DAYS, start=_start)

selections = stages.raw_batches(
    "Jobs with the files that were selected, as they were created on a day. A run takes one of them.",
    kinds={"json"},
)


@stages.asset(
    deps=["selections"],
    kinds=POSTGRES,
    columns={
        "job_id": "text: the job",
        "file_id": "text: as its source names it",
        "status": "text: from pending to completed, failed or skipped",
        "error_code": "text: why it failed",
        "content_id": "bigint: what came of it",
    },
    check_specs=checks.FILES,
)
def files(work: "DocumentsWork") -> dg.MaterializeResult:
    """The files of a job, each taken through all its steps: fetched, parsed, cut, embedded, stored in one transaction."""
    from ingestion_assets.documents.run_figures import figures  # noqa: PLC0415

    done = work.worked()
    facts: dict[str, Any] = figures(done) | {"jobs": ", ".join(work.jobs)}
    if done.failures:
        facts["failures"] = dg.MetadataValue.table(
            [
                dg.TableRecord({"file": path, "code": code, "stage": stage, "why": why})
                for path, code, stage, why in done.failures[:LISTED]
            ],
            schema=dg.TableSchema([dg.TableColumn(name) for name in ("file", "code", "stage", "why")]),
        )
    return dg.MaterializeResult(metadata=facts, check_results=[checks.check_files(work)])


@stages.asset(
    deps=["files"],
    kinds=POSTGRES,
    columns={
        "content_id": "bigint: the content that it is of",
        "number": "integer: from 0",
        "text": "text: what is embedded and found",
        "start_at": "integer: where it begins in the content's text",
        "headings": "text[]: the way down to it",
    },
    check_specs=checks.CHUNKS,
)
def chunks(work: "DocumentsWork") -> dg.MaterializeResult:
    """Texts of files cut into chunks, with span, pages and headings."""
    done = work.worked()
    facts = {"chunks": done.chunks, "contents": len(done.contents)}
    return dg.MaterializeResult(metadata=facts, check_results=checks.check_stored(work, checks.CHUNKS))


@stages.asset(
    deps=["chunks"],
    kinds={"postgres", "pytorch"},
    columns={
        "text_digest": "bytea: SHA-256 of the chunk's text",
        "model": "text: name and revision of the model",
        "embedding": "halfvec: the vector",
    },
    check_specs=checks.EMBEDDINGS,
)
def embeddings(work: "DocumentsWork") -> dg.MaterializeResult:
    """Vectors of chunks by text and model: a text is embedded once."""
    done = work.worked()
    facts = {"embedded": done.embedded, "embedded_before": done.reused}
    return dg.MaterializeResult(metadata=facts, check_results=checks.check_stored(work, checks.EMBEDDINGS))


ingestion_log = stages.ingestion_log(
    "What became of the jobs.",
    deps=["embeddings"],
    kinds=POSTGRES,
    accounting="Every file of a job that is over is stored, a duplicate, or rejected with a reason.",
    accounts=lambda outcome: (
        outcome.unfinished
        or len(outcome.records)
        == sum(outcome.result.get(kind, 0) for kind in ("stored", "duplicate", "rejected"))
    ),
)
STAGES = [selections, files, chunks, embeddings, ingestion_log]
