"""Plain text of a message for pages that show it, and the removal of active HTML. The sanitizer is nh3 (ammonia)."""

import html
from typing import Any

import nh3

LENGTH = 280
_LOOKED_AT = 4 * LENGTH
_ROUNDS = 4


def preview_of(record: dict[str, Any]) -> str:
    """At most 280 characters of plain text without markup; '' where a record holds no text."""
    return plain_text(_text_of(record))


def plain_text(text: str) -> str:
    """`text` without any markup, white space folded, cut to 280 characters."""
    text = " ".join(text[:_LOOKED_AT].split())
    if "<" not in text and "&" not in text:
        return text if len(text) <= LENGTH else text[: LENGTH - 1] + "…"
    for _ in range(_ROUNDS):
        cleaned = " ".join(html.unescape(nh3.clean(text, tags=set())).split())
        if cleaned == text:
            break
        text = cleaned
    else:
        text = text.replace("<", " ").replace(">", " ")
    return text if len(text) <= LENGTH else text[: LENGTH - 1] + "…"


def without_active_html(value: Any) -> Any:
    """Every string leaf without scripts, handlers and the like; structure and keys stay."""
    if isinstance(value, str):
        return nh3.clean(value) if "<" in value else value
    if isinstance(value, dict):
        return {key: without_active_html(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_active_html(item) for item in value]
    return value


def _text_of(record: dict[str, Any]) -> str:
    message = record.get("message")
    if isinstance(message, dict):
        text = _text_in(message.get("content"))
        if text:
            return text
    elif isinstance(message, str):
        return message
    for name in ("summary", "content", "lastPrompt", "aiTitle", "customTitle", "agentName"):
        value = record.get(name)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, list) and (text := _text_in(value)):
            return text
    return ""


def _text_in(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts: list[str] = []
    size = 0
    for block in content:
        text = _block_text(block)
        if text:
            parts.append(text)
            size += len(text)
            if size > _LOOKED_AT:
                break
    return " ".join(parts)


def _block_text(block: Any) -> str:
    if isinstance(block, str):
        return block
    if not isinstance(block, dict):
        return ""
    for name in ("text", "thinking"):
        value = block.get(name)
        if isinstance(value, str) and value:
            return value[:_LOOKED_AT]
    if block.get("type") == "tool_use":
        return f"[{block.get('name', 'tool')}]"
    inner = block.get("content")
    if isinstance(inner, str):
        return inner[:_LOOKED_AT]
    if isinstance(inner, list):
        return " ".join(
            item["text"][:_LOOKED_AT]
            for item in inner
            if isinstance(item, dict) and isinstance(item.get("text"), str)
        )
    return ""
