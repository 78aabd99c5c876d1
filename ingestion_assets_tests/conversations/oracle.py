"""The tables that given transcript lines must come to, computed in plain Python by another path.

Shares no code with the flow: records are dicts from `json.loads`, everything is recomputed from all of them.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

TOKENS = [
    "input_tokens",
    "output_tokens",
    "cache_creation_tokens",
    "cache_read_tokens",
    "cache_creation_5m_tokens",
    "cache_creation_1h_tokens",
]
MINUTE = timedelta(minutes=1)
YEARS = range(1990, 2100)


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


def when(record: dict[str, Any]) -> datetime | None:
    """The moment of a line where it can be that of a conversation."""
    found = moment(record.get("timestamp"))
    return found if found and found.year in YEARS else None


def spelled(cwd: str) -> tuple[str, list[str], bool]:
    """Root, parts and whether it is a Windows path; only spellings that the histories use."""
    windows = bool(re.match(r"[A-Za-z]:([\\/]|$)", cwd)) or cwd.startswith("\\\\")
    plain = cwd.replace("\\", "/") if windows else cwd
    root = "\\\\" if windows and cwd[0] == "\\" else f"{cwd[0].upper()}:\\" if windows else "/"
    if not windows and not cwd.startswith("/"):
        root = ""
    parts = [
        part for part in plain[2 if windows and cwd[0] != "\\" else 0 :].split("/") if part not in ("", ".")
    ]
    return root, parts, windows


def project_path(cwd: str | None) -> str | None:
    if not cwd:
        return None
    root, parts, windows = spelled(cwd)
    text = "/".join(parts) + "/"
    text = re.split(
        r"(?<=[^/])/\.claude/worktrees/(?=.)|(?<=[^/])/\.worktrees/(?=.)|\.worktrees/(?=.)", text
    )[0]
    found = re.match(r"(?:.*?/)??projects/[^/]+", text, re.IGNORECASE if windows else 0)
    path = found[0] if found and re.search(r"(^|/)projects/", found[0], re.IGNORECASE) else text.rstrip("/")
    return root + (path.replace("/", "\\") if windows else path) or cwd


def project_key(path: str | None) -> str | None:
    """The same for paths that a Windows machine takes for one."""
    return path.casefold() if path and re.match(r"[A-Za-z]:\\|\\\\", path) else path


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


def amounts(used: dict[str, Any]) -> dict[str, int]:
    tiers = used.get("cache_creation") or {}
    given = [
        used.get("input_tokens"),
        used.get("output_tokens"),
        used.get("cache_creation_input_tokens"),
        used.get("cache_read_input_tokens"),
        tiers.get("ephemeral_5m_input_tokens"),
        tiers.get("ephemeral_1h_input_tokens"),
    ]
    return {name: amount for name, amount in zip(TOKENS, given, strict=True) if amount is not None}


def answers(lines: list[Any]) -> list[list[Any]]:
    """The lines of one API message, as a list for each answer."""
    early = datetime.min.replace(tzinfo=UTC)
    lines = sorted(lines, key=lambda line: (when(line[1]) or early, line[0][1]))
    bursts: list[list[Any]] = []
    for line in lines:
        here, before = when(line[1]), when(bursts[-1][-1][1]) if bursts else None
        if not bursts or (here and before and here - before >= MINUTE):
            bursts.append([])
        bursts[-1].append(line)
    found: dict[Any, list[Any]] = defaultdict(list)
    for number, burst in enumerate(bursts):
        requests = [line[1]["requestId"] for line in burst if line[1].get("requestId")]
        for line in burst:
            found[line[1].get("requestId") or min(requests, default=number)].append(line)
    return list(found.values())


def usage(
    records: Iterable[tuple[tuple[str, str], dict[str, Any]]],
) -> tuple[dict[str, dict[str, int]], Decimal | None, dict[str, int]]:
    """Tokens per model, cost and uses of tools, each answer once with the maximum of each field."""
    by_id: dict[Any, list[Any]] = defaultdict(list)
    for key, record in records:
        message = record["message"] if isinstance(record.get("message"), dict) else {}
        api = isinstance(message.get("id"), str)
        by_id[("api", message["id"]) if api else ("line", key)].append((key, record))
    tokens: dict[str, dict[str, int]] = {}
    costs: list[Decimal] = []
    tools: Counter[str] = Counter()
    for lines in by_id.values():
        spent = [line for line in lines if _spends(line[1])]
        for answer in answers(spent):
            _count_answer([record for _, record in answer], tokens, costs, tools)
    return tokens, sum(costs, Decimal(0)) if costs else None, dict(tools)


def _used(record: dict[str, Any]) -> dict[str, Any] | None:
    message = record["message"] if isinstance(record.get("message"), dict) else {}
    return message.get("usage") if isinstance(message.get("usage"), dict) else None


def _no_model(record: dict[str, Any]) -> bool:
    """Whether a line is the client's own, for which no model took anything."""
    used = _used(record)
    return (
        used is not None
        and record["message"].get("model") == "<synthetic>"
        and not any(amounts(used).values())
    )


def _spends(record: dict[str, Any]) -> bool:
    used = _used(record)
    beside = used is not None and (_advice(used) or any((used.get("server_tool_use") or {}).values()))
    return bool((used is not None and not _no_model(record)) or beside or _cost(record) is not None)


def _advice(used: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in used.get("iterations") or [] if one["type"] == "advisor_message"]


def _cost(record: dict[str, Any]) -> Any:
    return record.get("costUsd") if record.get("costUsd") is not None else record.get("costUSD")


def _count_answer(
    lines: list[dict[str, Any]],
    tokens: dict[str, dict[str, int]],
    costs: list[Decimal],
    tools: "Counter[str]",
) -> None:
    best: dict[str, int] = {}
    beside: dict[str, dict[str, int]] = {}
    used_tools: dict[str, int] = {}
    models: set[str] = set()
    spent = [Decimal(str(_cost(record))) for record in lines if _cost(record) is not None]
    for record in lines:
        message = record["message"] if isinstance(record.get("message"), dict) else {}
        model = next(
            (m for m in (message.get("model"), record.get("model")) if m and m != "<synthetic>"), None
        )
        models |= {model} if model else set()
        used = _used(record) or {}
        for name, amount in amounts({} if _no_model(record) else used).items():
            best[name] = max(best.get(name, 0), amount)
        advised: dict[str, Counter[str]] = defaultdict(Counter)
        for iteration in _advice(used):
            advised[iteration["model"]].update(amounts(iteration))
        for other, took in advised.items():
            known = beside.setdefault(other, dict.fromkeys(TOKENS, 0))
            for name in TOKENS:
                known[name] = max(known[name], took[name])
        for tool, uses in (used.get("server_tool_use") or {}).items():
            if uses:
                used_tools[tool] = max(used_tools.get(tool, 0), uses)
    if best:
        beside = dict(beside)
        _add(tokens, min(models, default="unknown"), best)
    for other, took in beside.items():
        _add(tokens, other, took)
    costs += [max(spent)] if spent else []
    tools.update(used_tools)


def _add(tokens: dict[str, dict[str, int]], model: str, took: dict[str, int]) -> None:
    total = tokens.setdefault(model, dict.fromkeys(TOKENS, 0))
    for name, amount in took.items():
        total[name] += amount


def steps(records: Iterable[tuple[Any, dict[str, Any]]]) -> list[tuple[Any, Decimal, Decimal]]:
    """The rises of a session's cost counters: since when it counts, from, to. In the order of the input where no line says when."""
    counted = [
        (record.get("startTime"), Decimal(str(record["totalCostUSD"])))
        for _, record in records
        if record["type"] == "cost-state" and "totalCostUSD" in record
    ]
    counted = [one for one in counted if one[0] is None] + sorted(
        one for one in counted if one[0] is not None
    )
    found, former = [], Decimal(0)
    for since, value in counted:
        found.append((since, former if former <= value else Decimal(0), value))
        former = value
    return found


def _copies(steps_of: dict[str, list[Any]], relatives: dict[str, set[str]]) -> Decimal:
    """What steps that stand in several sessions count for too much."""
    too_much = Decimal(0)
    for session, own in steps_of.items():
        for step in own:
            others = [
                other
                for other, theirs in steps_of.items()
                if other < session and step in theirs and (step[0] is not None or other in relatives[session])
            ]
            too_much += (step[2] - step[1]) if others else 0
    return too_much


def _add_up(tables: Tables) -> None:
    members: dict[str, list[Any]] = defaultdict(list)
    for key, record in tables.messages.items():
        owner = tables.owners[key]
        if owner:
            members[owner].append((key, record))
    by_project: dict[str | None, list[str]] = defaultdict(list)
    paths: dict[str | None, str | None] = {}
    steps_of: dict[str, list[Any]] = {}
    for session, records in members.items():
        tokens, cost, tools = usage(records)
        source = None if cost is None else "messages"
        steps_of[session] = steps(records)
        if cost is None and steps_of[session]:
            cost, source = sum((to - start for _, start, to in steps_of[session]), Decimal(0)), "cost-state"
        times = sorted(found for _, r in records if (found := when(r)))
        far = datetime.max.replace(tzinfo=UTC)
        places = sorted(
            (when(r) or far, key[1], r["cwd"])
            for key, r in records
            if isinstance(r.get("cwd"), str) and r["cwd"]
        )
        path = project_path(places[0][2] if places else None)
        key = project_key(path)
        by_project[key].append(session)
        paths[key] = min(path, paths.get(key) or path) if path else None
        tables.sessions[session] = {
            "path": key,
            "startedAt": times[0] if times else None,
            "endedAt": times[-1] if times else None,
            "messageCount": len(records),
            "messageCountByType": dict(Counter(r["type"] for _, r in records)),
            "totalCost": cost,
            "costSource": source,
            "tokensByModel": tokens,
            "serverToolUse": tools,
            "summaries": sorted(
                {r["summary"] for _, r in records if r["type"] == "summary" and r.get("summary")}
            ),
        }
    for key, sessions in by_project.items():
        for session in sessions:
            tables.sessions[session]["path"] = paths[key]
        everything = [item for session in sessions for item in members[session]]
        tokens, cost, tools = usage(everything)
        rest = [one for one in sessions if tables.sessions[one]["costSource"] == "cost-state"]
        if rest:
            cost = (cost or Decimal(0)) + sum((tables.sessions[one]["totalCost"] for one in rest), Decimal(0))
            asked = {one: _asked(members[one]) for one in rest}
            relatives = {one: {other for other in rest if asked[one] & asked[other]} for one in rest}
            cost -= _copies({one: steps_of[one] for one in rest}, relatives)
        tables.projects[paths[key]] = {
            "message_count": len(everything),
            "session_count": len(sessions),
            "cost": cost,
            "tokens_by_model": tokens,
            "server_tool_use": tools,
        }


def _asked(records: list[Any]) -> set[str]:
    """Ids of the API messages of a session."""
    return {
        record["message"]["id"]
        for _, record in records
        if isinstance(record.get("message"), dict)
        and isinstance(record["message"].get("id"), str)
        and _spends(record)
    }
