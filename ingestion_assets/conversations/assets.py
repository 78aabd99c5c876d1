"""The assets of the conversations flow. Each is a stage of the run's claim; the work itself is in `work.py`."""

from typing import TYPE_CHECKING

import dagster as dg

from ingestion_assets.conversations import checks
from ingestion_assets.conversations.flow import CONVERSATIONS
from ingestion_assets.orchestration.partitions import DAYS
from ingestion_assets.orchestration.reporting import rejects_table
from ingestion_assets.orchestration.stages import Stages

if TYPE_CHECKING:
    from ingestion_assets.conversations.work import ConversationsWork
    from ingestion_assets.orchestration.claiming import Working

MONGO = {"mongodb"}


def _start(run: "Working") -> "ConversationsWork":
    from ingestion_assets.conversations.settings import ConversationsSettings  # noqa: PLC0415
    from ingestion_assets.conversations.work import ConversationsWork  # noqa: PLC0415
    from ingestion_assets.orchestration.retries import is_transient  # noqa: PLC0415
    from ingestion_assets.settings import load_flow_settings  # noqa: PLC0415
    from ingestion_assets.stores import mongo  # noqa: PLC0415

    own = load_flow_settings(ConversationsSettings)
    return ConversationsWork(
        claim=run.claim,
        storage=run.storage,
        engine=run.engine,
        database=mongo.database(),
        max_bytes=run.settings.claim_max_bytes,
        sanitize=own.sanitize_messages,
        worktrees=own.worktrees_in_projects,
        is_transient=is_transient,
    )


stages = Stages(flow=CONVERSATIONS, partitions_def=DAYS, start=_start)

raw_batches = stages.raw_batches(
    "Payloads of transcripts that landed on a day, as they were sent. A run works on its claim of them.",
    kinds={"json"},
)


@stages.asset(
    deps=["raw_batches"],
    kinds=MONGO,
    columns={
        "_id": "text: session and uuid in one key, which makes a message unique",
        "sessionId": "text: session the message belongs to; null while a summary waits for its leaf",
        "uuid": "text: the message's own id, or one derived from its content",
        "type": "text: kind of line; open-ended",
        "timestamp": "datetime: when it was said, UTC",
        "preview": "text: plain text of at most 280 characters",
        "contentHash": "binary: SHA-256 over what makes the message the same",
    },
    check_specs=checks.MESSAGES,
)
def messages(work: "ConversationsWork") -> dg.MaterializeResult:
    """Every message once: validated, deduplicated by session and uuid, stored verbatim with a plain-text preview."""
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


@stages.asset(deps=["messages"], kinds=MONGO)
def todos(work: "ConversationsWork") -> dg.MaterializeResult:
    """The newest state of every todo list, by session and file."""
    return dg.MaterializeResult(
        metadata={
            "files": sum(one.written for one in work.todos().values()),
            **checks.superseded(work.todos()),
        }
    )


@stages.asset(deps=["messages"], kinds=MONGO)
def configs(work: "ConversationsWork") -> dg.MaterializeResult:
    """The newest configuration of every user, with its history."""
    return dg.MaterializeResult(
        metadata={
            "updates": sum(one.written for one in work.configs().values()),
            **checks.superseded(work.configs()),
        }
    )


@stages.asset(
    deps=["messages"],
    kinds=MONGO,
    columns={
        "sessionId": "text: the session",
        "projectId": "text: project of its first working directory",
        "startedAt": "datetime: time of its first message",
        "endedAt": "datetime: time of its last message",
        "messageCount": "int: messages stored",
        "totalCost": "decimal: US dollars, once per API message",
    },
    check_specs=checks.SESSIONS,
)
def sessions(work: "ConversationsWork") -> dg.MaterializeResult:
    """What each session's messages add up to: times, counts by type, tokens per model, cost."""
    refreshed = work.sessions()
    return dg.MaterializeResult(
        metadata={"refreshed": len(refreshed.ids), "failed": refreshed.failed},
        check_results=checks.check_sessions(database=work.database, ids=refreshed.ids),
    )


@stages.asset(
    deps=["sessions"],
    kinds=MONGO,
    columns={
        "path": "text: working directory up to the folder after `projects`",
        "name": "text: its last part",
        "stats": "object: messages, sessions, tokens and cost; forked sessions counted once per API message",
    },
)
def projects(work: "ConversationsWork") -> dg.MaterializeResult:
    """What each project's sessions add up to."""
    refreshed = work.projects()
    return dg.MaterializeResult(metadata={"refreshed": len(refreshed.ids), "removed": len(refreshed.removed)})


ingestion_log = stages.ingestion_log(
    "One entry a payload, and its receipt: the claim ends here, and clients get their answers.",
    deps=["todos", "configs", "projects"],
    kinds={"mongodb", "postgres"},
    accounting="Every payload's result says received = processed + skipped + failed, with one outcome a record.",
    accounts=checks.accounts,
)

ASSETS = [raw_batches, messages, todos, configs, sessions, projects, ingestion_log]
