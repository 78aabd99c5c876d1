"""The assets of the conversations flow. Each is a stage of the run's claim; the work itself is in `work.py`.

What the work needs is imported where it starts, so that a code location loads about as fast as Dagster itself; the
workers import it before their first run.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dagster as dg

from ingestion_assets.conversations import checks
from ingestion_assets.conversations.flow import CONVERSATIONS, NAME
from ingestion_assets.orchestration.partitions import DAYS
from ingestion_assets.orchestration.reporting import claim_metadata, rejects_table

if TYPE_CHECKING:
    from ingestion_assets.conversations.work import ConversationsWork
    from ingestion_assets.orchestration.claiming import Working

CODE_VERSION = "1"
OWNERS = ["team:ingestion"]
MONGO = {"mongodb"}


def _columns(**columns: str) -> dict[str, dg.TableSchema]:
    return {
        "dagster/column_schema": dg.TableSchema(
            [
                dg.TableColumn(name, kind.split(":")[0], description=kind.split(":")[1])
                for name, kind in columns.items()
            ]
        )
    }


def _asset(
    name: str, *, deps: list[str], kinds: set[str], metadata: dict[str, Any] | None = None, **more: Any
) -> Callable[[Callable[..., dg.MaterializeResult]], dg.AssetsDefinition]:
    return dg.asset(
        key=[NAME, name],
        deps=[[NAME, dep] for dep in deps],
        group_name=NAME,
        kinds=kinds,
        owners=OWNERS,
        code_version=CODE_VERSION,
        partitions_def=DAYS,
        metadata=metadata,
        **more,
    )


@contextmanager
def _stage(
    context: dg.AssetExecutionContext, *, last: bool = False
) -> "Iterator[tuple[Working, ConversationsWork]]":
    from ingestion_assets.conversations.work import ConversationsWork  # noqa: PLC0415
    from ingestion_assets.orchestration.claiming import working  # noqa: PLC0415
    from ingestion_assets.orchestration.retries import is_transient  # noqa: PLC0415
    from ingestion_assets.stores import mongo  # noqa: PLC0415

    with working(context, CONVERSATIONS, last=last) as run:
        if "work" not in run.memory:
            run.memory["work"] = ConversationsWork(
                claim=run.claim,
                storage=run.storage,
                engine=run.engine,
                database=mongo.database(),
                max_bytes=run.settings.claim_max_bytes,
                sanitize=run.settings.sanitize_messages,
                is_transient=is_transient,
            )
        yield run, run.memory["work"]


@_asset("raw_batches", deps=[], kinds={"json"})
def raw_batches(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """Payloads of transcripts that landed on a day, as they were sent. A run works on its claim of them."""
    with _stage(context) as (run, _):
        return dg.MaterializeResult(
            metadata=claim_metadata(run.claim, seconds_claiming=run.seconds_claiming, settings=run.settings)
        )


@_asset(
    "messages",
    deps=["raw_batches"],
    kinds=MONGO,
    metadata=_columns(
        _id="text:session and uuid in one key, which makes a message unique",
        sessionId="text:session the message belongs to; null while a summary waits for its leaf",
        uuid="text:the message's own id, or one derived from its content",
        type="text:kind of line; open-ended",
        timestamp="datetime:when it was said, UTC",
        preview="text:plain text of at most 280 characters",
        contentHash="binary:SHA-256 over what makes the message the same",
    ),
    check_specs=checks.MESSAGES,
)
def messages(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """Every message once: validated, deduplicated by session and uuid, stored verbatim with a plain-text preview."""
    with _stage(context) as (_, work):
        batches = work.batches()
        count = {
            status: sum(batch.count(status) for batch in batches)
            for status in ("stored", "duplicate", "rejected")
        }
        received = sum(len(batch.records) for batch in batches)
        rejects = [*work.failed(), *(checks.as_outcome(batch) for batch in batches if batch.rejects)]
        return dg.MaterializeResult(
            metadata={
                "received": received,
                "new": count["stored"],
                "duplicate": count["duplicate"],
                "rejected": count["rejected"],
                "payloads_failed": len(work.failed()),
                "warnings": sum(len(batch.warnings) for batch in batches),
                **rejects_table(rejects),
            },
            check_results=checks.check_messages(
                received=received, count=count, failed_payloads=len(work.failed())
            ),
        )


@_asset("todos", deps=["messages"], kinds=MONGO)
def todos(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """The newest state of every todo list, by session and file."""
    with _stage(context) as (_, work):
        return dg.MaterializeResult(metadata={"files": sum(work.todos().values())})


@_asset("configs", deps=["messages"], kinds=MONGO)
def configs(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """The newest configuration of every user, with its history."""
    with _stage(context) as (_, work):
        return dg.MaterializeResult(metadata={"updates": sum(work.configs().values())})


@_asset(
    "sessions",
    deps=["messages"],
    kinds=MONGO,
    metadata=_columns(
        sessionId="text:the session",
        projectId="text:project of its first working directory",
        startedAt="datetime:time of its first message",
        endedAt="datetime:time of its last message",
        messageCount="int:messages stored",
        totalCost="decimal:US dollars, once per API message",
    ),
    check_specs=checks.SESSIONS,
)
def sessions(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """What each session's messages add up to: times, counts by type, tokens per model, cost."""
    with _stage(context) as (_, work):
        refreshed = work.sessions()
        return dg.MaterializeResult(
            metadata={"refreshed": len(refreshed.ids)},
            check_results=checks.check_sessions(database=work.database, ids=refreshed.ids),
        )


@_asset(
    "projects",
    deps=["sessions"],
    kinds=MONGO,
    metadata=_columns(
        path="text:working directory up to the folder after `projects`",
        name="text:its last part",
        stats="object:messages, sessions, tokens and cost; forked sessions counted once per API message",
    ),
)
def projects(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """What each project's sessions add up to."""
    with _stage(context) as (_, work):
        refreshed = work.projects()
        return dg.MaterializeResult(
            metadata={"refreshed": len(refreshed.ids), "removed": len(refreshed.removed)}
        )


@_asset(
    "ingestion_log",
    deps=["todos", "configs", "projects"],
    kinds={"mongodb", "postgres"},
    check_specs=checks.INGESTION_LOG,
)
def ingestion_log(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """One entry a payload, and its receipt: the claim ends here, and clients get their answers."""
    with _stage(context, last=True) as (run, work):
        outcomes = work.outcomes()
        run.finish(outcomes)
        return dg.MaterializeResult(
            metadata={
                "payloads": len(outcomes),
                "failed": sum(outcome.failed for outcome in outcomes),
                **rejects_table(outcomes),
            },
            check_results=checks.check_log(outcomes),
        )


ASSETS = [raw_batches, messages, todos, configs, sessions, projects, ingestion_log]
