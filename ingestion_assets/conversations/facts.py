"""The few fields of a message that statistics are made of: its usage, cost, place and version. Pure."""

from decimal import Decimal
from hashlib import sha256
from typing import Any

import msgspec

_MOST_TOKENS = 2**40
_MOST_COST = 10**9
_LONGEST = 256
_TITLES = {
    "summary": "summary",
    "ai-title": "aiTitle",
    "custom-title": "customTitle",
    "agent-name": "agentName",
}


class Facts(msgspec.Struct, frozen=True, gc=False):
    """What `ingestion.conversation_facts` keeps of a message beside its identity.

    `usage_key` names the API message that usage and cost count once for (without one, the line itself).
    `cumulative_cost` comes from `cost-state` lines. `waits_for` is the leaf of a summary that names no session.
    """

    cwd: str | None
    version: str | None
    title: str | None
    usage_key: str | None
    model: str | None
    input_tokens: int | None
    output_tokens: int | None
    cache_creation_tokens: int | None
    cache_read_tokens: int | None
    cost: Decimal | None
    cumulative_cost: Decimal | None
    waits_for: str | None


_Tokens = tuple[int | None, int | None, int | None, int | None]
_NO_USAGE: _Tokens = (None, None, None, None)


def facts_of(
    record: dict[str, Any],
    *,
    kind: str,
    uuid: str,
    cost: float | None,
    waits_for: str | None,
    warnings: list[str],
) -> Facts:
    """The facts of a valid record. Usage that is no sensible number is left out, with a warning."""
    message = record.get("message")
    usage_key = model = None
    api_id: Any = None
    tokens = _NO_USAGE
    if isinstance(message, dict):
        usage = message.get("usage")
        if isinstance(usage, dict):
            tokens = (
                _tokens(usage.get("input_tokens"), warnings),
                _tokens(usage.get("output_tokens"), warnings),
                _tokens(usage.get("cache_creation_input_tokens"), warnings),
                _tokens(usage.get("cache_read_input_tokens"), warnings),
            )
        model = _short(message.get("model"))
        api_id = message.get("id")
    if tokens is not _NO_USAGE or cost is not None:
        usage_key = f"m:{_short(api_id)}" if isinstance(api_id, str) and api_id else f"u:{uuid}"
    if model is None:
        model = _short(record.get("model"))
    cwd = record.get("cwd")
    return Facts(
        cwd if isinstance(cwd, str) and cwd else None,
        _short(record.get("version")),
        _title(record, kind),
        usage_key,
        model,
        *tokens,
        None if cost is None else Decimal(str(cost)),
        _cumulative(record, warnings) if kind == "cost-state" else None,
        waits_for,
    )


def _tokens(value: Any, warnings: list[str]) -> int | None:
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS:
        return value
    if "usage_ignored" not in warnings:
        warnings.append("usage_ignored")
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
