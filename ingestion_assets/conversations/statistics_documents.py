"""Documents of sessions and projects, made of the sums that SQL gives. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from bson.decimal128 import Decimal128, create_decimal128_context

from ingestion_assets.conversations.facts import USAGE
from ingestion_assets.conversations.projects import Project, project_at

MOST_ENTRIES = 1000  # of a list or mapping in a document: what is more only counts in its sums
OTHERS = "(others)"
_DECIMAL128 = create_decimal128_context()


def session_document(
    row: sa.Row[Any], project: Project, cost: Decimal | None, now: datetime
) -> dict[str, Any]:
    return {
        "_id": row.session_id,
        "sessionId": row.session_id,
        "projectId": str(project.id),
        "projectName": project.name,
        "cwd": row.first_cwd,
        "startedAt": row.started_at,
        "endedAt": row.ended_at,
        "messageCount": row.messages,
        "messageCountByType": _most_frequent(row.by_type),
        "totalCost": _money(cost),
        "costSource": None if cost is None else "messages" if row.cost is not None else "cost-state",
        "tokensByModel": _tokens_by_model(row.tokens or {}),
        "tokens": _sum_of_models(row.tokens or {}),
        "serverToolUse": _most_frequent(row.tools or {}),
        "summaries": (row.summaries or [])[:MOST_ENTRIES],
        "titles": (row.titles or [])[:MOST_ENTRIES],
        "versions": (row.versions or [])[:MOST_ENTRIES],
        "createdBy": str(row.created_by),
        "createdAt": row.created_at,
        "updatedAt": now,
    }


@dataclass(frozen=True, slots=True)
class Correction:
    """What is to be added to the sums of a project's sessions (`sign` 1) or taken from them (-1)."""

    sign: int
    tokens: Mapping[str, Sequence[Any]]
    tools: Mapping[str, Any]
    cost: Decimal | None


def project_document(
    row: sa.Row[Any], totals: sa.Row[Any], corrections: Sequence[Correction], now: datetime
) -> dict[str, Any]:
    project = project_at(totals.spelled or row.path)
    tokens: dict[str, list[int]] = {
        model: [int(amount) for amount in amounts] for model, amounts in (totals.tokens or {}).items()
    }
    tools: dict[str, int] = {tool: int(uses) for tool, uses in (totals.tools or {}).items()}
    cost = totals.cost
    for correction in corrections:
        if correction.cost is not None:
            cost = (cost or 0) + correction.sign * correction.cost
        for model, amounts in correction.tokens.items():
            sums = tokens.setdefault(model, [0] * len(USAGE))
            for position, amount in enumerate(amounts):
                sums[position] += correction.sign * int(amount)
        for tool, uses in correction.tools.items():
            tools[tool] = tools.get(tool, 0) + correction.sign * int(uses)
    tokens = {model: amounts for model, amounts in tokens.items() if model in (totals.tokens or {})}
    return {
        "_id": str(row.project_id),
        "name": project.name,
        "path": project.path,
        "stats": {
            "message_count": totals.messages,
            "session_count": totals.sessions,
            "cost": _money(cost),
            "tokens": _sum_of_models(tokens),
            "tokens_by_model": _tokens_by_model(tokens),
            "server_tool_use": _most_frequent(tools),
            "first_activity": totals.started_at,
            "last_activity": totals.ended_at,
        },
        "createdBy": str(row.created_by),
        "createdAt": row.created_at,
        "updatedAt": now,
    }


def removed_document(row: sa.Row[Any], now: datetime) -> dict[str, Any]:
    return {"_id": str(row.project_id), "name": project_at(row.path).name, "path": row.path, "removedAt": now}


def _tokens_by_model(tokens: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """A list, because model names hold dots."""
    return [
        {"model": model, **{name: int(amount) for name, amount in zip(USAGE, tokens[model], strict=True)}}
        for model in sorted(tokens)[:MOST_ENTRIES]
    ]


def _most_frequent(counts: Mapping[str, int]) -> dict[str, int]:
    """In order of their names; what is too much to list is one entry, so that the sum stays."""
    names = sorted(counts, key=lambda name: (-counts[name], name))
    kept = {name: counts[name] for name in sorted(names[:MOST_ENTRIES])}
    others = sum(counts[name] for name in names[MOST_ENTRIES:])
    return kept | ({OTHERS: kept.get(OTHERS, 0) + others} if others else {})


def _sum_of_models(tokens: Mapping[str, Sequence[Any]]) -> dict[str, int]:
    return {
        name: sum(int(amounts[position]) for amounts in tokens.values())
        for position, name in enumerate(USAGE)
    }


def _money(cost: Decimal | None) -> Decimal128 | None:
    """Rounded to the 34 digits that Decimal128 has."""
    return None if cost is None else Decimal128(_DECIMAL128.create_decimal(cost))
