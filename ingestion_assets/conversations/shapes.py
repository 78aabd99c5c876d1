"""What kinds of lines there are, and which fields a line has: what format drift looks at."""

from collections.abc import Iterable
from typing import Any

KNOWN_TYPES = frozenset(
    [
        "user",
        "assistant",
        "system",
        "summary",
        "progress",
        "attachment",
        "tool",
        "file-history-snapshot",
        "file-history-delta",
        "queue-operation",
        "pr-link",
        "last-prompt",
        "mode",
        "permission-mode",
        "atis-latch",
        "ai-title",
        "custom-title",
        "agent-name",
        "bridge-session",
        "cost-state",
        "frame-link",
        "artifact",
        "continued-in",
        "fork-context-ref",
        "content-replacement",
        "ended-by-model",
        "tag",
        "relocated",
        "agent-color",
        "agent-setting",
        "history-suppression",
        "attribution-snapshot",
        "started",
        "result",
    ]
)


def shape_of(record: dict[str, Any], kind: str, version: str | None) -> tuple[Any, ...]:
    """The keys of the record and of what lies one level into its payload."""
    message, data, attachment = record.get("message"), record.get("data"), record.get("attachment")
    return (
        version, kind, tuple(record),
        tuple(message) if isinstance(message, dict) else None,
        tuple(data) if isinstance(data, dict) else None,
        tuple(attachment) if isinstance(attachment, dict) else None,
    )  # fmt: skip


def paths_of(shapes: Iterable[tuple[Any, ...]]) -> dict[str, set[str]]:
    """Types and field paths of `Record.shape`s, by client version ('' where a line names none)."""
    found: dict[str, set[str]] = {}
    for version, kind, fields, message, data, attachment in shapes:
        paths = found.setdefault(version or "", set())
        paths.add(kind)
        paths.update(f"{kind}.{name}" for name in fields)
        for parent, inner in (("message", message), ("data", data), ("attachment", attachment)):
            paths.update(f"{kind}.{parent}.{name}" for name in inner or ())
    return found
