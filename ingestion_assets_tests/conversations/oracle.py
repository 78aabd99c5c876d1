"""The tables that given transcript lines must come to, computed in plain Python by another path.

Shares no code with the flow: records are dicts from `json.loads`, everything is recomputed from all of them.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

TOKENS = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_creation_input_tokens": "cache_creation_tokens",
    "cache_read_input_tokens": "cache_read_tokens",
}


@dataclass
class Tables:
    """Messages by identity, sessions by id, projects by path; failures by position in the input."""

    messages: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    owners: dict[tuple[str, str], str | None] = field(default_factory=dict)
    sessions: dict[str, dict[str, Any]] = field(default_factory=dict)
    projects: dict[str | None, dict[str, Any]] = field(default_factory=dict)
    stored: int = 0
    skipped: int = 0
    failed: int = 0


def lines_of(path: Path) -> list[Any]:
    """The JSON values of a transcript, one or two a line; what cannot be read is left out."""
    found = []
    decoder = json.JSONDecoder()
    for line in path.read_text(encoding="utf-8").split("\n"):
        position = 0
        while position < len(line.strip()):
            value, position = decoder.raw_decode(line, position)
            found.append(value)
    return found


def moment(text: Any) -> datetime | None:
    if text is None:
        return None
    if isinstance(text, int | float):
        return datetime.fromtimestamp(text / 1000 if text >= 1e11 else text, UTC)
    when = datetime.fromisoformat(text)
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def valid(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("type"), str) or not value["type"]:
        return False
    if value.get("uuid") is not None and not 1 <= len(value["uuid"]) <= 128:
        return False
    try:
        moment(value.get("timestamp"))
    except (ValueError, TypeError):
        return False
    if value["type"] == "assistant" and value.get("message") is None:
        return False
    for name in ("costUSD", "costUsd"):
        cost = value.get(name)
        if cost is not None and (isinstance(cost, bool | str | list | dict) or not 0 <= cost <= 100):
            return False
    return True


def content(record: dict[str, Any]) -> str:
    part = {name: record.get(name) for name in ("uuid", "type", "message")}
    when = moment(record.get("timestamp"))
    return json.dumps([part, when.isoformat() if when else None], sort_keys=True)


def project_path(cwd: str | None) -> str | None:
    if not cwd:
        return None
    windows = bool(re.match(r"[A-Za-z]:[\\/]", cwd)) or cwd.startswith("\\\\")
    plain = cwd.replace("\\", "/") if windows else cwd
    parts = plain.rstrip("/").split("/")
    length = len("/".join(parts))
    for index, part in enumerate(parts[:-1]):
        if part == "projects" and parts[index + 1]:
            length = len("/".join(parts[: index + 2]))
            break
    return cwd[:length] or cwd


def expected(lines: Iterable[tuple[Any, str | None]]) -> Tables:
    """Tables after these lines, each with the session of its file, were sent in this order."""
    tables = Tables()
    for value, default in lines:
        if not valid(value):
            tables.failed += 1
            continue
        session = value.get("sessionId")
        if not session:
            summary = value["type"] == "summary" and isinstance(value.get("leafUuid"), str)
            session = "" if summary else (default or "")
        identity = value.get("uuid")
        if identity is None:
            identity = "record:" + json.dumps(value, sort_keys=True)
        if (session, identity) in tables.messages:
            tables.skipped += 1
            continue
        tables.stored += 1
        tables.messages[session, identity] = value
    _own(tables)
    _add_up(tables)
    return tables


def _own(tables: Tables) -> None:
    by_uuid: dict[str, str] = {}
    for session, identity in tables.messages:
        if session:
            by_uuid[identity] = min(session, by_uuid.get(identity, session))
    for (session, identity), record in tables.messages.items():
        leaf = record.get("leafUuid") if not session and record["type"] == "summary" else None
        tables.owners[session, identity] = by_uuid.get(leaf or "") if leaf else session or None


def usage(
    records: Iterable[tuple[tuple[str, str], dict[str, Any]]],
) -> tuple[dict[str, dict[str, int]], Decimal | None]:
    """Tokens per model and cost, each API message once with the maximum of each field."""
    best: dict[Any, dict[str, Any]] = defaultdict(
        lambda: {"tokens": {}, "models": set(), "costs": [], "used": False}
    )
    for (_, identity), record in records:
        message = record["message"] if isinstance(record.get("message"), dict) else {}
        used = message.get("usage") if isinstance(message.get("usage"), dict) else None
        cost = record.get("costUsd") if record.get("costUsd") is not None else record.get("costUSD")
        if used is None and cost is None:
            continue
        entry = best[("api", message["id"]) if isinstance(message.get("id"), str) else ("line", identity)]
        if used is not None:
            for name, ours in TOKENS.items():
                if used.get(name) is not None:
                    entry["used"] = True
                    entry["tokens"][ours] = max(entry["tokens"].get(ours, 0), used[name])
        model = message.get("model") or record.get("model")
        if model:
            entry["models"].add(model)
        if cost is not None:
            entry["costs"].append(Decimal(str(cost)))
    tokens: dict[str, dict[str, int]] = {}
    for entry in best.values():
        if not entry["used"]:
            continue
        total = tokens.setdefault(min(entry["models"], default="unknown"), dict.fromkeys(TOKENS.values(), 0))
        for name, amount in entry["tokens"].items():
            total[name] += amount
    costs = [max(entry["costs"]) for entry in best.values() if entry["costs"]]
    return tokens, sum(costs, Decimal(0)) if costs else None


def _add_up(tables: Tables) -> None:
    members: dict[str, list[Any]] = defaultdict(list)
    for key, record in tables.messages.items():
        owner = tables.owners[key]
        if owner:
            members[owner].append((key, record))
    by_project: dict[str | None, list[str]] = defaultdict(list)
    for session, records in members.items():
        tokens, cost = usage(records)
        source = None if cost is None else "messages"
        states = [r["totalCostUSD"] for _, r in records if r["type"] == "cost-state" and "totalCostUSD" in r]
        if cost is None and states:
            cost, source = max(Decimal(str(state)) for state in states), "cost-state"
        times = sorted(when for _, r in records if (when := moment(r.get("timestamp"))))
        far = datetime.max.replace(tzinfo=UTC)
        places = sorted(
            (moment(r.get("timestamp")) or far, key[1], r["cwd"])
            for key, r in records
            if isinstance(r.get("cwd"), str) and r["cwd"]
        )
        path = project_path(places[0][2] if places else None)
        by_project[path].append(session)
        tables.sessions[session] = {
            "path": path,
            "startedAt": times[0] if times else None,
            "endedAt": times[-1] if times else None,
            "messageCount": len(records),
            "messageCountByType": dict(Counter(r["type"] for _, r in records)),
            "totalCost": cost,
            "costSource": source,
            "tokensByModel": tokens,
            "summaries": sorted(
                {r["summary"] for _, r in records if r["type"] == "summary" and r.get("summary")}
            ),
        }
    for path, sessions in by_project.items():
        everything = [item for session in sessions for item in members[session]]
        tokens, cost = usage(everything)
        rest = [
            tables.sessions[session]["totalCost"]
            for session in sessions
            if tables.sessions[session]["costSource"] == "cost-state"
        ]
        if rest:
            cost = (cost or Decimal(0)) + sum(rest, Decimal(0))
        tables.projects[path] = {
            "message_count": len(everything),
            "session_count": len(sessions),
            "cost": cost,
            "tokens_by_model": tokens,
        }
