"""The few fields of a message that statistics are made of: its usage, cost, place and version. Pure."""

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any

import msgspec

from ingestion_assets.conversations.timestamps import NoTimestampError, parse_timestamp, plausible

SYNTHETIC = "<synthetic>"  # the model that the client names on lines of its own; no model was asked
_MOST_TOKENS = 2**40
_MOST_COST = 10**9
_LONGEST = 256
_MOST_ITERATIONS = 1000
_MOST_NAMES = 20  # of other models, of tools, on one line
_BESIDE = frozenset(["advisor_message", "compaction"])
_TOOL = re.compile(r"[A-Za-z0-9_]{1,64}")
_TITLES = {
    "summary": "summary",
    "ai-title": "aiTitle",
    "custom-title": "customTitle",
    "agent-name": "agentName",
}


class Facts(msgspec.Struct, frozen=True, gc=False):
    """What `ingestion.conversation_facts` keeps of a message beside its identity.

    `usage_key` names the API message that usage and cost count once for (without one, the line itself); `request_id` tells
    answers apart that share it. `other_usage` is what other models (advisors) took for it, as lists of `USAGE`, and
    `server_tools` how often tools of the server were used. `cumulative_cost` comes from `cost-state` lines, and
    `counting_since` says when their counter began. `waits_for` is the leaf of a summary that names no session.
    """

    cwd: str | None
    version: str | None
    title: str | None
    usage_key: str | None
    request_id: str | None
    model: str | None
    input_tokens: int | None
    output_tokens: int | None
    cache_creation_tokens: int | None
    cache_read_tokens: int | None
    cache_creation_5m_tokens: int | None
    cache_creation_1h_tokens: int | None
    other_usage: dict[str, list[int]] | None
    server_tools: dict[str, int] | None
    cost: Decimal | None
    cumulative_cost: Decimal | None
    counting_since: datetime | None
    waits_for: str | None


USAGE = (
    "input_tokens",
    "output_tokens",
    "cache_creation_tokens",
    "cache_read_tokens",
    "cache_creation_5m_tokens",
    "cache_creation_1h_tokens",
)
_Tokens = tuple[int | None, int | None, int | None, int | None, int | None, int | None]
_NO_USAGE: _Tokens = (None, None, None, None, None, None)


def facts_of(
    record: dict[str, Any],
    *,
    kind: str,
    line_id: str,
    cost: float | None,
    waits_for: str | None,
    warnings: list[str],
) -> Facts:
    """The facts of a valid record, whose `_id` is `line_id`. Usage that is no sensible number is left out, with a warning.

    `<synthetic>` is no model: what a line that names it took, if anything, counts for another line's model, else as unknown.
    """
    message = record.get("message")
    usage_key = model = None
    api_id: Any = None
    tokens = _NO_USAGE
    others = tools = None
    if isinstance(message, dict):
        usage = message.get("usage")
        model = _model(message.get("model"))
        if isinstance(usage, dict):
            tokens = _usage(usage, warnings)
            if message.get("model") == SYNTHETIC and not any(tokens):
                tokens = _NO_USAGE
            if isinstance(usage.get("iterations"), list):
                others = _other_usage(usage["iterations"], model, warnings)
            if isinstance(usage.get("server_tool_use"), dict):
                tools = _server_tools(usage["server_tool_use"], warnings)
        api_id = message.get("id")
    if tokens is not _NO_USAGE or cost is not None or others or tools:
        usage_key = f"m:{_short(api_id)}" if isinstance(api_id, str) and api_id else f"u:{line_id}"
    if model is None:
        model = _model(record.get("model"))
    cwd = record.get("cwd")
    counted = kind == "cost-state"
    return Facts(
        cwd if isinstance(cwd, str) and cwd else None,
        _short(record.get("version")),
        _title(record, kind),
        usage_key,
        _short(record.get("requestId")) if usage_key else None,
        model,
        *tokens,
        others,
        tools,
        None if cost is None else Decimal(str(cost)),
        _cumulative(record, warnings) if counted else None,
        _counting_since(record) if counted else None,
        waits_for,
    )


def _usage(usage: Mapping[str, Any], warnings: list[str]) -> _Tokens:
    tiers = usage.get("cache_creation")
    if not isinstance(tiers, dict):
        tiers = {}
    return (
        _tokens(usage.get("input_tokens"), warnings),
        _tokens(usage.get("output_tokens"), warnings),
        _tokens(usage.get("cache_creation_input_tokens"), warnings),
        _tokens(usage.get("cache_read_input_tokens"), warnings),
        _tokens(tiers.get("ephemeral_5m_input_tokens"), warnings),
        _tokens(tiers.get("ephemeral_1h_input_tokens"), warnings),
    )


def _other_usage(
    iterations: list[Any], model: str | None, warnings: list[str]
) -> dict[str, list[int]] | None:
    """What the iterations took that the usage beside them does not hold: an advisor's, those of a compaction, and whatever
    names another model than the message."""
    found: dict[str, list[int]] = {}
    for iteration in iterations[:_MOST_ITERATIONS]:
        if not isinstance(iteration, dict):
            continue
        named = _model(iteration.get("model"))
        other = named or model or "unknown"
        if named in (None, model) and iteration.get("type") not in _BESIDE:
            continue
        if other not in found and len(found) == _MOST_NAMES:
            _ignored(warnings)
            continue
        amounts = found.setdefault(other, [0] * len(USAGE))
        for position, amount in enumerate(_usage(iteration, warnings)):
            amounts[position] += amount or 0
    return found or None


def _server_tools(given: Mapping[str, Any], warnings: list[str]) -> dict[str, int] | None:
    found: dict[str, int] = {}
    for name, value in given.items():
        uses = _tokens(value, warnings)
        if not uses:
            continue
        if len(found) == _MOST_NAMES or not _TOOL.fullmatch(name):
            _ignored(warnings)
            continue
        found[name] = uses
    return found or None


def _ignored(warnings: list[str]) -> None:
    if "usage_ignored" not in warnings:
        warnings.append("usage_ignored")


def _model(value: Any) -> str | None:
    return None if value == SYNTHETIC else _short(value)


def _counting_since(record: dict[str, Any]) -> datetime | None:
    try:
        return plausible(parse_timestamp(record.get("startTime")))
    except NoTimestampError:
        return None


def _tokens(value: Any, warnings: list[str]) -> int | None:
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS:
        return value
    _ignored(warnings)
    return None


def _cumulative(record: dict[str, Any], warnings: list[str]) -> Decimal | None:
    value = record.get("totalCostUSD")
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MOST_COST:
        return Decimal(str(value))
    warnings.append("total_cost_ignored")
    return None


def _title(record: dict[str, Any], kind: str) -> str | None:
    name = _TITLES.get(kind)
    value = record.get(name) if name else None
    return value[:1000] if isinstance(value, str) and value else None


def _short(value: Any) -> str | None:
    """A text that can be indexed: as it is up to 256 characters, beyond that by its digest."""
    if not isinstance(value, str) or not value:
        return None
    return value if len(value) <= _LONGEST else f"sha256:{sha256(value.encode()).hexdigest()}"
