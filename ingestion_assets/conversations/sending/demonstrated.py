"""What `ingestion demo` shows of this flow: made-up transcripts, sent twice."""

from typing import Any

from ingestion_assets.samples.transcripts import messages
from ingestion_assets.sending.demonstration import Demonstration

SESSIONS = 24
LINES = 6_000
MESSAGES = 1_000


def payload(seed: int) -> dict[str, Any]:
    """A batch of fresh messages."""
    return {"messages": list(messages(lines=MESSAGES, seed=seed))}


DEMONSTRATION = Demonstration(
    what=f"{SESSIONS} sessions with {LINES:,} lines",
    make=("sample", "--sessions", str(SESSIONS), "--lines", str(LINES)),
    send=("claude",),
    again=("claude", "--reset"),
    statistics="/ingest/status",
    post_to="/ingest/batch",
    payload=payload,
    payload_is=f"{MESSAGES:,} messages",
    jobs=("conversations_audit",),
)
